"""What the tests of top activations share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.model import HookedGPTNeo

TEXTS = [
    sentence.text
    for task in ("ioi", "agreement", "facts")
    for sentence in ns.organism.sentences(task, 12)
]


def find(model: HookedGPTNeo, texts: Any = TEXTS, **options: Any) -> Any:
    return analysis.top_activations(model, texts, **{"progress": False, **options})


def spelled(model: HookedGPTNeo, ids: torch.Tensor) -> list[str]:
    assert model.tokenizer is not None
    return [str(model.tokenizer.decode(row)) for row in ids.tolist()]


def everything(model: HookedGPTNeo, site: str, layer: int) -> tuple[Any, list[tuple[int, int]]]:
    """Activations at every token, one text at a time, and where each stands."""
    rows, places = [], []
    for i, text in enumerate(TEXTS):
        _, cache = model.run_with_cache(text, sites=site, layers=layer, return_type=None)
        x = cache[site, layer][0].flatten(1)
        rows.append(x)
        places += [(i, position) for position in range(len(x))]
    return torch.cat(rows).float().numpy(), places


def same_places(found: Any, values: Any, places: Any, k: int, sign: int) -> None:
    end = "top" if sign > 0 else "bottom"
    got = getattr(found, f"{end}_value")
    np.testing.assert_allclose(sign * got.T, np.sort(sign * values, 0)[::-1][:k], atol=1e-5)
    table = found.to_dataframe()
    table = table[table["end"] == end]
    row_of = {place: row for row, place in enumerate(places)}
    rows = [row_of[place] for place in zip(table.text, table.position, strict=True)]
    assert table.unit.tolist() == [unit for unit in found.units for _ in range(k)]
    np.testing.assert_allclose(values[rows, table.unit.astype(int)], table.value, atol=1e-5)
