"""Codelength: bits that labels cost given features, and how they divide into model and data.

Voita & Titov 2020 (arXiv:2003.12298).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ProbeError
from probes.data.labels import read_labels
from probes.judging.reading import Array
from probes.judging.record import recorded
from probes.keeping.results import SavedResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Block:
    """One block of an online code."""

    start: int
    """Rows that were coded before, and that its probe was trained on."""
    stop: int
    bits: float


@dataclass(frozen=True)
class Codelength(SavedResult):
    """What it costs to tell the labels to somebody who has the features, in bits."""

    bits: float
    """The whole code."""
    uniform_bits: float
    """Rows times log2 of the classes: the code of somebody who ignores the features."""
    data_bits: float
    """Labels given the final probe."""
    model_bits: float
    """The rest: what it costs to tell the probe."""
    n_rows: int
    """Codelengths of data with different rows must not be compared; compressions may."""
    n_classes: int
    """Of several labels at once their number."""
    code: str
    """``online`` or ``variational``."""
    blocks: tuple[Block, ...] = ()
    """Of an online code."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Of a variational code: prior scales, whether it converged."""

    @property
    def compression(self) -> float:
        """Uniform code divided by this one: 1 means that the features say nothing."""
        return self.uniform_bits / self.bits if self.bits > 0 else float("inf")

    def __repr__(self) -> str:
        """Return one line, without the blocks."""
        return (
            f"Codelength({self.bits:,.1f} bits ({self.code}) of {self.n_rows:,} rows, compression "
            f"{self.compression:.2f}; model {self.model_bits:,.1f}, data {self.data_bits:,.1f})"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a block of an online code: ``start``, ``stop`` and ``bits``; else none."""
        import pandas as pd

        return pd.DataFrame([asdict(one) for one in self.blocks], None, ["start", "stop", "bits"])

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded({**asdict(self), "compression": self.compression})


def read_codable(y: Any, kind: str | None) -> tuple[Array, str, Array]:
    """Return labels, their kind and their classes.

    Args:
        y: [rows] labels or [rows, labels] of 0 and 1.
        kind: See `probes.data.labels.read_labels`.

    Raises:
        ProbeError: They are numbers, which have no codelength, or there is one class only.
    """
    y, kind = read_labels(y, kind, varied=False)
    if kind == "regression":
        raise ProbeError(
            "codelengths are of classes: real numbers cost infinitely many bits; bin them, "
            "or say kind='multiclass' if these are classes"
        )
    if kind == "multilabel":
        return y.astype(np.int64), kind, np.arange(y.shape[1])
    classes = np.unique(y)
    if len(classes) < 2:
        raise ProbeError(f"all labels are {classes[0].item()!r}: there is nothing to code")
    return y, kind, classes


def uniform_bits(rows: int, classes: int, kind: str) -> float:
    """Return bits of labels of which nothing is known: a bit for each of several labels.

    Args:
        rows: How many rows.
        classes: How many classes, or labels.
        kind: Kind of label.
    """
    return float(rows * (classes if kind == "multilabel" else np.log2(classes)))
