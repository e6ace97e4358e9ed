"""The plain way: one whole run of the model for each cell, through `run_with_edits`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edits import transform
from neoscope.patching.engine.cells import Cell
from neoscope.patching.prompts.pairs import Prompts
from neoscope.tokens import Tokens

Donor = Callable[[str, int | None], Tensor]
"""(site, layer) -> what replaces the base run's tensor there, left-padded."""


def random_model(**options: Any) -> ns.HookedGPTNeo:
    """A small model with weights so large that every patch is felt, and no bias of zero."""
    config: dict[str, Any] = {
        "n_layers": 3,
        "d_model": 16,
        "n_heads": 2,
        "n_ctx": 32,
        "d_vocab": 40,
        "init_range": 0.4,
    }
    model = ns.HookedGPTNeo.from_config(ns.NeoConfig(**(config | options)), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def tokens_of(prompts: Prompts, side: str) -> Tokens:
    return Tokens(ids=prompts.ids(side), mask=prompts.mask, padding_side="left")


@torch.no_grad()
def donor_of(model: ns.HookedGPTNeo, tokens: Any) -> Donor:
    """What stands at every site in the run of some tokens."""
    was = model.cfg.use_attn_result
    model.set_use_attn_result(True)
    _, cache = model.run_with_cache(tokens)
    model.set_use_attn_result(was)
    return lambda site, layer: cache["hook_embed" if layer is None else (site, layer)]


@torch.no_grad()
def patched(
    model: ns.HookedGPTNeo,
    prompts: Prompts,
    cells: Sequence[Cell],
    donor: Donor | None = None,
    direction: str = "denoise",
    *,
    everywhere: bool = False,
) -> tuple[Tensor, Tensor]:
    """Last logits [cells, pairs, vocab] of every patched run, and [pairs, vocab] of the base run.

    Args:
        donor: What is put in; default the other prompt's values.
        everywhere: Logits at all columns, [..., pos, vocab].
    """
    base = prompts.base_name(direction)
    if donor is None:
        donor = donor_of(model, tokens_of(prompts, "clean" if base == "corrupted" else "corrupted"))
    tokens = tokens_of(prompts, base)
    at: Any = slice(None) if everywhere else -1
    model.set_use_attn_result(any(cell.site == "result" for cell in cells))
    logits = model(tokens)[:, at]
    out = [model.run_with_edits(tokens, _edits(cell, donor))[:, at] for cell in cells]
    model.set_use_attn_result(False)
    return torch.stack(out), logits


def _edits(cell: Cell, donor: Donor) -> list[Any]:
    layers = [None] if cell.layer is None else cell.layers
    return [
        transform(
            cell.site if layer is not None else "embed",
            layer,
            lambda here, layer=layer: _written(cell, here, donor(cell.site, layer)),  # type: ignore[misc]
        )
        for layer in layers
    ]


def _written(cell: Cell, here: Tensor, there: Tensor) -> Tensor:
    """Write by hand, so that the reference shares no selection with what it judges."""
    new = here.clone()
    by_head = here.ndim == 4
    square = cell.site in ("pattern", "attn_scores")
    for pair in range(len(here)):
        n = here.shape[2] if square else here.shape[1]
        columns = range(n) if cell.columns is None else cell.columns[pair].tolist()
        for column in columns:
            if column < 0:
                continue
            heads = range(here.shape[1 if square else 2]) if by_head else [None]
            for head in heads:
                if cell.head is not None and head != cell.head:
                    continue
                at: tuple[Any, ...]
                if square:
                    at = (pair, head, column)
                elif by_head:
                    at = (pair, column, head)
                else:
                    at = (pair, column)
                if cell.keys is not None:
                    for key in cell.keys[pair].tolist():
                        if key >= 0:
                            new[(*at, key)] = there[(*at, key)]
                elif cell.unit is not None:
                    new[(*at, cell.unit)] = there[(*at, cell.unit)]
                else:
                    new[at] = there[at]
    return new


def differences(found: np.ndarray, expected: Tensor) -> float:
    """Largest difference relative to the largest value."""
    expected_array = expected.double().numpy()
    return float(np.abs(found - expected_array).max() / np.abs(expected_array).max())
