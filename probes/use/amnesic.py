"""Amnesic probing: what the language model loses when a concept is erased from its states.

Beside it stand the same losses with random subspaces erased: of the same rank, and moved as far at
every token. Decodable is not used: where the losses are alike, nothing shows that the model needs
the concept.

Reference: Elazar et al. 2021, arXiv:2006.00995 (there with INLP instead of LEACE).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from neoscope.edits import Edit, transform
from neoscope.errors import ProbeError
from probes.erasure.eraser import Eraser
from probes.erasure.scrubbing import Scrubbing
from probes.keeping.results import SavedResult
from probes.progress import shown
from probes.running import Batch, read_batches
from probes.use.controls import matched_removal, random_basis, random_eraser
from probes.use.effects import Effect, check_draws, compare, table, too_few

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class AmnesicReport(SavedResult):
    """The language model's own next-token loss and accuracy, before and after erasure."""

    loss: float
    """Before, mean over texts of nats a token."""
    accuracy: float
    """Before: share of tokens that were the model's first choice."""
    effects: tuple[Effect, ...]
    """Of measures ``loss`` and ``accuracy`` (after minus before), against both controls."""
    ranks: Mapping[int, int]
    """Directions taken out, by layer."""
    model: str = ""
    """What the language model is called."""

    def find(self, measure: str = "loss", control: str = "same norm") -> Effect:
        """Return one effect.

        Args:
            measure: ``loss`` or ``accuracy``.
            control: ``same norm`` or ``same rank``.

        Raises:
            ProbeError: There is no such effect.
        """
        for one in self.effects:
            if (one.measure, one.control) == (measure, control):
                return one
        raise ProbeError(f"there is no effect on {measure!r} against {control!r}")

    @property
    def verdict(self) -> str:
        """What follows, in one clause."""
        effect = self.find()
        few = too_few(len(effect.random))
        if few:
            return few
        beyond = effect.beyond_random()
        if beyond is None:
            return "it cannot be told whether the model needs it: nothing changes the loss here"
        if beyond and effect.value > 0:
            return "the model needs it for its predictions on these texts"
        return "decodable is not used: nothing shows that the model needs it on these texts"

    @property
    def report(self) -> str:
        """The verdict and the numbers under it, as plain text."""
        effect = self.find()
        return (
            f"Erasing the concept changes the loss by {effect.value:+.4g} nats a token (from "
            f"{self.loss:.4g}), random directions of the same norm by {effect.random.mean():+.4g} "
            f"on average (p = {effect.p:.3g}): {self.verdict}."
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row an effect."""
        return table(self.effects)

    def __repr__(self) -> str:
        """Return the change of the loss and the verdict, in one line."""
        return f"AmnesicReport(loss {self.find().value:+.4g} nats a token: {self.verdict})"

    def __str__(self) -> str:
        """Return the report."""
        return self.report


def amnesic(
    model: Any,
    erasers: Any,
    texts: Any,
    *,
    site: str = "resid_post",
    n_random: int = 20,
    seed: int = 0,
    confidence: float = 0.95,
    batch_size: int = 32,
    prepend_bos: bool = False,
    progress: bool = True,
) -> AmnesicReport:
    """Return what erasing a concept does to the model's own next-token predictions.

    Args:
        model: A HookedGPTNeo.
        erasers: ``{layer: eraser}``, from :func:`probes.erasure.fit_leace` or others; or what
            :func:`probes.erasure.scrub` gave, whose site is taken.
        texts: Texts of at least two tokens, token ids, or what ``model.tokenize`` gave; best not
            those that the erasers were fitted on.
        site: Where they erase, if they do not say so.
        n_random: How many random erasures; the smallest p is 1 / (1 + n_random), so that fewer
            than 19 decide nothing.
        seed: Of the random subspaces.
        confidence: Of intervals over texts.
        batch_size: Texts in a run.
        prepend_bos: For texts: put the beginning-of-text token first.
        progress: Show a bar from two seconds on.

    Raises:
        ProbeError: There are no erasers by layer, a text has nothing to predict, or an argument is
            out of range.
    """
    check_draws(n_random, confidence)
    if isinstance(erasers, Scrubbing):
        site, erasers = erasers.site, erasers.erasers
    _check_erasers(erasers)
    batches = read_batches(model, texts, batch_size=batch_size, prepend_bos=prepend_bos)
    rng = np.random.default_rng(seed)
    plans = [[eraser.edit(site, layer) for layer, eraser in erasers.items()]]
    random: dict[str, list[list[Edit]]] = {"same rank": [], "same norm": []}
    for _ in range(n_random):
        bases = {at: random_basis(rng, e.n_features, e.rank) for at, e in erasers.items()}
        items = erasers.items()
        random["same rank"].append([random_eraser(e, bases[at]).edit(site, at) for at, e in items])
        random["same norm"].append(
            [transform(site, at, matched_removal(e, bases[at])) for at, e in items]
        )
    plans += [edits for control in random.values() for edits in control]
    before = _predict(model, batches, [])
    after = [
        _predict(model, batches, edits)
        for edits in shown(plans, len(plans), "amnesic probing", progress)
    ]
    effects = [
        compare(
            "erase",
            "all",
            measure,
            control,
            after[0][at] - before[at],
            np.stack([one[at] - before[at] for one in after[1 + i * n_random :][:n_random]]),
            confidence=confidence,
        )
        for i, control in enumerate(random)
        for at, measure in enumerate(("loss", "accuracy"))
    ]
    ranks = {layer: eraser.rank for layer, eraser in erasers.items()}
    return AmnesicReport(
        float(before[0].mean()), float(before[1].mean()), tuple(effects), ranks,
        model=str(model.cfg.model_name),
    )  # fmt: skip


def _check_erasers(erasers: Any) -> None:
    if not isinstance(erasers, Mapping):
        raise ProbeError(
            f"erasers={type(erasers).__name__}; expected a mapping from layers to erasers, such as "
            "{3: eraser}, or what scrub() gave"
        )
    for layer, eraser in erasers.items():
        if not isinstance(eraser, Eraser):
            raise ProbeError(
                f"erasers: layer {layer!r} has a {type(eraser).__name__}; expected an Eraser, as "
                "fit_leace gives it"
            )
    ranks = [eraser.rank for eraser in erasers.values()]
    if not any(ranks):
        raise ProbeError(f"there is nothing to compare: the erasers have ranks {ranks}")


def _predict(model: Any, batches: list[Batch], edits: list[Edit]) -> tuple[Array, Array]:
    """Return each text's mean loss in nats and accuracy."""
    losses, hits = [], []
    for batch in batches:
        with torch.inference_mode():
            logits = model(batch.ids, batch.mask, edits=edits)[:, :-1].float()
        target, real = batch.ids[:, 1:], batch.mask[:, 1:] & batch.mask[:, :-1]
        count = real.sum(1)
        if not bool(count.all()):
            row = batch.rows.start + int((count == 0).nonzero()[0, 0])
            raise ProbeError(f"text {row} is a single token: there is nothing to predict")
        loss = -logits.log_softmax(-1).gather(2, target[..., None])[..., 0]
        right = logits.argmax(-1) == target
        losses.append((loss * real).sum(1).double() / count)
        hits.append((right & real).sum(1).double() / count)
    return tuple(np.asarray(torch.cat(x).cpu()) for x in (losses, hits))  # type: ignore[return-value]
