"""Distributed alignment search: the subspace of a site that carries a variable."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.indices import whole
from neoscope.patching.engine.base import refuse_edited
from neoscope.patching.engine.progress import Progress, Reporting
from neoscope.patching.prompts.pairs import check_direction, read_prompts
from neoscope.patching.subspace.result import DasControls, DasResult
from neoscope.patching.subspace.task import Task, read_task
from neoscope.sites import check_layer
from neoscope.unseen import levels_to_caller

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def das(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    answer: Any,
    wrong: Any,
    *,
    layer: Any,
    position: Any = -1,
    dim: Any = 1,
    site: str = "resid_post",
    direction: str = "denoise",
    targets: Any = None,
    held_out: Any = 0.25,
    controls: bool = True,
    epochs: int = 20,
    batch_size: int = 128,
    lr: float = 1e-2,
    seed: int = 0,
    progress: bool | Callable[[Progress], None] = True,
    prepend_bos: bool = False,
) -> DasResult:
    """Search the subspace whose interchange makes the model answer as a causal model says.

    Distributed alignment search (Geiger et al. 2024, arXiv 2303.02536), by TransformerLens's
    ``fit_das``: of the prompt that is patched, the coordinates inside the subspace are set to those
    of the other prompt, and cross-entropy over all answers trains the subspace.

    Args:
        model: Without hooks or edits in force.
        clean: Texts or token ids; as many pairs as one has, and pairs that differ in more than the
            variable too (with ``targets``): a subspace else learns whatever moves along.
        corrupted: One for each clean prompt.
        answer: What the clean prompts are answered with: one for each, a word or an id.
        wrong: The same of the corrupted prompts.
        layer: The one layer that is searched, which is why it is no ``layers``; None for
            ``site="embed"``.
        position: The one token that is patched: the same in all pairs, or a tensor [pairs, 1].
        dim: Dimensions of the subspace.
        site: A site that is not by head.
        direction: ``"denoise"`` patches the corrupted prompt with the clean one's values,
            ``"noise"`` the reverse.
        targets: What a causal model says after the interchange; None for the answer of the prompt
            that the values come from.
        held_out: Share of pairs that are kept from the search, to measure the accuracy on.
        controls: Measure what it is to be compared with; takes as long again.
        epochs: Passes over the pairs.
        batch_size: Pairs of one step.
        lr: Step size of Adam.
        seed: Of the division, the start, the order and the controls.
        progress: True for a bar after two seconds, False for none, or a function that is given a
            :class:`Progress`. A keyboard interrupt during the controls returns the search without
            them; before its end a search has no result.
        prepend_bos: For texts: put the beginning-of-text token first; GPT-Neo was trained without.

    Raises:
        PatchingError: Prompts do not align, all answers are the same, or a number means nothing.
        SiteError: The site is by head, or a layer or position does not exist.
    """
    from transformer_lens.tools.analysis import SubspaceInterchange

    refuse_edited(model)
    check_direction(direction)
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    number = None if layer is None else check_layer(layer, model.config.n_layers, site)
    task = read_task(model, prompts, site, number, position, direction, answer, wrong, targets)
    size = task.source(slice(0, 1)).shape[1]
    if (wanted := whole(dim)) is None or not 1 <= wanted <= size:
        raise PatchingError(f"dim={dim!r}; expected 1 to {size}, the last axis of {task.site!r}")
    train, test = _divided(len(prompts), held_out, seed)
    options = {"rank": wanted, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    known: list[DasResult] = []
    total = len(train) * (epochs + 1) * (1 + bool(controls))
    with Reporting(progress, total, lambda: _first(known)) as report:
        found = task.search(train, task.targets, options, report.update)
        step = SubspaceInterchange(found.basis)
        result = DasResult(
            basis=found.basis.cpu().clone(),
            site=task.site,
            layer=number,
            position=position,
            direction=direction,
            accuracy=task.accuracy(step, test),
            train_accuracy=task.accuracy(step, train),
            losses=found.losses,
            controls=None,
            n_train=len(train),
            n_held_out=len(test) if held_out else 0,
            seed=seed,
            model=model.cfg.model_name,
            fingerprint=model.fingerprint(),
        )
        known.append(result)
        if not controls:
            return result
        return _compared(result, lambda: _controls(task, step, train, test, options, report.update))


def _compared(result: DasResult, measure: Callable[[], DasControls]) -> DasResult:
    """Add the controls; a keyboard interrupt leaves them out."""
    try:
        return replace(result, controls=measure())
    except KeyboardInterrupt:
        said = "interrupted: the search is done, its controls are not"
        warnings.warn(said, stacklevel=levels_to_caller(sys._getframe()))
        return result


def _first(known: Sequence[DasResult]) -> DasResult:
    if not known:
        raise PatchingError("the search is not done yet")
    return known[0]


def _divided(n: int, held_out: Any, seed: int) -> tuple[Tensor, Tensor]:
    if isinstance(held_out, bool | str) or not 0 <= held_out < 1:
        raise PatchingError(f"held_out={held_out!r}; expected a share of pairs, from 0 to below 1")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    kept = int(n * held_out)
    if held_out and not kept:
        raise PatchingError(
            f"held_out={held_out} of {n} pairs is none; give more pairs, or held_out=0"
        )
    return order[kept:], order[:kept] if kept else order


def _controls(
    task: Task,
    step: Any,
    train: Tensor,
    test: Tensor,
    options: dict[str, Any],
    ran: Callable[[int], None],
) -> DasControls:
    from transformer_lens.tools.analysis import (
        NormMatchedPlacebo,
        SubspaceInterchange,
        arbitrary_targets,
        random_basis,
    )

    d, dim = step.basis.shape
    seed = options["seed"]
    elsewhere = random_basis(d, dim, seed=seed + 1)
    keys = [
        tuple(ids[real].tolist())
        for ids, real in zip(
            task.tokens.ids[task.n :].cpu(), task.tokens.mask[task.n :].cpu(), strict=True
        )
    ]
    targets = arbitrary_targets(keys, len(task.classes), seed)
    arbitrary = SubspaceInterchange(task.search(train, targets, options, ran).basis)
    whole_site = SubspaceInterchange(torch.eye(d))
    return DasControls(
        nothing=task.accuracy(SubspaceInterchange(elsewhere, strength=0.0), test),
        whole=task.accuracy(whole_site, test),
        random=task.accuracy(SubspaceInterchange(elsewhere), test),
        placebo=task.accuracy(NormMatchedPlacebo(step, elsewhere), test),
        arbitrary=task.accuracy(arbitrary, train, targets),
    )
