"""Causal tracing: noise on a subject's embeddings, and single states of the clean run restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from neoscope.errors import PatchingError, SiteError
from neoscope.indices import whole
from neoscope.patching.engine.base import refuse_edited
from neoscope.patching.engine.cells import WINDOWED
from neoscope.patching.engine.progress import Progress
from neoscope.patching.metrics import metric_columns, probability
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from neoscope.patching.results.axes import Axis
from neoscope.patching.sources.values import run_kept
from neoscope.patching.sweeps.grid import Grid, make_grid
from neoscope.patching.tracing.draws import Tracing
from neoscope.patching.tracing.noising import finite, read_sigma
from neoscope.patching.tracing.result import TraceResult
from neoscope.patching.tracing.subjects import subject_mask

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

_BATCH_TOKENS = 2048


def trace(
    model: HookedGPTNeo,
    texts: Any,
    subject: Any,
    answer: Any = None,
    *,
    site: str = "resid_post",
    window: Any = None,
    noise: Any = 3.0,
    draws: Any = 10,
    seed: int = 0,
    centred: bool = True,
    sigma: Any = None,
    metric: Any = None,
    layers: Any = None,
    heads: Any = None,
    positions: Any = "each",
    metric_positions: Any = None,
    batch_tokens: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    prepend_bos: bool = False,
) -> TraceResult:
    """Noise a subject's embeddings, restore states of the clean run, and see what brings it back.

    Causal tracing of Meng et al. 2022 (ROME, arXiv 2202.05262). The indirect effect of a state is
    the metric in the noised run with that state restored, minus the metric in the noised run; the
    same noise is used for all states. Effects of windows grow with the window: do not compare them
    with those of single states.

    Args:
        model: Without hooks or edits in force.
        texts: A text, several, or token ids.
        subject: A part of every text, one for each text, or positions; see
            :func:`neoscope.patching.tracing.subjects.subject_mask`.
        answer: What the probability is measured of: a word, an id, or one for each prompt. None:
            the clean run's likeliest next token, as in ROME's code.
        site: What is restored: ``"resid_post"``, ``"mlp_out"``, ``"attn_out"`` or any other of
            ``SITES``.
        window: None for one state; ``n`` for a window of n layers about each, from layer - n // 2
            on as in ROME's code, cut off at the ends; at most all layers; for sites on the
            stream or added to it.
        noise: Standard deviation of the noise, in ``sigma``; more than zero.
        draws: How many times noise is drawn; effects are averaged over draws, pair by pair.
        seed: Of the noise, which depends on it, the draw and the prompt's tokens alone.
        centred: Measure ``sigma`` about the subjects' mean embedding. GPT-Neo's embeddings share a
            large offset, which ROME's plain deviation of all entries (False) counts as spread.
        sigma: None to measure it on the subjects' tokens; ``"vocabulary"`` for that of all
            embeddings; or a number.
        metric: Instead of the answer's probability; ``answer`` is then not needed.
        layers: One or several; default each.
        heads: Of sites by head: one or several; ``"all"`` at once; default each.
        positions: As for ``sweep``: ``"each"``, ``"all"`` at once, one, several, or a mapping of
            names. The default is each in ``sweep``, ``every``, ``attribution`` and ``trace``, all
            in ``ablate`` and ``path_patch``.
        metric_positions: Where the metric reads: None for the last token, ``"all"``, or positions.
        batch_tokens: Tokens of patched rows held at once; default 4,096 (32,768 on a GPU).
        progress: True for a bar after two seconds, False for none, or a function.
        prepend_bos: For texts: put the beginning-of-text token first; GPT-Neo was trained without.

    Returns:
        Indirect effects averaged over draws, with statistics over prompts. Subject tokens are
        marked with ``*``. A keyboard interrupt returns the draws that are done, at least one: of
        the first draw it returns the cells that are done, and before there are any it is raised.

    Raises:
        PatchingError: A subject is not in its text, ``draws`` is less than one, nothing would be
            noised, the window is wider than the model is deep, or the metric does not fit.
        SiteError: A site, layer or position does not exist, or the site has no windows.

    Example:
        >>> import neoscope as ns
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("facts", 4)
        >>> trace(model, pairs.clean, slice(0, 2), pairs.answer, draws=2).mean.shape
        (4, 4)
    """
    refuse_edited(model)
    if (number := whole(draws)) is None or number < 1:
        raise PatchingError(f"draws={draws!r}; expected a whole number of draws, one at least")
    if answer is not None and metric is not None:
        raise PatchingError(
            "give answer= (its probability is measured) or metric=, not both; a metric names its "
            "own answers, such as patching.log_prob(answer)"
        )
    read = read_prompts(model, texts, prepend_bos=prepend_bos)
    mask = subject_mask(read, subject)
    scale = finite(noise, "noise")
    spread = read_sigma(model, read.clean[mask], sigma, centred=centred)
    if not scale * spread:
        raise PatchingError(
            f"noise={scale:g} times sigma={spread:g} is none: nothing would be noised, and every "
            "effect would be 0; give more, such as noise=3.0"
        )
    grid = _grid(model, read, mask, site, window, layers, heads, positions)
    if metric is None:
        metric = probability(_said(model, read, metric_positions) if answer is None else answer)
    settings = {
        "sigma": spread, "noise": scale, "centred": centred, "window": whole(window),
        "subject": tuple(
            tuple(where[real].nonzero().flatten().tolist())
            for where, real in zip(mask, read.mask, strict=True)
        ),
    }  # fmt: skip
    return Tracing(model, read, mask, grid, seed, settings).run(
        number,
        metric,
        progress,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
    )


def _grid(
    model: HookedGPTNeo,
    prompts: Prompts,
    subject: Bool[Tensor, "pairs pos"],
    site: str,
    window: Any,
    layers: Any,
    heads: Any,
    positions: Any,
) -> Grid:
    """Cells with their windows; positions with noise are marked as those that differ."""
    marked = replace(
        prompts,
        corrupted=torch.where(subject, -1, prompts.clean),
        corrupted_strings=tuple(("*",) * n for n in prompts.lengths),
    )
    grid = make_grid(model.config, marked, site, layers=layers, heads=heads, positions=positions)
    axes = tuple(_starred(axis) for axis in grid.axes)
    if window is None:
        return Grid(grid.cells, axes)
    n, size = model.config.n_layers, whole(window)
    if size is None or size < 1:
        raise PatchingError(f"window={window!r}; expected None or a number of layers, 1 or more")
    if size > n:
        raise PatchingError(f"window={window!r}: the model has {n} layers; give 1 to {n}, or None")
    if grid.cells[0].site not in WINDOWED:
        raise SiteError(
            f"window={window}: site {grid.cells[0].site!r} is restored in one layer at a time; "
            f"windows are for {', '.join(sorted(WINDOWED))}"
        )
    cells = tuple(
        replace(cell, layer=tuple(range(max(0, at - size // 2), min(n, at - (-size // 2)))))
        for cell in grid.cells
        for at in cell.layers
    )
    return Grid(cells, axes)


def _starred(axis: Axis) -> Axis:
    labels = tuple(
        f"{label.removesuffix('|*')}*" if isinstance(label, str) and label.endswith("|*") else label
        for label in axis.labels
    )
    return Axis(axis.name, labels, axis.agree)


@torch.no_grad()
def _said(model: HookedGPTNeo, prompts: Prompts, metric_positions: Any) -> list[int]:
    """What the model itself would say where the metric reads."""
    columns = metric_columns(prompts, metric_positions)[:, -1]
    last = ("resid_post", model.config.n_layers - 1)
    step = max(1, _BATCH_TOKENS // prompts.n_columns)
    out: list[int] = []
    for first in range(0, len(prompts), step):
        some = slice(first, first + step)
        stream = run_kept(model, prompts.clean[some], prompts.mask[some], [last])[last]
        at: Int[Tensor, "n"] = columns[some].to(stream.device)
        hidden = stream[torch.arange(len(stream), device=stream.device), at][:, None]
        out += model.unembed(model.ln_final(hidden))[:, 0].argmax(-1).tolist()
    return out
