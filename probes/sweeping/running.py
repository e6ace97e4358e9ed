"""sweep: every site, layer and head with one kind of probe, against controls and baselines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from probes.data.dataset import ProbeData
from probes.judging.metrics import default_metric, read_metric
from probes.sweeping.checks import check_options, check_probe
from probes.sweeping.judged import Asked
from probes.sweeping.parting import read_parts
from probes.sweeping.reading import read_source
from probes.sweeping.result import SweepResult
from probes.sweeping.selecting import strengths_of
from probes.sweeping.work import Sweep


def sweep(
    source: Any,
    probe: Any = None,
    *,
    labels: Any = None,
    texts: Any = None,
    sites: Any = None,
    layers: Any = None,
    heads: Any = None,
    cv: int | Sequence[tuple[Any, Any]] = 5,
    metric: str | None = None,
    strengths: Sequence[float] | None = None,
    controls: bool = True,
    mdl: bool = False,
    baselines: bool = True,
    test_size: float = 0.2,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **reading: Any,
) -> SweepResult:
    """Train one kind of probe at every place, and judge each on data that nothing was chosen by.

    Groups are split once: a test part that no choice sees, and folds of the rest, on which
    each place's strength, and then the best place, are chosen. Every control task (Hewitt & Liang
    2019) and random twin gets the same treatment, its own strength included.

    Args:
        source: A :class:`ProbeData`; or a store of features or its folder, with ``labels``; or a
            model, with ``texts`` and ``labels``.
        probe: What to train; default ``LogisticProbe()``, for numbers ``RidgeProbe()``.
        labels: Of a store: its column, or one label a row; of a model: one a text.
        texts: For a model.
        sites: Which sites; None for all that there are (of a model: ``resid_post``).
        layers: Which layers; None for all.
        heads: Which heads, of sites that have some; of a model: True for all.
        cv: Folds of the development part; or pairs of rows to fit on and to validate on.
        metric: What strengths and the best place are chosen by; default ``accuracy``, of several
            labels ``f1``, of numbers ``r2``.
        strengths: What is tried for the probe's strength (``C``, ``alpha``); default its own.
        controls: Train on control labels too and report selectivity.
        mdl: Report the online codelength of the labels (Voita & Titov 2020), of all rows; which
            strengths it was told in is paid for. It can exceed the uniform code, compression
            below 1, where the first blocks mislead a probe of many features.
        baselines: Compare with the majority class, the bag of token embeddings, and the model's
            random twin, as far as the data know how.
        test_size: Share of the rows in the test part.
        n_bootstrap: Resamples of the groups for each interval.
        confidence: Share of the resampled scores inside an interval.
        seed: Of splits, controls, resamples and the random twin.
        folder: Keeps every finished place; the same call goes on where one was interrupted, and a
            call for other layers adds to it. Other features, labels or options are an error.
        progress: Whether a bar is shown after two seconds.
        reading: For a store or a model, what ``ProbeData.from_store`` and ``from_texts`` take:
            ``pool``, ``groups``, ``types``, ...

    Returns:
        All places, also after an interrupt once one is done: then ``complete`` is False.

    Raises:
        ProbeError: Data, labels, folds or options that mean nothing; groups that leak; features
            that are NaN or infinite (which place, which row); another sweep in ``folder``.
    """
    check_options(
        cv=cv, strengths=strengths, n_bootstrap=n_bootstrap, confidence=confidence, seed=seed
    )
    data = read_source(source, labels, texts, sites, layers, heads, reading)
    probe = _default(data) if probe is None else probe
    metric = read_metric(metric or default_metric(data.kind), data.kind)
    asked = Asked(data.kind, metric, strengths_of(probe, strengths), n_bootstrap, confidence, seed)
    parts = read_parts(data, cv, test_size, seed)
    check_probe(probe, data, asked, strengths, mdl=mdl)
    return Sweep(data, probe, parts, asked, controls, mdl, baselines, folder, progress).run()


def _default(data: ProbeData) -> Any:
    from probes.linear.logistic import LogisticProbe
    from probes.linear.ridge import RidgeProbe

    return RidgeProbe() if data.kind == "regression" else LogisticProbe()
