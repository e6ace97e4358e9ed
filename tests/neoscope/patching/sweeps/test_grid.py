"""Grids: which cells and axes a sweep's arguments mean, and what they cannot mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neoscope.errors import NeoscopeError, PatchingError, SiteError
from neoscope.patching.engine.cells import SITES, Cell, check_cells, read_site
from neoscope.patching.sweeps.grid import Grid, make_grid
from tests.neoscope.patching.cases import every_column, model_of, prompts_of

MODEL = model_of()
PROMPTS = prompts_of(MODEL)  # 5, 8 and 6 tokens
ONE = prompts_of(MODEL, ([[3, 5, 7, 9]], [[3, 6, 7, 9]]))


def grid(site: str, prompts: Any = PROMPTS, **options: Any) -> Grid:
    return make_grid(MODEL.config, prompts, site, **options)


def names(found: Grid) -> list[str]:
    return [axis.name for axis in found.axes]


@pytest.mark.parametrize("site", SITES)
def test_by_default_every_layer_head_and_position(site: str) -> None:
    found = grid(site)
    heads = site in ("z", "result", "q", "k", "v", "attn_scores", "pattern")
    expected = {"layer": 3, "head": 2, "pos": 8}
    if site == "embed":
        del expected["layer"]
    if not heads:
        del expected["head"]
    assert names(found) == list(expected)
    assert found.shape == tuple(expected.values())
    assert len(found.cells) == np.prod(found.shape)
    assert all(cell.site == site for cell in found.cells)
    check_cells(found.cells, MODEL.config)


def test_the_last_axis_runs_fastest() -> None:
    found = grid("pattern", ONE, keys="each", layers=[2, 0], heads=[1])
    assert names(found) == ["layer", "head", "pos", "key"]
    assert found.shape == (2, 1, 4, 4)
    cell = found.cells[np.ravel_multi_index((1, 0, 2, 3), found.shape)]
    assert (cell.layer, cell.head) == (0, 1)
    assert cell.columns is not None
    assert cell.keys is not None
    assert (cell.columns.tolist(), cell.keys.tolist()) == ([[2]], [[3]])


def test_columns_of_padded_texts() -> None:
    found = grid("resid_pre", layers=0)
    # By default cells are columns, where texts are aligned at their end.
    for column, cell in enumerate(found.cells):
        assert cell.columns is not None
        pads = [3, 0, 2]
        assert cell.columns.flatten().tolist() == [column if column >= p else -1 for p in pads]
    # Positions that are asked for count from each text's begin.
    first = grid("resid_pre", layers=0, positions=[0, 1]).cells
    for cell, expected in zip(first, every_column(PROMPTS), strict=False):
        assert cell.columns is not None
        assert torch.equal(cell.columns, expected)
    assert [a.agree for a in found.axes] == [None, PROMPTS.agree]


@pytest.mark.parametrize(
    ("positions", "shape", "first"),
    [
        (-1, (1,), [[7], [7], [7]]),
        ([0, -1], (2,), [[3], [0], [2]]),
        ([slice(0, 2), -1], (2,), [[3, 4], [0, 1], [2, 3]]),
        (slice(1, 3), (2,), [[4], [1], [3]]),
        (torch.tensor([[0, 1], [2, 3], [4, 5]]), (2,), [[3], [2], [6]]),
        ({"both": [1, -1], "first": 0}, (2,), [[4, 7], [1, 7], [3, 7]]),
        ({"subject": [[1, 2], [], [3]]}, (1,), [[4, 5], [-1, -1], [5, -1]]),
    ],
)
def test_positions(positions: Any, shape: Any, first: Any) -> None:
    found = grid("attn_out", layers=1, positions=positions)
    assert found.shape[1:] == shape
    assert found.axes[1].name == ("tokens" if isinstance(positions, dict) else "pos")
    assert found.cells[0].columns is not None
    assert found.cells[0].columns.tolist() == first


def test_all_positions_heads_and_keys_at_once_are_no_axes() -> None:
    found = grid("pattern", layers=-1, heads="all", positions="all", keys="all")
    assert names(found) == ["layer"]
    (cell,) = found.cells
    assert (cell.layer, cell.head, cell.columns, cell.keys) == (2, None, None, None)


def test_units() -> None:
    assert grid("post", positions="all", units="each").shape == (3, 64)
    assert names(grid("post", positions="all", units=[1, -1])) == ["layer", "neuron"]
    found = grid("z", heads=0, layers=0, positions="all", units=-1)
    assert [cell.unit for cell in found.cells] == [7]
    assert grid("resid_pre", layers=0, positions="all", units="each").shape == (1, 16)
    assert grid("result", layers=0, positions="all", units="each").shape == (1, 2, 16)


def test_layers_from_the_end_and_sites_by_their_long_names() -> None:
    assert [cell.layer for cell in grid("mlp_out", layers=[-1, 0], positions="all").cells] == [2, 0]
    assert read_site("hook_resid_pre") == "resid_pre"
    assert read_site("attn") == "pattern"


@pytest.mark.parametrize(
    ("site", "options", "message"),
    [
        ("resid_prr", {}, r"'resid_prr' cannot be patched; did you mean 'resid_pre'\?"),
        ("ln1.scale", {}, "those that can: embed, resid_pre"),
        ("z", {"layers": 3}, r"layer 3.*0 (to|\.\.) 2"),
        ("z", {"layers": []}, r"layers=\[\] selects nothing"),
        ("z", {"layers": [0, -3]}, "twice"),
        ("z", {"layers": "first"}, "layers?"),
        ("z", {"layers": 1.5}, "layers?"),
        ("embed", {"layers": 0}, "stands before all layers"),
        ("z", {"heads": 2}, "2 does not exist; the model has heads 0 to 1"),
        ("z", {"heads": [0, -3]}, "-3 does not exist"),
        ("z", {"heads": "every"}, "expected 'all'"),
        ("z", {"heads": [1, 1]}, "twice"),
        ("z", {"heads": True}, "True does not exist"),
        ("resid_pre", {"heads": 0}, "'resid_pre' is not by head; those that are: .*z"),
        ("resid_pre", {"positions": 5}, "(?s)5.*pair 0.*5 tokens"),
        ("resid_pre", {"positions": [-6]}, "pair 0"),
        ("resid_pre", {"positions": "last"}, "positions='last'; expected 'all'"),
        ("resid_pre", {"positions": []}, "selects nothing"),
        ("resid_pre", {"positions": {}}, "selects nothing"),
        ("resid_pre", {"positions": slice(2, 2)}, "selects nothing"),
        ("resid_pre", {"positions": [0, slice(2, 2)]}, "selects nothing"),
        ("resid_pre", {"positions": {"x": []}}, "selects nothing"),
        ("resid_pre", {"positions": {"x": [[1], [1]]}}, "for 2 pairs; there are 3"),
        ("resid_pre", {"positions": {"x": [[], [], []]}}, "no token in any pair"),
        ("resid_pre", {"positions": [[1], [5], [9]]}, "5 is out of range in pair 0"),
        ("resid_pre", {"positions": [0, 0]}, "twice"),
        ("resid_pre", {"positions": 1.5}, r"1\.5"),
        ("resid_pre", {"keys": "each"}, "has no source positions; pattern has"),
        ("pattern", {"keys": 7}, "keys"),
        ("pattern", {"units": 0}, "use keys"),
        ("post", {"units": 64}, "64 does not exist; 'post' has units 0 to 63"),
        ("q", {"units": [8]}, "units 0 to 7"),
        ("post", {"units": "all"}, "units"),
        ("post", {"units": []}, "selects nothing"),
    ],
)
def test_what_does_not_exist(site: Any, options: Any, message: str) -> None:
    with pytest.raises(NeoscopeError, match=message) as caught:
        grid(site, **options)
    assert isinstance(caught.value, SiteError | PatchingError)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Cell("nowhere", 0), "cannot be patched"),
        (Cell("z", 5), "layer 5"),
        (Cell("z"), "every site but embed is in a layer"),
        (Cell("embed", 0), "every site but embed is in a layer"),
        (Cell("z", 0, 2), "head=2: the model has heads 0 to 1"),
        (Cell("mlp_out", 0, 1), "'mlp_out' is not by head"),
        (Cell("z", (0, 1)), "one layer at a time"),
        (Cell("post", 0, unit=64), "unit=64: the last axis of 'post' has 64"),
        (Cell("z", 0, unit=8), "has 8"),
        (Cell("pattern", 0, unit=0), "positions: keys"),
        (Cell("z", 0, keys=torch.zeros(3, 1).long()), "keys are for"),
    ],
)
def test_cells_that_the_model_does_not_have(cell: Cell, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        check_cells([Cell("z", 0), cell], MODEL.config)


def test_each_says_what_none_says() -> None:
    model = model_of()
    prompts = prompts_of(model)
    named = make_grid(model.config, prompts, "z", layers="each", heads="each", positions="each")
    assert named.axes == make_grid(model.config, prompts, "z").axes
    with pytest.raises(SiteError, match="layers='all'; expected numbers"):
        make_grid(model.config, prompts, "z", layers="all")
