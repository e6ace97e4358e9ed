"""What a sweep is asked, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neoscope.errors import ProbeError
from probes.data.dataset import ProbeData
from probes.estimating.arguments import number, whole_number
from probes.judging.metrics import metric_names
from probes.sweeping.judged import Asked
from probes.sweeping.selecting import NEED_PROBABILITIES


def check_options(*, cv: Any, strengths: Any, n_bootstrap: Any, confidence: Any, seed: Any) -> None:
    """Check what can be checked without data.

    Args:
        cv: Number of folds, or pairs of rows.
        strengths: Values, or None.
        n_bootstrap: Number of resamples.
        confidence: Share of the resampled scores inside an interval.
        seed: Of all draws.

    Raises:
        ProbeError: One of them means nothing.
    """
    if isinstance(cv, str | float) or cv is None:
        raise ProbeError(f"cv={cv!r} is neither a number of folds nor pairs of rows")
    whole_number("n_bootstrap", n_bootstrap)
    whole_number("seed", seed, 0)
    if not 0 < number("confidence", confidence) < 1:
        raise ProbeError(f"confidence={confidence}; expected a share between 0 and 1")
    if strengths is None:
        return
    if isinstance(strengths, str) or not hasattr(strengths, "__len__"):
        raise ProbeError(f"strengths={strengths!r} are no list of numbers")
    if not len(strengths):
        raise ProbeError("strengths is empty: name at least one, or leave it out")
    for one in strengths:
        number("each of strengths", one)


def check_probe(
    probe: Any,
    data: ProbeData,
    asked: Asked,
    strengths: Sequence[float] | None,
    *,
    mdl: bool,
) -> None:
    """Check that the probe is one for these labels and for what is asked.

    Args:
        probe: What is to be trained.
        data: The labels.
        asked: The score by which to choose.
        strengths: As they were given.
        mdl: Whether labels are to be coded.

    Raises:
        ProbeError: It predicts something else, has no strength to choose, or gives no
            probabilities where they are needed.
    """
    if isinstance(probe, type):
        raise ProbeError(f"probe is a class; give one of its objects: {probe.__name__}()")
    if strengths is not None and not hasattr(probe, "strength_name"):
        raise ProbeError(
            f"strengths were given, but {type(probe).__name__} has none that a sweep could try"
        )
    if not hasattr(probe, "fit") or not hasattr(probe, "__sklearn_tags__"):
        raise ProbeError(
            f"probe={probe!r:.80} is no estimator; give for example probes.LogisticProbe()"
        )
    wanted = "regressor" if data.kind == "regression" else "classifier"
    found = getattr(probe.__sklearn_tags__(), "estimator_type", None)
    if found != wanted:
        names: Mapping[str, str] = {"regressor": "RidgeProbe", "classifier": "LogisticProbe"}
        raise ProbeError(
            f"labels are {data.kind} ({', '.join(metric_names(data.kind))}), which asks for a "
            f"{wanted}; {type(probe).__name__} is {found or 'neither'}: take for example "
            f"{names[wanted]}()"
        )
    needy = data.kind != "regression" and (mdl or asked.metric in NEED_PROBABILITIES)
    if needy and not hasattr(probe, "predict_proba"):
        raise ProbeError(
            f"{'mdl=True' if mdl else f'metric={asked.metric!r}'} needs probabilities, and "
            f"{type(probe).__name__} gives none; take for example LogisticProbe()"
        )
