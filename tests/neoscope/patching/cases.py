"""What tests of the engine share: prompts, models, cells, and the comparison with plain runs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import neoscope as ns
from neoscope.patching.engine.cells import BY_HEAD, SITES, SQUARE, WINDOWED, Cell
from neoscope.patching.engine.exact import Exact, exact_effects
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from tests.neoscope.patching import plain

KINDS: dict[str, dict[str, Any]] = {
    "mixed": {"window_size": 3},
    "global": {"attention_layers": ("global",) * 3},
    "local": {"attention_layers": ("local",) * 3, "window_size": 2},
    "last local": {"attention_layers": ("global", "global", "local"), "window_size": 4},
}
"""Windows are shorter than every prompt."""
ONE = ([[3, 5, 7, 9, 11, 13, 2]], [[3, 5, 8, 9, 12, 13, 2]])
SEVERAL = (
    [[4, 5, 6, 7, 8], [9, 8, 7, 6, 5, 4, 3, 2], [11, 12, 13, 14, 15, 16]],
    [[4, 5, 1, 7, 8], [9, 2, 7, 6, 5, 4, 1, 2], [11, 12, 13, 14, 15, 20]],
)
"""Unequal lengths; they differ early, twice, and only at the end."""


@functools.cache
def model_of(kind: str = "mixed") -> ns.HookedGPTNeo:
    return plain.random_model(**KINDS[kind])


def prompts_of(model: ns.HookedGPTNeo, texts: Any = SEVERAL) -> Prompts:
    return read_prompts(model, *texts)


def every_column(prompts: Prompts) -> list[Tensor]:
    """Each position by itself, counted from each text's begin; -1 where a text has ended."""
    out = []
    for position in range(prompts.n_columns):
        rows = [prompts.n_columns - n + position if position < n else -1 for n in prompts.lengths]
        out.append(torch.tensor(rows)[:, None])
    return out


def span(prompts: Prompts) -> Tensor:
    """The second token and the last of each text, and a third in the first text alone."""
    end = prompts.n_columns - 1
    rows = [[min(end - n + 2, end), end, -1] for n in prompts.lengths]
    rows[0][2] = max(end - 1, end - prompts.lengths[0] + 1)
    return torch.tensor(rows)


def cells_of(site: str, model: ns.HookedGPTNeo, prompts: Prompts) -> list[Cell]:
    """Every layer, head and position of a site, and all, several and no position of it."""
    c = model.config
    layers = [None] if site == "embed" else list(range(c.n_layers))
    heads = [*range(c.n_heads), None] if site in BY_HEAD else [None]
    columns = [None, span(prompts), torch.full((len(prompts), 1), -1), *every_column(prompts)]
    cells = [Cell(site, *at) for at in itertools.product(layers, heads, columns)]
    if site in SQUARE:
        some = columns[::2]
        cells += [
            Cell(site, layer, head, query, None, key)
            for layer, head, query, key in itertools.product(layers, [0, None], some, some)
        ]
    else:
        units = [0, 3]
        some = [None, columns[1], columns[-2]]
        cells += [Cell(site, *at) for at in itertools.product(layers, heads, some, units)]
    return cells


def mixed_cells(model: ns.HookedGPTNeo, prompts: Prompts, step: int = 5) -> list[Cell]:
    """Some cells of every site and some windows, in no order."""
    cells = [cell for site in SITES for cell in cells_of(site, model, prompts)[::step]]
    layers = tuple(range(model.config.n_layers))
    cells += [Cell(site, layers, None, span(prompts)) for site in sorted(WINDOWED)]
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0)).tolist()
    return [cells[i] for i in order]


def projected(logits: Tensor) -> Tensor:
    """A metric that sees all of the vocabulary, and the metric positions in their order."""
    n = logits.shape[-2] * logits.shape[-1]
    weight = torch.linspace(-1, 1, n, dtype=logits.dtype).mul(7).sin()
    return logits.flatten(-2) @ weight


def expected_of(logits: Tensor, columns: Tensor) -> Tensor:
    """`projected` of plain logits [cells, pairs, pos, vocab] at some columns, [pairs, cells]."""
    index = columns[None, :, :, None].expand(len(logits), -1, -1, logits.shape[-1])
    return torch.stack([projected(rows) for rows in logits.gather(2, index)], 1)


def check_exact(
    model: ns.HookedGPTNeo,
    prompts: Prompts,
    cells: Sequence[Cell],
    *,
    donor: Any = None,
    direction: str = "denoise",
    columns: Tensor | None = None,
    tolerance: float = 1e-5,
    most: int = 60,
    **options: Any,
) -> Exact:
    """Measure all cells, compare some of them with plain runs, and return what was found.

    Args:
        donor: See `plain.patched`.
        columns: Where the metric reads; default the last.
        tolerance: Largest difference, relative to the largest value.
        most: Cells that are compared, drawn with a fixed seed.
        options: Of `exact_effects`.
    """
    if columns is None:
        columns = torch.full((len(prompts), 1), prompts.n_columns - 1)
    found = exact_effects(model, prompts, projected, cells, direction=direction, **options)
    assert found.patched.shape == (len(prompts), len(cells))
    assert np.isfinite(found.patched).all()
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(most))
    drawn = order[:most].tolist()
    some = [cells[i] for i in drawn]
    logits, _ = plain.patched(model, prompts, some, donor, direction, everywhere=True)
    expected = expected_of(logits.float(), columns)
    gap = np.abs(found.patched[:, drawn] - expected.double().numpy())
    worst = np.unravel_index(gap.argmax(), gap.shape)
    scale = expected.abs().max().item()
    assert gap.max() <= tolerance * scale, (gap.max() / scale, worst, some[worst[1]])
    still = ~found.ran
    assert not found.effects[:, still].any()
    return found
