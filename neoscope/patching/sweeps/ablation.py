"""Ablation sweeps: what the model says when a part of it is put at zero, a mean, or another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from neoscope.errors import PatchingError
from neoscope.patching.engine.progress import Progress, with_result
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sources.reading import OtherRun, read_source
from neoscope.patching.sources.source import Source
from neoscope.patching.sources.statistics import Mean
from neoscope.patching.sweeps.grid import make_grid
from neoscope.patching.sweeps.sweeping import run_grid

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def ablate(
    model: HookedGPTNeo,
    texts: Any,
    metric: Any,
    site: str = "z",
    *,
    source: Any = "zero",
    reference: Any = None,
    by_position: bool = False,
    layers: Any = None,
    heads: Any = None,
    positions: Any = "all",
    keys: Any = None,
    units: Any = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    seed: int = 0,
    prepend_bos: bool = False,
) -> PatchingResult:
    """Ablate every cell of a grid by itself, and measure what the model then says.

    What replaces a part decides what the effect means: zero and noise may be values that the model
    never meets, the mean keeps what all texts share, resampling (Chan et al. 2022, causal
    scrubbing) keeps the distribution. Wang et al. 2022 (arXiv 2211.00593) take means over texts of
    the task with the names drawn anew.

    Args:
        model: Without hooks or edits in force.
        texts: One, several, or token ids.
        metric: Such as ``logit_diff(" Mary", " John")``, ``loss()``, ``kl()``, or a function.
        site: What is ablated.
        source: ``"zero"``, ``"mean"``, ``"resample"``, ``"noise"``, or what
            :func:`neoscope.patching.sweep` takes: a tensor, a cache, a :class:`Source`.
        reference: Texts that the mean is over or resampling draws from; None for ``texts``. For
            resampling, each text draws one of its own length.
        by_position: Of the mean: over texts alone, position by position; all as long as the texts.
        layers: One or several; default each.
        heads: Of sites by head: one or several; ``"all"`` at once; default each.
        positions: As for ``sweep``: ``"each"``, ``"all"`` at once, one, several, or a mapping of
            names. The default is each in ``sweep``, ``every``, ``attribution`` and ``trace``, all
            in ``ablate`` and ``path_patch``.
        keys: Source positions of patterns and scores, as for ``sweep``.
        units: Indices of the site's last axis, such as neurons; ``"each"``; default all at once.
        metric_positions: Where the metric reads: None for the last token, ``"all"``, or positions.
        batch_tokens: Tokens of ablated rows held at once; default 4,096 (32,768 on a GPU).
        progress: True for a bar after two seconds, False for none, or a function.
        seed: Of draws.
        prepend_bos: For texts: put the beginning-of-text token first; GPT-Neo was trained without.

    Returns:
        Effects: the metric in the ablated run minus in the clean one.

    Raises:
        PatchingError: ``reference`` or ``by_position`` with a source that has none, or the metric
            does not fit.
        SiteError: A site, layer, head or position does not exist.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.patching.metrics import loss
        >>> model = ns.HookedGPTNeo.from_config(
        ...     ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=10))
        >>> ablate(model, [[1, 2, 3]], loss(), units="each", site="post").mean.shape
        (2, 32)
    """
    prompts = read_prompts(model, texts, prepend_bos=prepend_bos)
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
    return _named(
        run_grid(
            model,
            prompts,
            metric,
            grid,
            direction="noise",
            source=_source(model, prompts, source, reference, seed, by_position=by_position),
            metric_positions=metric_positions,
            batch_tokens=batch_tokens,
            progress=with_result(progress, _named),
            seed=seed,
        )
    )


def _named(result: PatchingResult) -> PatchingResult:
    return replace(result, direction="ablate")


def _source(
    model: HookedGPTNeo,
    prompts: Prompts,
    source: Any,
    reference: Any,
    seed: int,
    *,
    by_position: bool,
) -> Source:
    named = source if isinstance(source, str) else ""
    if source is None:
        raise PatchingError(
            "source=None: an ablation has no other prompt to take values from; give 'zero', "
            "'mean', 'resample', 'noise', a tensor, a cache or texts"
        )
    if named == "mean":
        label = "mean by position" if by_position else "mean"
        return Mean(reference, by_position, label=label)
    if by_position:
        raise PatchingError(f"by_position=True is for source='mean', not for source={source!r}")
    if reference is None:
        return read_source(source, seed)
    if named != "resample":
        raise PatchingError(
            f"reference= is for source='mean' and 'resample', not for source={source!r}"
        )
    return OtherRun(_drawn(prompts, read_prompts(model, reference), seed), label="resample")


def _drawn(prompts: Prompts, reference: Prompts, seed: int) -> list[list[int]]:
    """Ids of one reference text for each prompt, as long as it."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for k, length in enumerate(prompts.lengths):
        fitting = [i for i, n in enumerate(reference.lengths) if n == length]
        if not fitting:
            raise PatchingError(
                f"reference: prompt {k} has {length} tokens, the reference texts have "
                f"{sorted(set(reference.lengths))}; resampling needs one of the same length"
            )
        chosen = fitting[int(torch.randint(len(fitting), (1,), generator=generator))]
        out.append(reference.clean[chosen, reference.mask[chosen]].tolist())
    return out
