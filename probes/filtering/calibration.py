"""The threshold of a filter that misses at most a wanted share, promised with stated confidence."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import beta, binom

from neoscope.errors import ProbeError
from neoscope.files import atomic

_FORMAT = "neoscope.filter-calibration"
_SLACK = 1e-3
"""Logits. The same text in another batch scores a little differently."""


@dataclass(frozen=True)
class FilterCalibration:
    """A threshold, how it was chosen, and what it did on the texts that it was chosen on.

    The promise is about texts drawn like those: of other texts, as of another generator, another
    temperature or another topic, it says nothing.

    Attributes:
        threshold: Texts with at least this probability of the rejected class are withheld.
        reject: The rejected class, as text.
        max_false_negative_rate: The wanted share of texts of that class that may pass, at most.
        confidence: Probability, over draws of such texts, that no more do.
        n_positive: Texts of the rejected class that it was chosen on, equal ones counted once.
        n_negative: The others.
        n_unscored: Texts that could not be scored; they are withheld always, and were left out.
        false_negatives: Texts of the class that would have passed.
        fnr: Their share.
        fnr_interval: Clopper-Pearson bounds, each with ``confidence``; the upper one is what is
            promised.
        fpr: Share of the other texts that are withheld: the price. NaN where there were none.
        fpr_interval: Clopper-Pearson bounds, each with ``confidence``.
        probe: SHA-256 of the probe's card.
        model: Fingerprint of the model.
    """

    threshold: float
    reject: str
    max_false_negative_rate: float
    confidence: float
    n_positive: int
    n_negative: int
    n_unscored: int
    false_negatives: int
    fnr: float
    fnr_interval: tuple[float, float]
    fpr: float
    fpr_interval: tuple[float, float]
    probe: str
    model: str

    def __str__(self) -> str:
        """Return a sentence of what it promises and what it costs."""
        return (
            f"withheld from {self.threshold:.4g}: at most {self.max_false_negative_rate:.3g} of "
            f"{self.reject!r} pass (confidence {self.confidence:.3g}, {self.n_positive} texts); "
            f"{self.fpr:.3g} of {self.n_negative} others are withheld"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON.

        Args:
            path: A file; replaced as a whole.

        Returns:
            Where it stands.
        """
        facts = {"format": _FORMAT, **asdict(self)}
        if math.isnan(self.fpr):
            facts["fpr"] = None
        target = Path(path).expanduser()
        with atomic(target) as temporary:
            temporary.write_text(json.dumps(facts, indent=1, allow_nan=False), encoding="utf-8")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FilterCalibration:
        """Read what :meth:`save` wrote.

        Raises:
            ProbeError: It is not there, or something else.
        """
        try:
            facts = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
            if facts.pop("format") != _FORMAT or facts.keys() != {f.name for f in fields(cls)}:
                raise KeyError("it holds something else")
        except OSError as error:
            raise ProbeError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProbeError(f"{path} is no calibration of a filter: {error}") from error
        facts["fpr"] = math.nan if facts["fpr"] is None else facts["fpr"]
        for name in ("fnr_interval", "fpr_interval"):
            facts[name] = tuple(facts[name])
        return cls(**facts)


def needed(max_false_negative_rate: float, confidence: float) -> int:
    """Return how many texts of a class it takes at least to promise anything.

    Args:
        max_false_negative_rate: Share that may be missed, above 0 and below 1.
        confidence: Above 0 and below 1.

    Example:
        >>> needed(0.05, 0.95), needed(0.01, 0.99)
        (59, 459)
    """
    n = math.ceil(math.log(1 - confidence) / math.log(1 - max_false_negative_rate))
    # Logarithms round; the binomial decides.
    return n if binom.cdf(0, n, max_false_negative_rate) <= 1 - confidence else n + 1


def most_missed(n: int, max_false_negative_rate: float, confidence: float) -> int:
    """Return how many of ``n`` texts may pass; -1 where too few are there to allow even none.

    The threshold is an order statistic: if it lets k of n exchangeable texts pass, the share that
    it lets pass of all texts is above the wanted one with probability at most
    P(Binomial(n, share) <= k) (Wilks 1941). That is also where the Clopper-Pearson upper bound of
    k in n stays below the wanted share.

    Args:
        n: Texts of the rejected class.
        max_false_negative_rate: Share that may be missed.
        confidence: Of the promise.
    """
    allowed = binom.cdf(np.arange(n + 1), n, max_false_negative_rate) <= 1 - confidence
    return int(allowed.sum()) - 1


def choose_threshold(
    positive: Float[np.ndarray, " positives"], max_false_negative_rate: float, confidence: float
) -> float:
    """Return the highest threshold that keeps the promise.

    Args:
        positive: Scores (probability) of texts of the rejected class.
        max_false_negative_rate: Share of them that may stay below it.
        confidence: Of the promise.

    Raises:
        ProbeError: There are too few; says how many are needed.
    """
    for name, value in (
        ("max_false_negative_rate", max_false_negative_rate),
        ("confidence", confidence),
    ):
        if not 0 < value < 1:
            raise ProbeError(f"{name}={value!r} must be above 0 and below 1")
    missed = most_missed(len(positive), max_false_negative_rate, confidence)
    if missed < 0:
        least = needed(max_false_negative_rate, confidence)
        raise ProbeError(
            f"{len(positive)} different texts of the rejected class are too few to promise that at "
            f"most {max_false_negative_rate:g} of them pass, with confidence {confidence:g}: that "
            f"needs {least:,}"
        )
    return _lowered(float(np.sort(positive)[missed]))


def clopper_pearson(k: int, n: int, confidence: float) -> tuple[float, float]:
    """Return bounds of a share, each of which holds with the confidence (Clopper & Pearson 1934).

    Args:
        k: How often it was seen.
        n: In how many.
        confidence: Of each bound.

    Example:
        >>> low, high = clopper_pearson(0, 59, 0.95)
        >>> low, round(high, 4)
        (0.0, 0.0495)
    """
    low = 0.0 if k == 0 else float(beta.ppf(1 - confidence, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(confidence, k + 1, n - k))
    return low, high


def _lowered(p: float) -> float:
    """Lower a probability by a hair in logits, which lets no more pass."""
    p = min(p, 1 - 1e-12)
    if p <= 0:
        return 0.0
    return 1 / (1 + (1 - p) / p * math.exp(_SLACK))
