"""The size of a cache, known beforehand, is the size that it then has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope.site_kinds import KINDS

CONFIG = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=40, d_vocab=50, window_size=5, init_range=0.2
)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SETS = (
    frozenset[str](),
    frozenset({"use_attn_result"}),
    frozenset({"use_hook_mlp_in", "use_attn_in"}),
    frozenset({"use_split_qkv_input", "use_attn_result", "use_hook_mlp_in"}),
)


@pytest.fixture(scope="module")
def models() -> dict[torch.dtype, ns.HookedGPTNeo]:
    return {dtype: ns.HookedGPTNeo.from_config(CONFIG, dtype=dtype) for dtype in DTYPES}


def requests(switches: frozenset[str]) -> st.SearchStrategy[Any]:
    split = bool(switches & {"use_split_qkv_input", "use_attn_in"})
    names = [
        kind.short
        for kind in KINDS
        if (kind.switch is None or kind.switch in switches)
        and not (split and kind.short.startswith("ln1."))
    ]
    # A few at a time: all of q, k and v share a storage, one of them does not.
    return st.none() | st.lists(st.sampled_from(names), min_size=1, max_size=6, unique=True)


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    batch=st.integers(1, 3),
    pos=st.sampled_from([1, 2, 7, 40]),
    layers=st.none() | st.integers(-3, 2) | st.lists(st.integers(0, 2), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    switches=st.sampled_from(SETS),
    grad=st.booleans(),
)
def test_the_estimate_is_exact(
    models: dict[torch.dtype, ns.HookedGPTNeo],
    data: st.DataObject,
    batch: int,
    pos: int,
    layers: Any,
    dtype: torch.dtype,
    switches: frozenset[str],
    grad: bool,
) -> None:
    model, sites = models[dtype], data.draw(requests(switches))
    for name in switches:
        getattr(model, f"set_{name}")(True)
    try:
        with torch.set_grad_enabled(grad):
            _, cache = model.run_with_cache(
                torch.zeros(batch, pos, dtype=torch.long), sites=sites, layers=layers
            )
    finally:
        for name in switches:
            getattr(model, f"set_{name}")(False)
    expected = ns.estimate_nbytes(CONFIG, batch, pos, sites, layers, dtype=dtype, switches=switches)
    assert cache.nbytes == expected


def test_a_cache_holds_less_than_half_of_what_its_names_add_up_to() -> None:
    config = ns.NeoConfig()
    total = ns.estimate_nbytes(config, 8, 256)
    assert total < 12 * (8 * 256 * (13 * 768 + 2 * 3072) + 2 * 8 * 12 * 256 * 256) * 4
    assert ns.estimate_nbytes(config, 1, 15, "resid_post") == 12 * 15 * 768 * 4
