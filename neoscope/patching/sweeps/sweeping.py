"""Sweeps: the exact effect of patching every cell of a grid, with statistics over pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from neoscope.patching.engine.exact import Exact, exact_effects
from neoscope.patching.engine.progress import Progress, with_result
from neoscope.patching.prompts.pairs import Prompts, check_direction, read_prompts
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sources.reading import Subspace, read_source
from neoscope.patching.sources.source import Source
from neoscope.patching.sweeps.grid import Grid, make_grid
from neoscope.patching.sweeps.measured import as_result

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def sweep(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    metric: Any,
    site: str = "resid_pre",
    *,
    layers: Any = None,
    heads: Any = None,
    positions: Any = "each",
    keys: Any = None,
    units: Any = None,
    direction: str = "denoise",
    source: Any = None,
    subspace: Any = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    seed: int = 0,
    prepend_bos: bool = False,
) -> PatchingResult:
    """Patch every cell of a grid by itself, and measure what the model then says.

    Each number is exactly what a run of the whole model with that one change gives; the runs share
    all that the change cannot reach. Method: Zhang & Nanda 2023 (arXiv 2309.16042), Heimersheim &
    Nanda 2024 (arXiv 2404.15255).

    Args:
        model: Without hooks or edits in force.
        clean: A text, several, or token ids.
        corrupted: One for each clean prompt, token for token as long; None with a ``source``.
        metric: Such as ``logit_diff(" Mary", " John")``, or a function of logits
            [pairs, positions, vocab] that returns one number a pair.
        site: What to patch; ``neoscope.patching.SITES`` names all.
        layers: One or several; default (or ``"each"``) each by itself.
        heads: Of sites by head: one or several; ``"all"`` at once; default each.
        positions: Of each text: ``"each"`` by itself or ``"all"`` at once; one, several (a slice
            among them is patched as a whole), or a mapping of names to positions (or to lists of
            them, pair by pair). On patterns and scores these are queries. The default is each in
            ``sweep``, ``every``, ``attribution`` and ``trace``, all in ``ablate`` and
            ``path_patch``.
        keys: Source positions of patterns and scores: as ``positions``, or ``"each"``; default all
            at once.
        units: Indices of the site's last axis, such as neurons of ``post``: one, several or
            ``"each"``; default all at once.
        direction: ``"denoise"`` puts values of the clean run into the corrupted one (what
            suffices?), ``"noise"`` the reverse (what is needed?). They are no mirror images.
            Without corrupted prompts it is the clean ones that are patched.
        source: What is put in: None for the other prompt's values; ``"zero"``, ``"mean"``,
            ``"noise"``, ``"resample"``; a :class:`Source`; a tensor; a cache; or other texts.
        subspace: Directions [d] or [d, k] along the site's last axis: only what lies in their span
            is patched.
        metric_positions: Where the metric reads: None for the last token, ``"all"``, or positions.
        batch_tokens: Tokens of patched rows held at once; default 4,096 (32,768 on a GPU).
        progress: True for a bar after two seconds, False for none, or a function that is given a
            :class:`Progress`.
        seed: For sources that draw, and for the bootstrap.
        prepend_bos: For texts: put the beginning-of-text token first; GPT-Neo was trained without.

    Returns:
        Effects in the metric's unit, [pairs] and one axis for each swept dimension, in the order
        layer, head, pos, key, unit. A keyboard interrupt returns what is done, the rest NaN.

    Raises:
        PatchingError: Prompts do not align or are the same, or the metric does not fit them.
        SiteError: A site, layer, head or position does not exist.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.patching import logit_diff
        >>> model, pairs = ns.load("induction"), ns.organism.compiled.pairs(4, "value")
        >>> metric = logit_diff(pairs.answer, pairs.wrong)
        >>> found = sweep(model, pairs.clean, pairs.corrupted, metric, site="z", positions="all")
        >>> found.mean.round(2)  # only head 1.0 carries what was changed
        array([[ 0.  ,  0.  ,  0.  ,  0.  ],
               [18.84,  0.  ,  0.  ,  0.  ]])
    """
    check_direction(direction)
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    chosen = read_source(source, seed)
    if subspace is not None:
        chosen = Subspace(chosen, torch.as_tensor(subspace))
    grid = make_grid(
        model.config,
        prompts,
        site,
        layers=layers,
        heads=heads,
        positions=positions,
        keys=keys,
        units=units,
    )
    return run_grid(
        model,
        prompts,
        metric,
        grid,
        direction=direction,
        source=chosen,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=progress,
        seed=seed,
    )


def run_grid(
    model: HookedGPTNeo,
    prompts: Prompts,
    metric: Any,
    grid: Grid,
    *,
    direction: str,
    source: Source,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    seed: int = 0,
) -> PatchingResult:
    """Measure a grid; see :func:`sweep` for the arguments."""

    def result(exact: Exact) -> PatchingResult:
        return as_result(
            exact, model, prompts, grid, direction=direction, source=source.label, seed=seed
        )

    exact = exact_effects(
        model,
        prompts,
        metric,
        grid.cells,
        direction=direction,
        source=source,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=with_result(progress, result),
        seed=seed,
    )
    return result(exact)
