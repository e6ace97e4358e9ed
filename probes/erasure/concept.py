"""Concept: the labels z that an eraser erases, one-hot where they are classes, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoscope.errors import ProbeError

Array = NDArray[Any]
_DENSE = 64
"""Up to so many classes, a product with zeros in it is faster than one without."""


@dataclass(frozen=True, eq=False)
class Concept:
    """Labels of rows as vectors z, of which sums are taken."""

    codes: Array | None
    """[rows]: the number of each row's class; None where z is given as numbers."""
    numbers: Array | None
    """[rows, width] float64; None where z is one-hot."""
    width: int
    """Length of z."""

    @classmethod
    def read(cls, labels: Any) -> Concept:
        """Read labels: whole numbers, strings and booleans are classes, floats are numbers.

        Args:
            labels: [rows] labels, or [rows, width] numbers, which are taken as they are.

        Raises:
            ProbeError: There are fewer than two classes, or labels that are no numbers where
                numbers are needed.
        """
        y = np.asarray(labels)
        if y.ndim == 2:
            return cls.read_varied(y)
        if y.ndim != 1:
            raise ProbeError(f"labels have shape {y.shape}; expected [rows] or [rows, numbers]")
        if y.dtype.kind == "f":
            return cls.read_varied(y[:, None])
        try:
            classes, codes = np.unique(y, return_inverse=True)
        except TypeError as error:
            raise ProbeError(f"labels cannot be told apart: {error}") from error
        if len(classes) < 2:
            raise ProbeError(
                f"erasure needs rows of at least 2 classes; the labels hold one class: "
                f"{classes.tolist()}"
            )
        return cls(codes, None, len(classes))

    @classmethod
    def read_varied(cls, z: Array) -> Concept:
        """Read [rows, width] numbers that are not all alike.

        Raises:
            ProbeError: They are, or as :meth:`read_numbers`.
        """
        concept = cls.read_numbers(z)
        if len(z) > 1 and (z == z[0]).all():
            raise ProbeError(
                f"erasure needs labels that differ; all {len(z)} rows have {z[0].tolist()}"
            )
        return concept

    @classmethod
    def read_numbers(cls, z: Array) -> Concept:
        """Read [rows, width] numbers.

        Raises:
            ProbeError: They are none, or not finite.
        """
        if z.dtype.kind not in "fiub":
            raise ProbeError(f"labels [rows, numbers] must be numbers; found {z.dtype}")
        numbers = z.astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers).all(1))
        if len(bad):
            raise ProbeError(f"labels: row {bad[0]} is not finite: {z[bad[0]].tolist()}")
        return cls(None, numbers, z.shape[1])

    @classmethod
    def of_width(cls, labels: Any, width: int) -> Concept:
        """Read a batch of a stream: class numbers below ``width``, or [rows, width] numbers.

        Raises:
            ProbeError: They do not fit the width.
        """
        z = np.asarray(labels)
        if z.ndim == 1 and width > 1:
            whole = z.dtype.kind in "iub"
            if not whole or (len(z) and not 0 <= int(z.min()) <= int(z.max()) < width):
                raise ProbeError(
                    f"labels [rows] of a stream must be class numbers from 0 to {width - 1}, so "
                    f"that all batches agree; found {z.dtype}"
                    + (f" from {z.min()} to {z.max()}" if whole and len(z) else "")
                )
            return cls(z.astype(np.int64), None, width)
        if z.ndim == 1 and z.dtype.kind in "iu" and len(z) and not 0 <= z.min() <= z.max() <= 1:
            raise ProbeError(
                f"labels hold whole numbers up to {z.max()} for one label: class numbers are no "
                "quantity; give n_labels=the number of classes, or floats if they are quantities"
            )
        z = z[:, None] if z.ndim == 1 else z
        if z.ndim != 2 or z.shape[1] != width:
            raise ProbeError(f"labels have shape {np.shape(labels)}; expected [rows, {width}]")
        return cls.read_numbers(z)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        rows = self.numbers if self.codes is None else self.codes
        assert rows is not None
        return len(rows)

    def total(self, rows: slice) -> Array:
        """Return the sum of z over some rows, [width]."""
        if self.codes is None:
            assert self.numbers is not None
            return np.asarray(self.numbers[rows].sum(0))
        return np.bincount(self.codes[rows], minlength=self.width).astype(np.float64)

    def squares(self, rows: slice) -> Array:
        """Return the sum of the squares of z over some rows, [width]."""
        if self.codes is None:
            assert self.numbers is not None
            return np.asarray((self.numbers[rows] ** 2).sum(0))
        return self.total(rows)

    @property
    def degrees(self) -> int:
        """How many directions can depend on z: a one-hot z always sums to one."""
        return self.width if self.codes is None else self.width - 1

    def times(self, rows: slice, x: Tensor) -> Array:
        """Return the sums of z x^T and, in the last row, of x: [width + 1, features].

        Args:
            rows: Which.
            x: Their features, [rows, features] float64.
        """
        if self.codes is not None and self.width > _DENSE:
            from scipy.sparse import csr_array

            codes = self.codes[rows]
            at = (np.ones(len(codes)), (codes, np.arange(len(codes))))
            sums = csr_array(at, shape=(self.width, len(codes))) @ x.numpy()
            return np.concatenate([sums, sums.sum(0, keepdims=True)])
        z = np.ones((len(x), self.width + 1))
        if self.codes is None:
            assert self.numbers is not None
            z[:, :-1] = self.numbers[rows]
        else:
            z[:, :-1] = self.codes[rows, None] == np.arange(self.width)
        return np.asarray((torch.from_numpy(z).T @ x).numpy())
