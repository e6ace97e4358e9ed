"""Attention rollout and flow: closed forms, brute force, windows and padding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.analysis import AttentionFlow, Rollout, attention_flow, load, rollout
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, SiteError
from neoscope.model import HookedGPTNeo
from tests.neoscope.analysis.rollout_runs import (
    QUIET,
    TEXT,
    cache_of,
    config,
    previous,
    random_model,
    some,
)


@pytest.mark.parametrize("n_layers", [1, 2, 5, 10])
def test_previous_token_layers_give_the_binomial_exactly(n_layers: int) -> None:
    n = 8
    found = rollout(cache_of(lambda *_: previous(n), n, n_layers))
    for layer in range(n_layers):
        steps = layer + 1
        for i in range(n):
            for k in range(i):  # the first position takes all that would go further
                assert found.values[layer, 0, i, i - k] == math.comb(steps, k) / 2**steps
    assert (found.values.sum(-1) == 1).all()


def test_identity_attention_gives_the_identity() -> None:
    found = rollout(cache_of(lambda *_: np.eye(5), 5, 3))
    assert np.array_equal(found.values[:, 0], np.broadcast_to(np.eye(5), (3, 5, 5)))


def test_later_layers_multiply_from_the_left() -> None:
    a, b = some(6, 0), some(6, 1)
    found = rollout(cache_of(lambda layer, _: (a, b)[layer], 6, 2))
    first, second = ((x + np.eye(6)) / 2 for x in (a, b))
    np.testing.assert_allclose(found.values[1, 0], second @ first, atol=1e-7)
    assert not np.allclose(found.values[1, 0], first @ second, atol=1e-3)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("residual", [True, False, 0.2])
def test_heads_are_put_together_and_rows_scaled(fusion: str, residual: Any) -> None:
    a, b = some(6, 0), some(6, 1)
    found = rollout(
        cache_of(lambda _, head: (a, b)[head], 6, 1), heads=fusion, add_residual=residual
    )
    fused = {"mean": (a + b) / 2, "max": np.maximum(a, b), "min": np.minimum(a, b)}[fusion]
    share = {True: 0.5, False: 0.0}.get(residual, residual)
    mixed = (1 - share) * fused + share * np.eye(6)
    expected = mixed / mixed.sum(-1, keepdims=True)
    np.testing.assert_allclose(found.values[0, 0], expected, atol=1e-7)
    np.testing.assert_allclose(found.values.sum(-1), 1)


def test_some_heads_alone_pass_other_layers_by() -> None:
    a, b = some(6, 0), some(6, 1)
    cache = cache_of(lambda layer, head: (a, b)[head] if layer == 1 else previous(6), 6, 3)
    assert np.array_equal(
        rollout(cache, heads=(1, 0)).values, rollout(cache, heads=[(1, 0)]).values
    )
    for heads in ([(1, 1)], {1: [1]}, {1: 1}, [(-2, -1)]):
        found = rollout(cache, heads=heads)
        np.testing.assert_allclose(found.values[2, 0], (b + np.eye(6)) / 2, atol=1e-7)
        assert found.heads == "mean of 1.1"
        assert np.array_equal(found.values[0, 0], np.eye(6))


def test_two_heads_that_share_no_key_have_no_least_and_keep_what_they_have() -> None:
    cache = cache_of(lambda _, head: previous(4) if head else np.eye(4), 4, 1)
    assert np.array_equal(rollout(cache, heads="min").values[0, 0], np.eye(4))


def test_a_later_start_is_a_rollout_of_the_later_layers() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXT], sites="pattern")
    later = rollout(cache, start_layer=1)
    assert later.layers == (1, 2)
    whole = rollout(cache)
    first = whole.values[0, 0]
    np.testing.assert_allclose(later.values[1, 0] @ first, whole.values[2, 0], atol=1e-12)
    last = rollout(cache, start_layer=1, every_layer=False)
    assert last.layers == (2,)
    assert np.array_equal(last.values[0], later.values[-1])


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_local_stack_sees_no_further_than_its_bandwidth(window: int) -> None:
    n = 12
    model = random_model(window_size=window, attention_layers=("local",) * 3)
    _, cache = model.run_with_cache([list(range(n))], sites="pattern")
    found = rollout(cache)
    assert found.bandwidth == tuple((layer + 1) * (window - 1) for layer in range(3))
    distance = np.arange(n)[:, None] - np.arange(n)
    for layer in range(3):
        inside = (distance >= 0) & (distance <= (layer + 1) * (window - 1))
        values = found.values[layer, 0]
        assert np.array_equal(found.reachable[layer, 0], inside)
        assert (values[~inside] == 0).all()
        assert (values[inside] > 0).all()
    np.testing.assert_allclose(found.values.sum(-1), 1)


def test_a_global_layer_ends_the_bandwidth() -> None:
    model = random_model(attention_layers=("local", "global", "local"))
    _, cache = model.run_with_cache([TEXT], sites="pattern")
    assert rollout(cache).bandwidth == (2, None, None)
    assert rollout(cache, heads=[(0, 0), (2, 1)]).bandwidth == (2, 2, 4)
    assert rollout(cache).reachable[1, 0].sum() == 36


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_takes_no_part(side: str) -> None:
    model = random_model()
    n, cut = len(TEXT), 5
    place = slice(0, cut) if side == "right" else slice(n - cut, n)
    ids, mask = torch.zeros(2, n, dtype=torch.long), torch.zeros(2, n, dtype=torch.bool)
    ids[0], mask[0] = torch.tensor(TEXT), True
    ids[1, place], mask[1, place] = torch.tensor(TEXT[:cut]), True
    _, cache = model.run_with_cache(ids, mask, sites=["pattern", "v"])
    _, alone = model.run_with_cache([TEXT[:cut]], sites=["pattern", "v"])
    for options in ({}, {"weighted": "norm"}):
        found, single = rollout(cache, **options), rollout(alone, **options)
        inner = found.values[:, 1, place, place]
        np.testing.assert_allclose(inner, single.values[:, 0], atol=1e-6)
        outside = found.values[:, 1].copy()
        outside[:, place, place] = 0
        assert outside.max() == 0
        assert found.reachable[:, 1].sum() == single.reachable.sum()
    flow, one = attention_flow(cache, **QUIET), attention_flow(alone, **QUIET)
    np.testing.assert_allclose(flow.values[1][place, place], one.values[0], atol=1e-6)
    table = flow.to_dataframe()
    assert len(table[table["text"] == 1]) == cut * (cut + 1) // 2
    last = attention_flow(cache, positions=-1, **QUIET)
    assert last.queries.tolist() == [[n - 1], [cut - 1]]
    np.testing.assert_allclose(last.values[1, 0, place], one.values[0, -1], atol=1e-6)


def test_norms_weigh_heads_by_what_they_write() -> None:
    model = random_model()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_V[1:] = 0  # all heads but the first write nothing
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v"])
    found = rollout(cache, weighted="norm")
    norms = ns.analysis.norm_weighted_attention(cache, 0, heads=0).values[0, 0].astype(float)
    share = norms / norms.sum(-1, keepdims=True)
    np.testing.assert_allclose(found.values[0, 0], (share + np.eye(8)) / 2, atol=1e-6)
    assert found.weighted == "norm"
    np.testing.assert_allclose(found.values.sum(-1), 1)


def test_caches_of_every_kind_give_the_same(tmp_path: Path) -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v"])
    cache.save(tmp_path / "run.safetensors")
    loaded = ActivationCache.load(tmp_path / "run.safetensors")
    first = rollout(cache, weighted="norm")
    for other in (
        rollout(cache.remove_batch_dim(), weighted="norm"),
        rollout(loaded, weighted="norm", model=model),
    ):
        assert np.array_equal(other.values, first.values)
    half = rollout(cache.to(dtype=torch.bfloat16))
    np.testing.assert_allclose(half.values, rollout(cache).values, atol=0.02)
    np.testing.assert_allclose(half.values.sum(-1), 1)
    with pytest.raises(AnalysisError, match="rollout needs the model's weights"):
        rollout(loaded, weighted="norm")


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_results_say_what_they_are_and_come_back(tmp_path: Path, suffix: str) -> None:
    model = ns.load("organism")
    _, cache = model.run_with_cache("The keys near the cabinet", sites="pattern")
    rolled, flow = rollout(cache), attention_flow(cache, positions=-1, **QUIET)
    assert len(rolled.to_dataframe()) == 4 * 15
    assert len(flow.to_dataframe()) == 5
    assert set(rolled.to_dataframe()["query_token"]) == set(cache.tokens.strings[0])
    assert "from layer 0 to layer 3" in str(rolled)
    assert "cabinet" in str(flow)
    for one in (rolled, flow):
        assert max(map(len, str(one).splitlines())) <= 80
        assert "(1 text)" in one.heading()
    for found, kind in ((rolled, Rollout), (flow, AttentionFlow)):
        back = load(found.save(tmp_path / f"one{suffix}"))
        assert isinstance(back, kind)
        assert back.to_dataframe().equals(found.to_dataframe())
        assert str(back) == str(found)


@pytest.mark.parametrize("function", [rollout, attention_flow])
def test_bad_requests_are_refused(function: Any) -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXT], sites=["pattern"])
    for options, said in (
        ({"heads": "maen"}, "did you mean 'mean'"),
        ({"heads": []}, "names no head"),
        ({"heads": [(0, 4)]}, "head 4 of layer 0 does not exist"),
        ({"heads": [3]}, "3 is no pair"),
        ({"add_residual": 1.5}, "add_residual=1.5"),
        ({"weighted": "norms"}, "did you mean 'norm'"),
        ({"weighted": "norm"}, "needs the values of layer 0"),
        ({"model": HookedGPTNeo.from_config(config(), seed=3)}, "made by another model"),
        ({"model": "organism"}, "takes a model, .* found str"),
    ):
        with pytest.raises(AnalysisError, match=said):
            function(cache, **options)
    with pytest.raises(AnalysisError, match=f"{function.__name__} takes a cache, .*HookedGPTNeo"):
        function(model)
    with pytest.raises(SiteError, match="layer 3 does not exist"):
        function(cache, start_layer=3)
    with pytest.raises(AnalysisError, match=r"layer 0, but of this cache it has those of layers 1"):
        function(cache.select("pattern", layers=[1, 2]))
    function(cache.select("pattern", layers=[1, 2]), start_layer=1)
    part = model.run_with_cache([TEXT], sites=["pattern"], positions=[1, 2])[1]
    with pytest.raises(AnalysisError, match="needs every position"):
        function(part)
