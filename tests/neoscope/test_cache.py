"""Looking things up in a cache, and making other caches from it."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope.errors import CacheError, SiteError

IDS = [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14]]
LEFT = [[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]]
RIGHT = [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]]


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


@pytest.fixture(scope="module")
def cache(model: ns.HookedGPTNeo) -> ns.ActivationCache:
    return model.run_with_cache(IDS, incl_bwd=True, return_type="loss")[1]


# ---- keys -------------------------------------------------------------------------------------

KEYS: list[tuple[Any, str]] = [
    ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post"),
    ("blocks.-1.hook_resid_post", "blocks.2.hook_resid_post"),
    (("blocks.1.attn.hook_pattern",), "blocks.1.attn.hook_pattern"),
    (("resid_post", 1), "blocks.1.hook_resid_post"),
    (("hook_resid_post", 1), "blocks.1.hook_resid_post"),
    (("resid_post", -3), "blocks.0.hook_resid_post"),
    (("resid_post", 1, None), "blocks.1.hook_resid_post"),
    (("pattern", 0), "blocks.0.attn.hook_pattern"),
    (("attn", 0), "blocks.0.attn.hook_pattern"),
    (("attn_logits", 0), "blocks.0.attn.hook_attn_scores"),
    (("scores", 0), "blocks.0.attn.hook_attn_scores"),
    (("query", 2), "blocks.2.attn.hook_q"),
    (("key", 2), "blocks.2.attn.hook_k"),
    (("value", 2), "blocks.2.attn.hook_v"),
    (("mlp_pre", 1), "blocks.1.mlp.hook_pre"),
    (("mlp_post", 1), "blocks.1.mlp.hook_post"),
    (("neurons", -1), "blocks.2.mlp.hook_post"),
    (("q", 1, "attn"), "blocks.1.attn.hook_q"),
    (("post", 1, "mlp"), "blocks.1.mlp.hook_post"),
    (("scale", 1, "ln1"), "blocks.1.ln1.hook_scale"),
    (("normalized", -1, "ln2"), "blocks.2.ln2.hook_normalized"),
    (("ln2.scale", 0), "blocks.0.ln2.hook_scale"),
    ("embed", "hook_embed"),
    ("hook_pos_embed", "hook_pos_embed"),
    (("embed",), "hook_embed"),
    (("embed", None), "hook_embed"),
    ("scale", "ln_final.hook_scale"),
    ("normalized", "ln_final.hook_normalized"),
    ("ln_final.hook_scale", "ln_final.hook_scale"),
]


@pytest.mark.parametrize(("key", "name"), KEYS, ids=lambda value: repr(value))
def test_every_form_of_a_key_means_the_full_name(
    cache: ns.ActivationCache, key: Any, name: str
) -> None:
    assert cache.name(key) == name
    assert key in cache
    assert cache[key] is cache[name] is cache.get(key)
    first, *rest = (key,) if isinstance(key, str) else key
    assert cache[(f"{first}_grad", *rest)] is cache[f"{name}_grad"]
    assert cache.axes(key) == cache.axes(name) and len(cache.axes(key)) == cache[key].ndim


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (("resid_pots", 1), "did you mean 'resid_post'?"),
        (("patern", 0), "did you mean 'pattern'?"),
        ("blocks.1.hook_resid_pots", "did you mean 'hook_resid_post'?"),
        (("resid_pots_grad", 1), "did you mean 'resid_post'?"),
    ],
)
def test_unknown_names_give_the_nearest(cache: ns.ActivationCache, key: Any, hint: str) -> None:
    with pytest.raises(SiteError) as error:
        cache[key]
    assert hint in str(error.value)
    assert key not in cache and cache.get(key, 7) == 7


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("resid_post", 3), "'resid_post': layer 3 does not exist; the model has layers 0 to 2"),
        (("resid_post", -4), "layer -4"),
        ("blocks.3.hook_resid_post", "layer 3"),
        ("blocks.--1.hook_resid_post", "no site is called"),
        ("resid_post", "in every layer; say which"),
        (("embed", 0), "not in a layer"),
    ],
)
def test_wrong_layers_are_refused(cache: ns.ActivationCache, key: Any, words: str) -> None:
    with pytest.raises(SiteError) as error:
        cache[key]
    assert words in str(error.value)
    assert key not in cache


def test_a_site_that_was_not_cached_says_which_were(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(IDS, sites=["resid_post", "z"], layers=[0, 1])
    with pytest.raises(
        CacheError, match=r"'blocks\.2\.attn\.hook_z' was not cached.*resid_post, z"
    ):
        cache["z", 2]
    with pytest.raises(CacheError, match="was not cached"):
        cache["resid_post_grad", 1]
    assert ("z", 2) not in cache and ("z", 1) in cache
    for look in (cache.stack, cache.last):
        with pytest.raises(CacheError, match="'pattern' was not cached in any layer"):
            look("pattern")
    with pytest.raises(CacheError, match="no layer"):
        cache.stack("z", [])


def test_it_is_a_mapping_in_forward_order(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(IDS, sites=["resid_post", "embed", "q", "scale"])
    layers = [f"blocks.{i}.{end}" for i in range(3) for end in ("attn.hook_q", "hook_resid_post")]
    names = ["hook_embed", *layers, "ln_final.hook_scale"]
    assert list(cache) == list(cache.keys()) == names and len(cache) == 8
    assert [x is cache[name] for name, x in cache.items()] == [True] * 8
    assert cache.layers("q") == [0, 1, 2]
    assert repr(cache).startswith("ActivationCache(2 x 7 tokens, 8 tensors: embed, q, resid_post")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cache.nonsense


# ---- stack and last ---------------------------------------------------------------------------


def test_stack_puts_layers_first(cache: ns.ActivationCache) -> None:
    assert cache.stack("resid_post").shape == (3, 2, 7, 24)
    assert cache.stack("attn").shape == (3, 2, 3, 7, 7)
    picked = cache.stack("z", [-1, 0])
    assert torch.equal(picked[0], cache["z", 2]) and torch.equal(picked[1], cache["z", 0])
    assert torch.equal(cache.stack("z_grad")[1], cache["z_grad", 1])


@pytest.mark.parametrize("mask", [None, LEFT, RIGHT])
@pytest.mark.parametrize("site", ["resid_post", "z", "ln1.scale", "pattern"])
def test_last_is_each_rows_last_real_token(model: ns.HookedGPTNeo, mask: Any, site: str) -> None:
    _, cache = model.run_with_cache(IDS, mask)
    columns = [3 if mask is RIGHT else 6, 6]
    one = cache.last(site, 1)
    for row, column in enumerate(columns):
        x = cache[site, 1][row]
        assert torch.equal(one[row], x[:, column] if site == "pattern" else x[column])
    assert torch.equal(cache.last(site)[1], one)
    assert torch.equal(cache.last(cache.name((site, 1))), one)
    assert cache.last("embed").shape == (2, 24)
    alone = cache.rows(0).remove_batch_dim()
    assert torch.equal(alone.last(site, 1), one[0])


def test_last_of_asked_for_positions_is_the_last_of_them(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(IDS, RIGHT, positions=[2, 1])
    assert torch.equal(cache.last("resid_mid", 0), cache["resid_mid", 0][:, 1])


def test_last_of_a_run_that_began_with_a_stream(model: ns.HookedGPTNeo) -> None:
    stream = model.run_with_cache(IDS)[1]["resid_pre", 1]
    _, cache = model.run_with_cache(stream, start_at_layer=1)
    assert cache.tokens is None
    assert torch.equal(cache.last("z", 1), cache["z", 1][:, -1])


# ---- making others ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_rows_select_the_batch_axis(data: st.DataObject, cache: ns.ActivationCache) -> None:
    index = data.draw(
        st.integers(-2, 1)
        | st.lists(st.integers(-2, 1), min_size=1, max_size=3)
        | st.lists(st.integers(-2, 1), min_size=1, max_size=3).map(tuple)
        | st.slices(2)
    )
    if isinstance(index, slice):
        plain = list(range(2))[index]
    else:
        plain = [index] if isinstance(index, int) else [*index]
    part = cache.rows(index)
    assert part.tokens is not None and cache.tokens is not None
    assert torch.equal(part.tokens.ids, cache.tokens.ids[plain])
    for name, x in part.items():
        assert torch.equal(x, cache[name][plain])
    assert part["resid_pre", 1] is part["resid_post", 0]


def test_rows_refuses_what_is_not_there(cache: ns.ActivationCache) -> None:
    with pytest.raises(CacheError, match="row 2 does not exist; the batch has 2 rows"):
        cache.rows([0, 2])
    with pytest.raises(CacheError, match="no batch axis"):
        cache.rows(0).remove_batch_dim().rows(0)


def test_rows_keep_their_own_positions(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(IDS, positions=torch.tensor([[1, 2], [3, 4]]))
    part = cache.rows(1)
    assert isinstance(part.positions, torch.Tensor) and part.positions.tolist() == [[3, 4]]


def test_select_keeps_sites_layers_and_gradients(cache: ns.ActivationCache) -> None:
    part = cache.select(["z", "embed"], [-1])
    assert set(part) == {
        *("hook_embed", "hook_embed_grad"),
        *("blocks.2.attn.hook_z", "blocks.2.attn.hook_z_grad"),
    }
    assert part["z", 2] is cache["z", 2]
    assert len(cache.select()) == len(cache)
    assert cache.select(layers=1).layers("resid_mid") == [1]
    assert "hook_embed" not in cache.select(layers=1)
    with pytest.raises(SiteError, match="did you mean 'pattern'"):
        cache.select("patern")


def test_to_converts_and_keeps_what_is_shared(model: ns.HookedGPTNeo) -> None:
    model.set_use_split_qkv_input(True)
    try:
        _, cache = model.run_with_cache(IDS)
    finally:
        model.set_use_split_qkv_input(False)
    half = cache.to(dtype=torch.float16)
    assert {x.dtype for x in half.values()} == {torch.float16}
    assert half["resid_pre", 1] is half["resid_post", 0]
    plain = cache.select(["resid_pre", "resid_post", "q", "k", "v", "q_input", "pos_embed"])
    assert 2 * plain.to(dtype=torch.float16).nbytes <= plain.nbytes + 2 * 3 * 7 * 24 * 2 * 3
    heads = cache.select("q_input")
    assert 2 * heads.to(dtype=torch.float16).nbytes == heads.nbytes
    assert cache.to()["z", 0].data_ptr() == cache["z", 0].data_ptr()
    assert half.tokens is cache.tokens and half.model is model
    for name, x in half.items():
        assert torch.equal(x, cache[name].half())


def test_nbytes_counts_a_storage_once(model: ns.HookedGPTNeo) -> None:
    stream = 2 * 7 * 24 * 4
    _, cache = model.run_with_cache(IDS, sites=["resid_pre", "resid_post"])
    assert len(cache) == 6 and cache.nbytes == 4 * stream
    assert cache["resid_pre", 2] is cache["resid_post", 1]
    _, cache = model.run_with_cache(IDS, sites=["q", "k", "v"], layers=0)
    assert cache.nbytes == 3 * stream
    assert cache["q", 0].untyped_storage().data_ptr() == cache["v", 0].untyped_storage().data_ptr()


def test_remove_batch_dim(model: ns.HookedGPTNeo, cache: ns.ActivationCache) -> None:
    logits, alone = model.run_with_cache(IDS[0], remove_batch_dim=True)
    batched = model.run_with_cache(IDS[0])[1]
    assert logits.shape == (1, 7, 50)
    assert alone["pattern", 1].shape == (3, 7, 7)
    assert alone.axes(("pattern", 1)) == ("head", "query", "key")
    for name, x in alone.items():
        assert torch.equal(x, batched[name][0])
    assert alone.remove_batch_dim() is alone and not alone.has_batch_dim
    with pytest.raises(CacheError, match="the batch has 2 rows"):
        cache.remove_batch_dim()


def test_to_transformer_lens(model: ns.HookedGPTNeo, cache: ns.ActivationCache) -> None:
    lens = cache.to_transformer_lens()
    assert lens["resid_post", 1] is cache["resid_post", 1]
    assert lens["scale", 2, "ln1"] is cache["ln1.scale", 2]
    assert lens.model is model and lens.has_batch_dim
    orphan = ns.ActivationCache(dict(cache), cache.config)
    with pytest.raises(CacheError, match="needs the model"):
        orphan.to_transformer_lens()
    assert orphan.to_transformer_lens(model).model is model
    with pytest.raises(CacheError, match="needs the model"):
        orphan.decompose_resid()


def test_compute_head_results(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(IDS)
    cache.compute_head_results()
    for layer in range(3):
        total = cache["result", layer].sum(2) + model.blocks[layer].attn.b_O
        torch.testing.assert_close(total, cache["attn_out", layer])


def test_a_cache_knows_its_models_name_when_the_model_is_gone(tmp_path: Path) -> None:
    model = ns.HookedGPTNeo.from_config(ns.NeoConfig(n_layers=1, d_model=8, n_heads=2, d_vocab=9))
    _, cache = model.run_with_cache([[1, 2, 3]], sites=["z", "q"])
    del model
    gc.collect()
    cache.save(tmp_path / "run.safetensors")
    made = [cache, cache.rows([0]), cache.select("z"), cache.to(dtype=torch.float64)]
    made += [copy.copy(cache), ns.ActivationCache.load(tmp_path / "run.safetensors")]
    assert all(one.model is None and one.model_name == "random-0" for one in made)
    assert ns.ActivationCache({}, cache.config).model_name is None


def test_a_small_cache_counts_in_english() -> None:
    model = ns.load("organism")
    one = model.run_with_cache("The man is", sites="resid_post", layers=1)[1]
    assert "1 tensor: resid_post in 1 layer," in repr(one)
    both = model.run_with_cache("The man is", sites=["embed", "q"])[1]
    assert "5 tensors: embed, q in 4 layers," in repr(both)
