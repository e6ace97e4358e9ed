"""Calibration: whether a probability of 0.8 is right eight times out of ten."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from neoscope.errors import ProbeError
from probes.judging.metrics import scores
from probes.judging.reading import Outcome, read_outcome
from probes.judging.record import recorded
from probes.keeping.results import SavedResult

if TYPE_CHECKING:
    import pandas as pd

_COLDEST, _HOTTEST = 0.01, 100.0


@dataclass(frozen=True)
class Bin:
    """Rows of similar confidence."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean probability; NaN in an empty bin."""
    accuracy: float
    """Share of rows in which it came true; NaN in an empty bin."""


@dataclass(frozen=True)
class Calibration(SavedResult):
    """How far probabilities are from frequencies."""

    ece: float
    """Expected calibration error: mean distance of confidence and accuracy over rows."""
    mce: float
    """The largest distance of any bin."""
    brier: float
    """Mean squared distance of probabilities and outcome: of the second of two classes (0 to 1),
    summed over more classes (0 to 2), as in scikit-learn."""
    log_loss: float
    """Nats."""
    bins: tuple[Bin, ...]

    def __repr__(self) -> str:
        """Return one line, without the bins."""
        return (
            f"Calibration(ece {self.ece:.3g}, mce {self.mce:.3g}, brier {self.brier:.3g}, "
            f"log_loss {self.log_loss:.3g}; {len(self.bins)} bin{'s' * (len(self.bins) != 1)})"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row a bin: ``low``, ``high``, ``count``, ``confidence`` and ``accuracy``."""
        import pandas as pd

        return pd.DataFrame([asdict(one) for one in self.bins])

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return recorded(asdict(self))


def calibration(y: Any, proba: Any, classes: Any = None, *, n_bins: int = 15) -> Calibration:
    """Compare probabilities with what came true, in bins of equal width.

    Of two classes the probability of the second is binned, as by
    `sklearn.calibration.calibration_curve`; of more classes that of the likeliest one, as by Guo et
    al. 2017 (arXiv:1706.04599).

    Args:
        y: [rows] labels.
        proba: [rows, classes] probabilities; of two classes also [rows] of the second.
        classes: [classes] what the columns are; the sorted labels if None.
        n_bins: Bins between 0 and 1.

    Raises:
        ProbeError: Shapes do not fit, a probability is impossible, or there is no bin.
    """
    if n_bins < 1:
        raise ProbeError(f"n_bins={n_bins}; expected at least 1")
    outcome = _outcome(y, proba, classes)
    p = outcome.proba
    assert p is not None
    hit = outcome.true[:, None] == outcome.columns
    binary = p.shape[1] == 2
    best = np.ones(len(p), np.int64) if binary else p.argmax(1)
    rows = np.arange(len(p))
    confidence, right = p[rows, best].astype(np.float64), hit[rows, best]
    edges = np.linspace(0, 1, n_bins + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        said = np.bincount(place, confidence, n_bins) / counts
        came = np.bincount(place, right, n_bins) / counts
    gaps = np.nan_to_num(np.abs(said - came))
    # A class that has no column is missed in full.
    missed = (~hit.any(1)).astype(np.float64)
    squared = ((p - hit) ** 2).sum(1) + missed
    known = outcome.classes[outcome.columns]
    guess = known[p.argmax(1)]
    return Calibration(
        ece=float((counts * gaps).sum() / len(p)),
        mce=float(gaps.max()),
        brier=float(squared.mean() / (2 if binary else 1)),
        log_loss=scores(y, guess, p, known, kind="multiclass")["log_loss"],
        bins=tuple(
            Bin(float(a), float(b), int(n), float(c), float(r))
            for a, b, n, c, r in zip(edges[:-1], edges[1:], counts, said, came, strict=True)
        ),
    )


def fit_temperature(y: Any, proba: Any, classes: Any = None) -> float:
    """Return the temperature that calibrates probabilities best on held-out rows.

    Guo et al. 2017: log-probabilities are divided by it and normalised again. The loss is convex in
    its inverse, so that it is a root of the derivative.

    Args:
        y: [rows] labels of rows that the probe was not trained on.
        proba: [rows, classes], see `calibration`.
        classes: [classes] what the columns are.

    Returns:
        Above 1 where the probe is too certain; between 0.01 and 100.

    Raises:
        ProbeError: Shapes do not fit, or a label is none of the classes.
    """
    outcome = _outcome(y, proba, classes)
    hit = outcome.true[:, None] == outcome.columns
    if not hit.any(1).all():
        row = int(hit.any(1).argmin())
        raise ProbeError(f"label {np.asarray(y)[row].item()!r} of row {row} is none of the classes")
    logits = _logits(outcome.proba)
    true = logits[hit]

    def slope(inverse: float) -> float:
        return float(((softmax(inverse * logits, 1) * logits).sum(1) - true).mean())

    low, high = 1 / _HOTTEST, 1 / _COLDEST
    if slope(low) >= 0:
        return _HOTTEST
    if slope(high) <= 0:
        return _COLDEST
    return float(1 / brentq(slope, low, high))


def apply_temperature(proba: Any, temperature: float) -> NDArray[np.float64]:
    """Return probabilities at a temperature, [rows, classes].

    Args:
        proba: [rows, classes].
        temperature: See `fit_temperature`.
    """
    scaled = _logits(proba) / temperature
    return np.asarray(np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True)))


def _logits(proba: Any) -> NDArray[np.float64]:
    p = np.asarray(proba)
    eps = np.finfo(p.dtype if p.dtype.kind == "f" else np.float64).tiny
    return np.asarray(np.log(np.maximum(p.astype(np.float64), eps)))


def _outcome(y: Any, proba: Any, classes: Any) -> Outcome:
    outcome = read_outcome(y, y, proba, classes, kind="multiclass")
    if outcome.proba is None:
        raise ProbeError("calibration needs probabilities")
    return outcome
