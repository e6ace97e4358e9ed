"""Edits in steps, with a KV cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.edits import ablate, scale
from tests.neoscope.edit_oracle import CONFIG, IDS, MASKS, edited, same


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


# ---- in steps, with a KV cache ----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 6), unique=True, max_size=4).map(sorted),
    positions=st.integers(0, 6) | st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True),
    site=st.sampled_from(["resid_mid", "z", "k", "pattern", "post", "pos_embed"]),
    side=st.sampled_from(["none", "left"]),
)
def test_absolute_positions_are_edited_when_they_come(
    model: ns.HookedGPTNeo, cuts: list[int], positions: Any, site: str, side: str
) -> None:
    """Rows of unequal length reach a position in different steps; what was passed is left."""
    listed = [positions] if isinstance(positions, int) else positions
    mask = torch.ones_like(IDS) if MASKS[side] is None else torch.tensor(MASKS[side])
    layer = None if site == "pos_embed" else 1
    edit = scale(site, layer, 0.5, positions=positions)

    def hook(x: Tensor, hook: Any) -> Tensor:
        x = x.clone()
        for row, real in enumerate(mask):
            columns = real.nonzero().flatten().tolist()
            for column in (columns[i] for i in listed if i < len(columns)):
                if site == "pattern":
                    x[row, :, column] *= 0.5
                else:
                    x[row, column] *= 0.5
        return x

    name = (
        "hook_pos_embed"
        if site == "pos_embed"
        else model.run_with_cache(IDS, sites=site, layers=1)[1].name((site, 1))
    )
    whole = model.run_with_hooks(IDS, mask, fwd_hooks=[(name, hook)])
    past, out, start = ns.KVCache(), [], 0
    for stop in [*cuts, 7]:
        step = slice(start, stop)
        if not mask[:, :stop].any(1).all():
            continue  # a row of nothing but padding is refused
        out.append(model.run_with_edits(IDS[:, step], [edit], mask[:, step], past=past))
        start = stop
    found = torch.cat(out, 1)
    torch.testing.assert_close(found[mask > 0], whole[mask > 0], rtol=0, atol=1e-5)


def test_keys_are_edited_when_they_come(model: ns.HookedGPTNeo) -> None:
    past, edit = ns.KVCache(), ablate("pattern", 0, keys=4)
    first = model.run_with_edits(IDS[:, :3], [edit], past=past)
    assert same(first, model.run_with_edits(IDS[:, :3], [scale("pattern", 0)]))
    then = model.run_with_edits(IDS[:, 3:], [edit], past=past)
    whole = edited(model, "none", edit)
    torch.testing.assert_close(then, whole[:, 3:], rtol=0, atol=1e-5)


def test_the_last_position_is_the_last_so_far(model: ns.HookedGPTNeo) -> None:
    past, last = ns.KVCache(), ablate("resid_mid", 1, positions=-1)
    steps = [model.run_with_edits(IDS[:, i : i + 1], [last], past=past) for i in range(7)]
    whole = edited(model, "none", ablate("resid_mid", 1))
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=0, atol=1e-5)
