"""PatchingResult: what a sweep measured, pair by pair, and the statistics over pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError
from neoscope.patching.results import file as result_file
from neoscope.patching.results import parts as result_parts
from neoscope.patching.results import statistics
from neoscope.patching.results import table as result_table
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.checks import check_result
from neoscope.patching.results.span import check_span
from neoscope.patching.results.statistics import Array

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Ratio:
    """Effects over the span between the baselines: ratios of means over pairs."""

    value: Array
    """``[*axes]``"""
    interval: Array
    """``[2, *axes]``: bootstrap interval in which both means are drawn together."""
    span: float
    """Mean clean minus mean corrupted baseline, in the metric's unit."""


@dataclass(frozen=True, eq=False, repr=False)
class PatchingResult:
    """The metric in every patched run, with the baselines that it is compared with.

    An *effect* is the metric in a patched run minus the metric in the unpatched run of the same
    pair. ``values``, ``mean``, ``stderr``, ``interval`` and ``p_value`` are about effects.
    """

    patched: NDArray[Any]
    """The metric, ``[pairs, *axes]``; NaN: not run yet, or the pair has no such cell."""
    axes: tuple[Axis, ...]
    """One for each dimension of a result but the first."""
    base_name: str
    """Which run was patched: ``"clean"`` or ``"corrupted"``."""
    clean: NDArray[Any] | None
    """The metric in the unpatched clean runs, ``[pairs]``; None where they did not run."""
    corrupted: NDArray[Any] | None
    """The metric in the unpatched corrupted runs, ``[pairs]``."""
    site: str
    direction: str
    metric: str
    """Name of the metric."""
    unit: str = ""
    """Of the metric: ``"logits"``, ``"probability"``, ``"nats"``, ``"rank"``."""
    source: str = ""
    """Where the values that were put in came from."""
    components: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Logits of the answers in the patched runs, by name, ``[pairs, *axes]``."""
    base_components: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    """The same of the unpatched runs: name, then ``"clean"`` or ``"corrupted"``, ``[pairs]``."""
    ran: NDArray[Any] | None = None
    """``[*axes]``; False: provably nothing can move, the effect is 0 and nothing was run."""
    model: str = ""
    fingerprint: str = ""
    """Hash of the model's config and weights."""
    clean_strings: tuple[tuple[str, ...], ...] = ()
    """Tokens of each clean prompt."""
    corrupted_strings: tuple[tuple[str, ...], ...] = ()
    seed: int = 0
    """Of noise and of draws."""
    complete: bool = True
    """False: the sweep was interrupted, and cells that did not run are NaN."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of an experiment, as JSON has them."""

    def __post_init__(self) -> None:
        """Check that all parts fit together.

        Raises:
            PatchingError: They do not.
        """
        patched = np.asarray(self.patched)
        if patched.dtype != np.float32:
            patched = patched.astype(np.float64)
        ran = np.ones(patched.shape[1:], bool) if self.ran is None else np.asarray(self.ran)
        for name, value in {"patched": patched, "ran": ran, "axes": tuple(self.axes)}.items():
            object.__setattr__(self, name, value)
        check_result(self)

    # ---- effects and statistics -------------------------------------------------------------

    @property
    def n_pairs(self) -> int:
        """Pairs of prompts."""
        return int(self.patched.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(self.patched.shape[1:])

    @property
    def base(self) -> NDArray[Any]:
        """The metric in the run that was patched, ``[pairs]``."""
        base = self.clean if self.base_name == "clean" else self.corrupted
        assert base is not None  # checked when it was made
        return base

    @cached_property
    def values(self) -> Array:
        """Effects of each pair, ``[pairs, *axes]``, in the metric's unit."""
        base = np.asarray(self.base, np.float64).reshape(-1, *[1] * len(self.axes))
        return np.asarray(np.asarray(self.patched, np.float64) - base)

    @cached_property
    def mean(self) -> Array:
        """Mean effects over pairs, ``[*axes]``."""
        return statistics.mean(self.values)

    @cached_property
    def stderr(self) -> Array:
        """Standard errors of the mean effects, ``[*axes]``; NaN for one pair."""
        return statistics.stderr(self.values)

    @cached_property
    def interval(self) -> Array:
        """95 % bootstrap intervals of the mean effects, ``[2, *axes]``; NaN for one pair."""
        return self.bootstrap()

    @cached_property
    def p_value(self) -> Array:
        """Sign-flip p-values, ``[*axes]``, two-sided and corrected over all cells that ran."""
        return self.sign_flip()

    def bootstrap(
        self, confidence: float = 0.95, *, draws: int = 2000, seed: int | None = None
    ) -> Array:
        """Return bootstrap intervals of the mean effects, ``[2, *axes]``.

        Args:
            confidence: Share of resampled means inside.
            draws: How many times pairs are drawn anew.
            seed: Of the draws; None for the sweep's own.
        """
        seed = self.seed if seed is None else seed
        return statistics.bootstrap(self.values, confidence=confidence, draws=draws, seed=seed)

    def sign_flip(
        self,
        correction: str = "max",
        *,
        statistic: str = "mean",
        draws: int = 10_000,
        seed: int | None = None,
    ) -> Array:
        """Return sign-flip p-values of the mean effects, ``[*axes]``.

        Args:
            correction: ``"max"``, ``"holm"``, ``"bh"`` or ``"none"``; see
                :func:`neoscope.patching.results.statistics.sign_flip`.
            statistic: What ``"max"`` compares cells by: ``"mean"`` or ``"t"``.
            draws: How many sign patterns are drawn, for more than twelve pairs.
            seed: Of the draws; None for the sweep's own.
        """
        return statistics.sign_flip(
            self.values,
            correction=correction,
            statistic=statistic,
            tested=self.ran,
            draws=draws,
            seed=self.seed if seed is None else seed,
        )

    def normalised(self, minimum: float | None = None, *, confidence: float = 0.95) -> Ratio:
        """Return effects over mean clean minus mean corrupted baseline, as ratios of means.

        Denoising that restores the clean run entirely gives 1, noising that destroys it gives -1.

        Args:
            minimum: The smallest span that is divided by, in the metric's unit; None for a
                thousandth of the baselines' magnitude, and at least 0.01 logits or nats.
            confidence: Of the interval.

        Raises:
            PatchingError: The span is smaller, or there is only one baseline.
        """
        if self.clean is None or self.corrupted is None:
            raise PatchingError(
                "normalising needs clean and corrupted baselines; there is only the "
                f"{self.base_name} one"
            )
        span = check_span(self.clean, self.corrupted, self.unit, minimum)
        gap = np.asarray(self.clean, np.float64) - np.asarray(self.corrupted, np.float64)
        interval = statistics.bootstrap(
            self.values, over=gap, confidence=confidence, seed=self.seed
        )
        return Ratio(self.mean / span, interval, span)

    # ---- parts, tables and files ------------------------------------------------------------

    def select(self, **where: Any) -> PatchingResult:
        """Return a part of the grid; p-values are then corrected over its cells alone.

        Args:
            where: For each named axis a label or index (the axis goes), a list of them or a slice
                of places (it stays).

        Raises:
            PatchingError: There is no such axis or label.
        """
        return replace(self, **result_parts.selected(self, where))

    def to_dataframe(self, *, per_pair: bool = False) -> DataFrame:
        """Return a table of one row a cell.

        Args:
            per_pair: One row a cell and pair instead, with that pair's own numbers.
        """
        return result_table.per_pair(self) if per_pair else result_table.per_cell(self)

    def top(self, k: int = 10, by: str = "magnitude") -> DataFrame:
        """Return the ``k`` cells of largest mean effect, as :meth:`to_dataframe` has them.

        Args:
            k: How many rows at most.
            by: ``"magnitude"``, ``"positive"`` or ``"negative"``.

        Raises:
            PatchingError: ``k`` is no positive number, or ``by`` none of these.
        """
        return result_table.top(self, k, by)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to ``.json`` or ``.parquet``, whole or not at all.

        Args:
            path: An older result there is replaced; any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        return result_file.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PatchingResult:
        """Read what :meth:`save` wrote; the result equals the one that was saved.

        Args:
            path: A ``.json`` or ``.parquet`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        return cls(**result_file.load(path))

    def __eq__(self, other: object) -> bool:
        """Whether all numbers, names and axes are the same; NaN equals NaN."""
        if not isinstance(other, PatchingResult):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # its arrays have none

    def __repr__(self) -> str:
        """Return what was measured, the baselines and the three largest effects."""
        return result_table.described(self)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        floats = a.dtype.kind == "f"
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=floats)
    return bool(a == b) if not isinstance(a, np.ndarray | Mapping) else False
