"""Direct logit attribution adds up, is exact where the truth is known, and refuses the rest."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import ATTRIBUTION_SITES, Attribution, direct_logit_attribution
from neoscope.edits import ablate, scale, steer
from neoscope.errors import AnalysisError
from tests.neoscope.analysis.attribution_models import IDS, LEFT, RIGHT, random_model
from tests.neoscope.analysis.attribution_runs import BYS, TEXT, diff, rows_of


@pytest.fixture(scope="module")
def cache(model: ns.HookedGPTNeo) -> ns.ActivationCache:
    return model.run_with_cache([TEXT, "The keys to the cabinet"])[1]


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("wrong", [None, " John"])
def test_parts_add_up_to_the_models_own_logit(
    by: str, wrong: str | None, model: ns.HookedGPTNeo, cache: ns.ActivationCache
) -> None:
    found = direct_logit_attribution(cache, " Mary", wrong, by=by)
    logits = model([TEXT, "The keys to the cabinet"])[[0, 1], [13, 4]].detach()
    own = logits[:, model.to_single_token(" Mary")]
    if wrong is not None:
        own = own - logits[:, model.to_single_token(wrong)]
    np.testing.assert_allclose(found.logit, own, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.total, own, rtol=0, atol=1e-4)
    assert np.abs(found.residual).max() < 1e-4 == found.tolerance
    found.check()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    n_heads=st.sampled_from([1, 2, 4]),
    n_layers=st.integers(1, 4),
    window=st.integers(1, 6),
    tied=st.booleans(),
    mask=st.sampled_from([None, LEFT, RIGHT]),
    position=st.integers(-5, 4),
    by=st.sampled_from(BYS),
    act=st.sampled_from(["gelu_new", "relu"]),
)
def test_any_shape_adds_up(
    seed: int, n_heads: int, n_layers: int, window: int, tied: bool, mask: Any, position: int,
    by: str, act: str,
) -> None:  # fmt: skip
    one = random_model(seed, n_heads=n_heads, d_model=8, n_layers=n_layers, window_size=window,
                       tie_word_embeddings=tied, act_fn=act)  # fmt: skip
    logits, cache = one.run_with_cache(IDS, mask, sites=ATTRIBUTION_SITES[by])
    answer, wrong = torch.tensor([2, 5]), torch.tensor([7, 1])
    found = direct_logit_attribution(cache, answer, wrong, by=by, position=position)
    real = torch.ones_like(IDS) if mask is None else mask
    columns = [row.nonzero().flatten()[position] for row in real]
    expected = diff(logits, answer, wrong, torch.stack(columns))
    np.testing.assert_allclose(found.total, expected, rtol=0, atol=1e-4)


def test_float64_adds_up_to_the_float32_scale() -> None:
    # The recorded scale is float32, whatever the weights are.
    one = random_model().double()
    logits, cache = one.run_with_cache(IDS)
    found = direct_logit_attribution(cache, 2, 5)
    np.testing.assert_allclose(found.total, diff(logits, 2, 5, -1), rtol=1e-6, atol=1e-7)
    assert np.abs(found.residual).max() < 1e-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_states_its_tolerance(dtype: str) -> None:
    half = ns.load("organism", dtype=dtype)
    _, cache = half.run_with_cache(TEXT)
    found = direct_logit_attribution(cache, " Mary", " John", by="neuron")
    assert np.abs(found.residual).max() < found.tolerance < 0.3
    with pytest.raises(AnalysisError, match="more than 1e-07"):
        found.check(1e-7)


def test_a_cache_kept_in_half_precision_states_its_tolerance(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(TEXT, dtype=torch.bfloat16)
    exact = direct_logit_attribution(model.run_with_cache(TEXT)[1], " Mary")
    found = direct_logit_attribution(cache, " Mary")
    assert found.tolerance > 1e-2
    np.testing.assert_allclose(found.values, exact.values, rtol=0, atol=0.1)


def test_neurons_sum_to_the_mlp_and_sources_to_the_head(cache: ns.ActivationCache) -> None:
    by = {by: direct_logit_attribution(cache, " Mary", by=by) for by in BYS}
    whole = by["component"]
    n_layers, n_heads = 4, 4
    for layer in range(n_layers):
        mine = by["neuron"].layer == layer
        mlp = whole.values[:, rows_of(whole, "mlp") & (whole.layer == layer)][:, 0]
        np.testing.assert_allclose(by["neuron"].values[:, mine].sum(1), mlp, atol=1e-5)
        together = whole.values[:, whole.layer == layer].sum(1)
        mine = by["layer"].layer == layer
        np.testing.assert_allclose(by["layer"].values[:, mine][:, 0], together, atol=1e-9)
        for head in range(n_heads):
            mine = (by["source"].layer == layer) & (by["source"].head == head)
            one = (whole.layer == layer) & (whole.head == head)
            np.testing.assert_allclose(
                by["source"].values[:, mine].sum(1), whole.values[:, one][:, 0], atol=1e-5
            )
    np.testing.assert_allclose(by["source"].heads, whole.heads, atol=1e-5)
    np.testing.assert_allclose(by["head"].heads, whole.heads, atol=1e-12)


def test_sources_beyond_the_window_are_not_listed() -> None:
    one = random_model(window_size=3)
    _, cache = one.run_with_cache(IDS)
    found = direct_logit_attribution(cache, 2, by="source")
    listed = {layer: set(found.source[found.layer == layer].tolist()) for layer in range(3)}
    assert listed[0] == listed[2] == set(range(7))
    assert listed[1] == {4, 5, 6}


def test_padding_and_batch_mates_change_nothing() -> None:
    one = random_model()
    alone = one.run_with_cache(IDS[:1, :5])[1]
    right = one.run_with_cache(IDS, RIGHT)[1]
    shifted = IDS.clone()
    shifted[0, 2:] = IDS[0, :5]
    left = one.run_with_cache(shifted, LEFT)[1]
    for by in BYS:
        expected = direct_logit_attribution(alone, 2, 5, by=by)
        for cache in (right, left):
            found = direct_logit_attribution(cache, 2, 5, by=by)
            picked = found.values[0]
            if by == "source":
                labels = [label.split(" '")[0] for label in found.labels()]
                picked = picked[[labels.index(label.split(" '")[0]) for label in expected.labels()]]
                assert abs(found.total[0] - picked.sum()) < 1e-6
            np.testing.assert_allclose(picked, expected.values[0], rtol=0, atol=1e-5)


def test_each_row_has_its_own_answer_and_position() -> None:
    one = random_model()
    logits, cache = one.run_with_cache(IDS)
    found = direct_logit_attribution(cache, [2, 5], [7, 1], position=[3, -1])
    expected = diff(logits, torch.tensor([2, 5]), torch.tensor([7, 1]), torch.tensor([3, 6]))
    np.testing.assert_allclose(found.total, expected, atol=1e-4)
    assert found.positions == (3, 6)
    assert found.answers == ("#2", "#5")


@pytest.mark.parametrize("by", BYS)
def test_removed_batch_axis_and_files_give_the_same(
    by: str, tmp_path: Path, model: ns.HookedGPTNeo
) -> None:
    _, cache = model.run_with_cache(TEXT)
    expected = direct_logit_attribution(cache, " Mary", " John", by=by)
    cache.save(tmp_path / "run.safetensors")
    loaded = ns.ActivationCache.load(tmp_path / "run.safetensors")
    for other in (cache.remove_batch_dim(), loaded):
        found = direct_logit_attribution(other, " Mary", " John", by=by, model=model)
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.strings == expected.strings


def test_cached_positions_are_enough(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache([TEXT, "The keys"], positions=[0, -1])
    found = direct_logit_attribution(cache, " Mary", by="neuron")
    _, whole = model.run_with_cache([TEXT, "The keys"])
    expected = direct_logit_attribution(whole, " Mary", by="neuron")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    first = direct_logit_attribution(cache, " Mary", position=0)
    assert first.positions == (0, 0)


def test_edits_of_components_still_add_up(model: ns.HookedGPTNeo) -> None:
    edits = [ablate("z", layer=2, head=1), scale("ln_final.scale", factor=2.0),
             scale("mlp_out", layer=3, factor=0.5)]  # fmt: skip
    with model.edits(edits):
        logits, cache = model.run_with_cache(TEXT)
    found = direct_logit_attribution(cache, " Mary")
    own = float(logits[0, -1, model.to_single_token(" Mary")].detach())
    assert found.logit[0] == pytest.approx(own, abs=1e-4)
    assert found.heads[2, 1] == 0


@pytest.mark.parametrize("site", ["resid_post", "ln_final.normalized", "attn_out"])
def test_an_edit_beside_the_components_is_refused(site: str, model: ns.HookedGPTNeo) -> None:
    layer = None if site.startswith("ln_final") else 1
    vector = torch.randn(128, generator=torch.Generator().manual_seed(0))
    with model.edits(steer(site, layer=layer, vector=vector, scale=3.0)):
        _, cache = model.run_with_cache(TEXT)
    with pytest.raises(AnalysisError, match=r"add up to .* but the logit is .* check=False"):
        direct_logit_attribution(cache, " Mary", " John")
    found = direct_logit_attribution(cache, " Mary", " John", check=False)
    assert "does NOT add up" in str(found)
    assert abs(found.residual[0]) > 1e-3


def test_a_cache_is_of_its_model_only(model: ns.HookedGPTNeo, cache: ns.ActivationCache) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.blocks[1].attn.weight_o *= 1.5
    with pytest.raises(AnalysisError, match="made by another model"):
        direct_logit_attribution(cache, " Mary", model=other)
    with pytest.raises(AnalysisError, match="made by another model"):
        direct_logit_attribution(cache, " Mary", model=random_model())


def test_nothing_is_changed_by_asking(model: ns.HookedGPTNeo, cache: ns.ActivationCache) -> None:
    before, kept = model.fingerprint(), {name: x.clone() for name, x in cache.items()}
    for by in BYS:
        direct_logit_attribution(cache, " Mary", by=by)
    assert model.fingerprint() == before
    assert all(torch.equal(cache[name], x) for name, x in kept.items())


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_saved_attribution_is_the_same(
    suffix: str, tmp_path: Path, cache: ns.ActivationCache
) -> None:
    found = direct_logit_attribution(cache, " Mary", " John", by="source")
    again = analysis.load(found.save(tmp_path / f"a{suffix}"))
    assert isinstance(again, Attribution)
    np.testing.assert_array_equal(again.values, found.values)
    assert str(again) == str(found)
    assert again.to_dataframe().equals(found.to_dataframe())


def test_the_table_names_layers_heads_and_tokens(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache([TEXT, "The keys to the cabinet"])
    found = direct_logit_attribution(cache, " Mary", by="source")
    mean = found.to_dataframe(mean=True)
    assert "text" not in mean
    assert mean.attribution.sum() == pytest.approx(found.logit.mean(), abs=1e-4)
    table = found.to_dataframe()
    assert table["text"].unique().tolist() == [0, 1]
    sums = table.groupby("text").attribution.sum().to_numpy()
    np.testing.assert_allclose(sums, found.logit, atol=1e-4)
    tokens = table[(table["text"] == 1) & (table["layer"] == 0) & (table["head"] == 0)].token
    assert tokens.tolist()[:6] == [" The", " keys", " to", " the", " cabinet", ""]
    alone = direct_logit_attribution(model.run_with_cache(TEXT)[1], " Mary", " John", by="source")
    assert "head 2.1 from 2 ' and'" in alone.labels()
    assert alone.top(3).attribution.abs().is_monotonic_decreasing
    assert repr(alone).startswith(
        "direct logit attribution by source: ' Mary' - ' John' at position 13, 7.524 logits (adds"
    )


def test_heads_are_asked_of_what_has_them(cache: ns.ActivationCache) -> None:
    with pytest.raises(AnalysisError, match="by 'layer' has no heads"):
        _ = direct_logit_attribution(cache, " Mary", by="layer").heads
    with pytest.raises(AnalysisError, match="whole number of at least 1"):
        direct_logit_attribution(cache, " Mary").top(0)
