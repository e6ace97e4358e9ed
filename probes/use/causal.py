"""Causal use: erase, steer and exchange what a probe reads, and watch the model's own logits.

That a label can be decoded does not show that the model uses it. Every intervention stands beside
random ones of the same size: erasing beside other subspaces of the same rank, and beside moving
each token as far in another subspace; steering beside other directions of the same norm.

References: Marks & Tegmark 2023, arXiv:2310.06824; Geiger et al. 2021, arXiv:2106.02997.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.data.places import Place
from probes.erasure.eraser import Eraser
from probes.progress import Bar
from probes.use.controls import matched_removal, random_basis, random_eraser, swap
from probes.use.effects import Effect, check_draws, compare
from probes.use.experiment import ChangeOf, Experiment, same_lengths
from probes.use.report import CausalReport
from probes.use.subspace import (
    Reading,
    eraser_of,
    place_of,
    read_probe,
    rows_of,
    trained_on_last,
)

Array = NDArray[Any]
Found = dict[str, Array]


def causal_effect(
    model: Any,
    probe: Any,
    texts: Any,
    *,
    answers: Any = None,
    wrong: Any = None,
    counterparts: Any = None,
    eraser: Any = "projection",
    data: Any = None,
    shift: float | None = None,
    positions: Any = None,
    n_random: int = 20,
    seed: int = 0,
    confidence: float = 0.95,
    place: Place | None = None,
    any_source: bool = False,
    batch_size: int = 32,
    prepend_bos: bool = False,
    progress: bool = True,
) -> CausalReport:
    """Return what a probe's directions do to the model's next-token distribution after each text.

    Args:
        model: A HookedGPTNeo.
        probe: A fitted linear probe, with ``directions()``.
        texts: Texts, token ids [texts, pos], or what ``model.tokenize`` gave.
        answers: The right next word (of one token) or token id; one for all texts, or one each.
        wrong: The wrong ones, other than the answers; without them the answer's log-probability is
            measured.
        counterparts: One other text for each, of as many tokens unless ``positions`` are given,
            whose values in the subspace are put in.
        eraser: ``"projection"`` moves each state along the probe's directions alone: of a
            classifier onto its boundary, where the logit is 0 (of several classes, where their
            logits are equal), whichever texts are given; of a probe of quantities to what it
            predicts of the mean state. ``"leace"`` and ``"mean"`` are fitted on ``data``, whose
            mean they keep. Or an :class:`~probes.erasure.Eraser`.
        data: (X, y) or a ProbeData, at the probe's place, best what the probe was trained on. Its
            mean is the mean state; without it that of the texts given is, of which a probe of
            quantities then needs several that differ.
        shift: By how much steering moves the probe's logit; None mirrors a typical state, with
            twice the mean absolute logit. Of a plain mass-mean probe that is about the difference
            of means itself.
        positions: Which positions of each text are edited, and tell how far a typical steering is;
            -1 for the last, None for all (or the last, if the probe was trained on last tokens).
        n_random: How many random interventions; the smallest p is 1 / (1 + n_random), so that fewer
            than 19 decide nothing.
        seed: Of the random directions.
        confidence: Of intervals over texts.
        place: Where the probe reads, if it does not know.
        any_source: Take a probe of another model or place.
        batch_size: Texts in a run.
        prepend_bos: For texts: put the beginning-of-text token first.
        progress: Show a bar from two seconds on.

    Raises:
        ProbeError: The probe is of another model, has no directions, texts do not fit, an answer is
            its wrong word, or an argument is out of range.
    """
    check_draws(n_random, confidence)
    place, reading = place_of(model, probe, place, any_source), read_probe(probe)
    if positions is None and trained_on_last(probe):
        positions = -1
    common = {"positions": positions, "batch_size": batch_size, "prepend_bos": prepend_bos}
    runs = Experiment(model, place, texts, answers=answers, wrong=wrong, **common)
    vectors = runs.vectors()
    d = reading.directions.shape[1]
    if vectors.shape[1] != d:
        raise ProbeError(
            f"the probe reads {d} features, but {place} of this model has {vectors.shape[1]}"
        )
    rows = None if data is None else rows_of(data, place, d)
    centre = (vectors if rows is None else rows[0]).mean(0, dtype=np.float64)
    erasing = eraser_of(reading, eraser, centre, rows)
    typical = reading.typical(vectors, centre)
    shifts = typical if shift is None else np.full(len(typical), shift)
    rng = np.random.default_rng(seed)
    others = None
    if counterparts is not None:
        others = Experiment(model, place, counterparts, **common)
        _check_counterparts(runs, others)
    work = _Work(runs, n_random, rng, confidence, progress)
    work.plan(erasing.rank, len(reading.names), others is not None)
    with work:
        effects = [*_erase(work, erasing), *_steer(work, reading, shifts)]
        if others is not None:
            effects += _exchange(work, reading, others)
    return CausalReport(
        place,
        tuple(effects),
        runs.measures[-1],
        erasing.method,
        tuple(shifts.tolist()),
        n_random,
        model=str(model.cfg.model_name),
        label=getattr(getattr(probe, "card_", None), "label", None),
    )


class _Work:
    """Measures interventions beside their controls, and shows how far it is."""

    def __init__(
        self,
        runs: Experiment,
        n_random: int,
        rng: np.random.Generator,
        confidence: float,
        progress: bool,
    ) -> None:
        self.runs, self.n_random, self.rng = runs, n_random, rng
        self._confidence, self._progress = confidence, progress
        self._total = 0
        self._bar: Any = None

    def plan(self, rank: int, directions: int, exchange: bool) -> None:
        """Count the interventions to come."""
        draws = 1 + 2 * self.n_random
        self._total = (draws if rank else 0) + 2 * directions * (1 + self.n_random)
        self._total += draws if exchange else 0

    def __enter__(self) -> _Work:
        self._bar = Bar(self._progress, self._total, "intervention").__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    def measure(self, change_of: ChangeOf) -> Found:
        """Return the effects of one intervention, by measure."""
        found: Found = self._bar.after(self.runs.measure(change_of).values)
        return found

    def draws(self, make: Callable[[], ChangeOf]) -> list[Found]:
        """Return the effects of random interventions."""
        return [self.measure(make()) for _ in range(self.n_random)]

    def compare(
        self, kind: str, direction: str, control: str, found: Found, random: list[Found]
    ) -> Iterator[Effect]:
        """Yield the effect on each measure."""
        for name, per_text in found.items():
            drawn = np.stack([one[name] for one in random])
            yield compare(
                kind, direction, name, control, per_text, drawn, confidence=self._confidence
            )


def _erase(work: _Work, eraser: Eraser) -> list[Effect]:
    if not eraser.rank:
        raise ProbeError(
            "there is nothing to erase: the data's class means are equal to the last digits"
        )
    d, rank = eraser.n_features, eraser.rank
    found = work.measure(lambda _: eraser)
    bases = [random_basis(work.rng, d, rank) for _ in range(work.n_random)]
    at, further = iter(bases), iter(bases)

    def any_subspace() -> ChangeOf:
        control = random_eraser(eraser, next(at))
        return lambda _: control

    def as_far() -> ChangeOf:
        control = matched_removal(eraser, next(further))
        return lambda _: control

    return [
        *work.compare("erase", "all", "same rank", found, work.draws(any_subspace)),
        *work.compare("erase", "all", "same norm", found, work.draws(as_far)),
    ]


def _steer(work: _Work, reading: Reading, shifts: Array) -> list[Effect]:
    effects: list[Effect] = []
    sizes: list[tuple[Found, list[Found]]] = []
    for i, (name, shift) in enumerate(zip(reading.names, shifts, strict=True)):
        for sign, say in ((1.0, "+"), (-1.0, "-")):
            vector = reading.step(i, sign * float(shift))
            length = float(np.linalg.norm(vector))

            def elsewhere(length: float = length, d: int = len(vector)) -> ChangeOf:
                return _adding(length * random_basis(work.rng, d, 1)[:, 0])

            found, random = work.measure(_adding(vector)), work.draws(elsewhere)
            effects += work.compare("steer", f"{say}{name}", "same norm", found, random)
            sizes.append((found, random))
    mean = {name: _size([found for found, _ in sizes], name) for name in sizes[0][0]}
    drawn = [
        {name: _size([random[k] for _, random in sizes], name) for name in mean}
        for k in range(work.n_random)
    ]
    return [*effects, *work.compare("steer", "all", "same norm", mean, drawn)]


def _size(found: list[Found], name: str) -> Array:
    """Return the mean magnitude of several interventions' effects on each text."""
    return np.asarray(np.abs(np.stack([one[name] for one in found])).mean(0))


def _adding(vector: Array) -> ChangeOf:
    step = torch.from_numpy(vector)

    def change(x: torch.Tensor) -> torch.Tensor:
        return x + step.to(x.device, x.dtype).reshape(x.shape[-1:] if _fits(x) else x.shape[-2:])

    def _fits(x: torch.Tensor) -> bool:
        return x.shape[-1] == len(step)

    return lambda _: change


def _check_counterparts(runs: Experiment, others: Experiment) -> None:
    if others.n_texts != runs.n_texts:
        raise ProbeError(f"there are {runs.n_texts} texts but {others.n_texts} counterparts")
    if runs.positions is None and not same_lengths(runs.batches, others.batches):
        raise ProbeError(
            "a text and its counterpart have different numbers of tokens; give positions=, such as "
            "-1 for the last token of each"
        )


def _exchange(work: _Work, reading: Reading, others: Experiment) -> list[Effect]:
    d, rank = reading.basis.shape
    sources = others.states()
    found = work.measure(lambda i: swap(sources[i], reading.basis))
    bases = iter([random_basis(work.rng, d, rank) for _ in range(2 * work.n_random)])

    def any_subspace() -> ChangeOf:
        basis = next(bases)
        return lambda i: swap(sources[i], basis)

    def as_far() -> ChangeOf:
        basis = next(bases)
        return lambda i: swap(sources[i], basis, reading.basis)

    return [
        *work.compare("interchange", "all", "same rank", found, work.draws(any_subspace)),
        *work.compare("interchange", "all", "same norm", found, work.draws(as_far)),
    ]
