"""Many texts in one cache: how they were batched shows nowhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope.corpus import cache_texts, cached_sites, corpus_nbytes
from neoscope.errors import SiteError
from neoscope.tokens import Tokens

LENGTHS = (4, 9, 2, 12, 12, 1, 7)


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(
        ns.NeoConfig(
            n_layers=3,
            d_model=24,
            n_heads=3,
            n_ctx=40,
            d_vocab=50,
            window_size=5,
            init_range=0.2,
        )
    )


def corpus(side: Any, lengths: tuple[int, ...] = LENGTHS, declared: Any = None) -> Tokens:
    column, length = torch.arange(max(lengths)), torch.tensor(lengths)[:, None]
    mask = column < length if side == "right" else column >= max(lengths) - length
    ids = (torch.arange(mask.numel()).view(mask.shape) * 7) % 50
    return Tokens(ids=ids, mask=mask, padding_side=declared or side)


@settings(max_examples=40, deadline=None)
@given(
    side=st.sampled_from(["left", "right"]),
    batch_tokens=st.integers(1, 100),
    sites=st.none() | st.just(["pattern", "attn_scores", "resid_post", "pos_embed"]),
    dishonest=st.booleans(),
)
def test_texts_are_cached_as_if_each_were_alone(
    model: ns.HookedGPTNeo, side: str, batch_tokens: int, sites: Any, dishonest: bool
) -> None:
    # A record made from ids and a mask alone says "right" whatever the mask says.
    tokens, done = corpus(side, declared="right" if dishonest else None), []
    cache = cache_texts(model, tokens, sites=sites, batch_tokens=batch_tokens, progress=done.append)
    assert done[-1] == len(LENGTHS) and done == sorted(set(done))
    for row, real in enumerate(tokens.mask):
        _, alone = model.run_with_cache(tokens.ids[row, real], sites=sites)
        assert set(alone) == set(cache)
        for name, x in alone.items():
            found = cache[name][row]
            if "query" in cache.axes(name):
                assert not found[:, ~real].any()
                assert (
                    found[:, real][:, :, ~real] == (-torch.inf if "scores" in name else 0)
                ).all()
                found = found[:, real][:, :, real]
            else:
                assert not found[~real].any()
                found = found[real]
            torch.testing.assert_close(found, x[0], rtol=1e-4, atol=1e-5, msg=name)


@settings(max_examples=30, deadline=None)
@given(
    positions=st.sampled_from([0, -1, [0, -1], slice(0, 1), torch.tensor([-1, 0])])
    | st.just(torch.tensor([[n - 1, 0] for n in LENGTHS])),
    batch_tokens=st.integers(1, 100),
    side=st.sampled_from(["left", "right"]),
)
def test_positions_are_those_of_each_text(
    model: ns.HookedGPTNeo, positions: Any, batch_tokens: int, side: str
) -> None:
    tokens = corpus(side)
    sites = ["resid_post", "z", "embed"]
    cache = cache_texts(model, tokens, sites=sites, positions=positions, batch_tokens=batch_tokens)
    whole = model.run_with_cache(tokens, sites=sites, positions=positions)[1]
    for name, x in whole.items():
        torch.testing.assert_close(cache[name], x, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(cache.last("z"), whole.last("z"), rtol=1e-4, atol=1e-5)
    pattern = cache_texts(model, tokens, sites=["pattern"], positions=positions)["pattern", 2]
    assert pattern.shape == (7, 3, x.shape[1], 12)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))


@pytest.mark.parametrize("switch", [None, "use_attn_result", "use_split_qkv_input", "use_attn_in"])
@pytest.mark.parametrize("positions", [None, -1])
def test_the_size_is_known_beforehand(
    model: ns.HookedGPTNeo, switch: str | None, positions: Any
) -> None:
    tokens = corpus("right")
    if switch is not None:
        getattr(model, f"set_{switch}")(True)
    try:
        for sites, layers in [(None, None), (["resid_pre", "resid_post"], None), (None, [0, 2])]:
            refs = cached_sites(model, sites, layers)
            size = corpus_nbytes(model, tokens, refs, positions)
            cache = cache_texts(model, tokens, sites=sites, layers=layers, positions=positions)
            assert cache.nbytes == size and list(cache) == [ref.name for ref in refs]
    finally:
        if switch is not None:
            getattr(model, f"set_{switch}")(False)
    if switch is None:
        assert cache["resid_pre", 0] is not cache["resid_post", 0]


def test_shared_streams_are_held_once(model: ns.HookedGPTNeo) -> None:
    cache = cache_texts(model, corpus("left"), sites=["resid_pre", "resid_post"])
    assert cache["resid_pre", 1] is cache["resid_post", 0]
    assert cache.nbytes == 4 * 7 * 12 * 24 * 4


def test_it_takes_the_models_dtype_and_keeps_no_graph() -> None:
    config = ns.NeoConfig(n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=50)
    model = ns.HookedGPTNeo.from_config(config, dtype=torch.bfloat16)
    cache = cache_texts(model, corpus("right"))
    for name, x in cache.items():
        wide = name.endswith(("scale", "scores"))
        assert x.dtype == (torch.float32 if wide else torch.bfloat16)
        assert not x.requires_grad
    assert cache.tokens is not None and cache.model is model


def test_what_does_not_exist_is_refused(model: ns.HookedGPTNeo) -> None:
    tokens = corpus("right")
    with pytest.raises(SiteError, match="did you mean 'pattern'"):
        cache_texts(model, tokens, sites=["patern"])
    with pytest.raises(SiteError, match="layer 3"):
        cached_sites(model, None, [3])
    with pytest.raises(SiteError, match="3 is out of range in row 2, which has 2 tokens"):
        cache_texts(model, tokens, sites=["z"], positions=3)
