"""Every site, direction and kind of attention: the engine equals one run for each cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoscope.errors import SiteError
from neoscope.patching.engine.cells import SITES, WINDOWED, Cell
from neoscope.patching.engine.exact import exact_effects
from tests.neoscope.patching.cases import (
    KINDS,
    ONE,
    SEVERAL,
    cells_of,
    check_exact,
    every_column,
    mixed_cells,
    model_of,
    projected,
    prompts_of,
    span,
)
from tests.neoscope.patching.plain import random_model


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("site", SITES)
def test_every_cell_equals_a_run_of_its_own(site: str, direction: str) -> None:
    model = model_of()
    prompts = prompts_of(model)
    found = check_exact(model, prompts, cells_of(site, model, prompts), direction=direction)
    assert np.abs(found.effects).max() > 0.1


@pytest.mark.parametrize("texts", [ONE, SEVERAL])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mixed"])
def test_every_kind_of_attention(kind: str, texts: tuple[list[list[int]], list[list[int]]]) -> None:
    model = model_of(kind)
    prompts = prompts_of(model, texts)
    check_exact(model, prompts, mixed_cells(model, prompts), most=150)


@pytest.mark.parametrize("site", sorted(WINDOWED))
def test_windows_of_layers(site: str) -> None:
    model = model_of()
    prompts = prompts_of(model)
    windows = [(0, 1), (1, 2), (0, 2), (0, 1, 2), (1,)]
    where = [None, span(prompts), *every_column(prompts)]
    cells = [Cell(site, window, None, columns) for window in windows for columns in where]
    found = check_exact(model, prompts, cells)
    assert np.abs(found.effects).max() > 0.1


def test_one_unit_in_a_window_of_layers_is_refused() -> None:
    # The other units would have to stay the row's own, which the lower layers have moved.
    model = model_of()
    prompts = prompts_of(model)
    with pytest.raises(SiteError, match=r"unit=3.*one layer at a time, not in \(0, 1\)"):
        exact_effects(model, prompts, projected, [Cell("resid_post", (0, 1), unit=3)])
    check_exact(model, prompts, [Cell("resid_post", (1,), unit=3)])


def test_cells_of_all_sites_walk_together() -> None:
    model = model_of()
    prompts = prompts_of(model)
    cells = mixed_cells(model, prompts)
    for direction in ("denoise", "noise"):
        whole = check_exact(model, prompts, cells, direction=direction, most=150)
    # Nothing depends on the company a cell is in, but for rounding.
    alone = exact_effects(model, prompts, projected, cells[5:6], direction="noise")
    np.testing.assert_allclose(alone.patched[:, 0], whole.patched[:, 5], rtol=1e-4, atol=1e-4)


def test_one_token_prompts() -> None:
    model = model_of()
    prompts = prompts_of(model, ([[3], [4, 5]], [[7], [4, 6]]))
    check_exact(model, prompts, mixed_cells(model, prompts, 1), most=100)


def test_one_layer_and_one_head() -> None:
    model = random_model(n_layers=1, n_heads=1, attention_layers=("local",), window_size=2)
    prompts = prompts_of(model)
    check_exact(model, prompts, mixed_cells(model, prompts, 1), most=100)


def test_half_precision_is_as_near_as_its_own_plain_run() -> None:
    model = random_model(**KINDS["mixed"]).to(torch.bfloat16)
    prompts = prompts_of(model)
    found = check_exact(model, prompts, mixed_cells(model, prompts), most=100, tolerance=0.05)
    assert np.abs(found.effects).max() > 1


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    model, gpu = model_of(), random_model(**KINDS["mixed"]).to("cuda")
    prompts = prompts_of(model)
    cells = mixed_cells(model, prompts, 1)
    here, there = (exact_effects(m, prompts, _last_difference, cells) for m in (model, gpu))
    np.testing.assert_allclose(there.patched, here.patched, rtol=1e-3, atol=1e-3)
    tiny = exact_effects(gpu, prompts, _last_difference, cells, batch_tokens=20)
    np.testing.assert_allclose(tiny.patched, there.patched, rtol=1e-3, atol=1e-3)


def _last_difference(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, -1, 5] - logits[:, -1, 9]
