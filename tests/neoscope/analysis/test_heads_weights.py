"""Copying scores and norm-weighted attention: exact oracles, and the formulas written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.analysis import NormWeightedAttention, heads, load, norm_weighted_attention
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, SiteError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import INDUCTION_TRUTH

QUIET: dict[str, Any] = {"progress": False}
TEXT = [3, 1, 4, 1, 5, 9, 2, 6]


def random_model(seed: int = 1, **changes: Any) -> HookedGPTNeo:
    shape = {"n_layers": 2, "d_model": 16, "n_heads": 4, "n_ctx": 16, "d_vocab": 40}
    shape |= {"window_size": 4, "bos_token_id": None, "eos_token_id": None, "init_range": 0.3}
    return HookedGPTNeo.from_config(ns.NeoConfig(**(shape | changes)), seed=seed)


def one_head(ov: float) -> HookedGPTNeo:
    """One layer of one head of which ``W_V W_O`` is a multiple of the identity."""
    model = random_model(n_layers=1, n_heads=1)
    with torch.no_grad():
        attn = model.blocks[0].attn
        attn.W_V.copy_(torch.eye(16)[None])
        attn.W_O.copy_(ov * torch.eye(16)[None])
    return model


# ---- copying -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ov", [1.0, -1.0, 0.01])
def test_a_circuit_that_is_the_identity_copies(ov: float) -> None:
    found = heads(one_head(ov), scores=["copying", "copying_top5"], **QUIET)
    assert found.score[0] == pytest.approx(np.sign(ov), abs=1e-9)
    if ov > 0:
        assert found.score[1] > 0.9
    else:
        assert found.score[1] == 0


def test_random_circuits_do_neither() -> None:
    model = random_model(n_layers=8, d_model=64, n_heads=2, d_vocab=300)
    found = heads(model, scores="copying", **QUIET)
    assert abs(found.score.mean()) < 0.1
    assert np.abs(found.score).max() < 0.5


def test_an_offset_that_all_embeddings_share_changes_nothing() -> None:
    model = random_model()
    before = heads(model, scores=["copying", "copying_top5"], **QUIET)
    with torch.no_grad():
        model.embed.W_E += 100 * torch.randn(16, generator=torch.Generator().manual_seed(0))
    after = heads(model, scores=["copying", "copying_top5"], **QUIET)
    np.testing.assert_allclose(after.score[0], before.score[0], atol=1e-3)
    np.testing.assert_allclose(after.score[1], before.score[1], atol=0.03)


def test_copying_is_that_of_the_whole_circuits_eigenvalues() -> None:
    model = random_model(n_layers=2, tie_word_embeddings=False)
    with torch.no_grad():
        for ln in (model.blocks[0].ln1, model.blocks[1].ln1, model.ln_final):
            ln.w += 0.3 * torch.randn(16, generator=torch.Generator().manual_seed(3))
    found = heads(model, scores="copying", **QUIET).score[0]
    words = torch.eye(40).double() - 1 / 40
    stream = torch.eye(16).double() - 1 / 16
    for layer, block in enumerate(model.blocks):
        for head in range(4):
            read = words @ model.W_E.double() @ stream * block.ln1.w.double()
            ov = block.attn.W_V[head].double() @ block.attn.W_O[head].double()
            circuit = (
                read @ ov @ stream @ (model.ln_final.w.double()[:, None] * model.W_U.double())
            ) @ words
            eigen = torch.linalg.eigvals(circuit.detach())
            assert found[layer, head] == pytest.approx(
                float(eigen.real.sum() / eigen.abs().sum()), abs=1e-6
            )


def test_the_compiled_induction_head_copies_and_silent_heads_have_no_score() -> None:
    model = ns.load("induction")
    found = heads(model, scores=["copying", "copying_top5"], **QUIET)
    assert found.score[0][INDUCTION_TRUTH.induction] == pytest.approx(1, abs=1e-9)
    assert found.score[1][INDUCTION_TRUTH.induction] == 1
    # The previous-token head writes where no logit is read; the dead ones write nothing.
    for head in (INDUCTION_TRUTH.previous_token, *INDUCTION_TRUTH.dead):
        assert np.isnan(found.score[0][head])
        assert found.score[1][head] == 0


# ---- norms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [0, 1])
def test_norms_are_those_of_what_each_head_writes(layer: int) -> None:
    model = random_model()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.b_O += 1  # belongs to no key
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v", "attn_out"])
    found = norm_weighted_attention(cache, layer)
    assert found.error is not None
    assert found.error < 1e-5
    attn = model.blocks[layer].attn
    for head in range(4):
        written = cache["v", layer][0, :, head] @ attn.W_O[head]
        pattern = cache["pattern", layer][0, head]
        expected = (pattern[:, :, None] * written[None]).norm(dim=-1)
        np.testing.assert_allclose(found.values[0, head], expected.detach().numpy(), atol=1e-5)


def test_values_come_from_the_stream_where_they_were_not_cached() -> None:
    model = random_model()
    with torch.no_grad():
        model.blocks[0].ln1.b += 0.5
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v", "resid_pre", "attn_out"])
    first = norm_weighted_attention(cache, 0)
    second = norm_weighted_attention(cache.select(["pattern", "resid_pre", "attn_out"]), 0)
    np.testing.assert_allclose(second.values, first.values, atol=1e-5)
    assert second.error is not None
    assert second.error < 1e-5
    assert norm_weighted_attention(cache.select(["pattern", "v"]), 0).error is None


def sink_cache(model: HookedGPTNeo) -> ActivationCache:
    """Nearly all attention goes to the first token, whose values are zero."""
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v"])
    tensors = {}
    for name, x in cache.items():
        x = x.clone()
        if name.endswith("pattern"):
            n = x.shape[-1]
            x[:] = torch.tril(torch.ones(n, n)) * 1e-3
            x[..., 0] = 1 - torch.arange(n) * 1e-3
        else:
            x[:, 0] = 0
        tensors[name] = x
    return ActivationCache(tensors, model.config, tokens=cache.tokens, model=model)


def test_a_sink_without_a_value_scores_0() -> None:
    model = random_model(attention_layers=("global", "global"))
    cache = sink_cache(model)
    names = ["first_token", "previous_token"]
    plain = heads(cache, scores=names)
    weighted = heads(cache, scores=names, weighted="norm")
    assert plain.score[1].min() > 0.99  # in the table's order: previous_token, first_token
    assert weighted.names == ("previous_token", "first_token")
    assert weighted.score[1].max() == 0
    assert weighted.score[0].min() > 0.1
    found = norm_weighted_attention(cache, 0)
    assert found.values[..., 0].max() == 0
    assert found.values[..., 1:].max() > 0


def test_weighted_scores_are_shares_of_norms() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v"])
    found = heads(model, texts=[TEXT], scores="previous_token", weighted="norm", **QUIET)
    for layer in (0, 1):
        values = norm_weighted_attention(cache, layer).values[0].astype(float)
        share = values / values.sum(-1, keepdims=True)
        i = np.arange(1, len(TEXT))
        np.testing.assert_allclose(found.score[0, layer], share[:, i, i - 1].mean(-1), atol=1e-5)
    again = heads(cache, scores="previous_token", weighted="norm")
    np.testing.assert_allclose(again.score, found.score, atol=1e-6)
    assert "weighted by norm" in found.heading()


def test_a_head_that_writes_nothing_has_no_weighted_score() -> None:
    found = heads(ns.load("induction"), scores="previous_token", weighted="norm", **QUIET)
    assert found.score[0][INDUCTION_TRUTH.previous_token] == 1
    for head in INDUCTION_TRUTH.dead:
        assert np.isnan(found.score[0][head])
        assert found.words("previous_token")[head[0]][head[1]] == "-"
        assert found.n[0][head] == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_moves_nothing(side: str) -> None:
    model = random_model()
    n, cut = len(TEXT), 5
    ids = torch.zeros(2, n, dtype=torch.long)
    mask = torch.zeros(2, n, dtype=torch.bool)
    place = slice(0, cut) if side == "right" else slice(n - cut, n)
    ids[0], mask[0] = torch.tensor(TEXT), True
    ids[1, place], mask[1, place] = torch.tensor(TEXT[:cut]), True
    _, cache = model.run_with_cache(ids, mask, sites=["pattern", "v", "attn_out"])
    found = norm_weighted_attention(cache, 1, heads=2)
    _, alone = model.run_with_cache([TEXT[:cut]], sites=["pattern", "v"])
    single = norm_weighted_attention(alone, 1, heads=2).values[0]
    np.testing.assert_allclose(found.values[1][:, place, place], single, atol=1e-5)
    outside = found.values[1].copy()
    outside[:, place, place] = 0
    assert outside.max() == 0
    assert found.error is not None
    assert found.error < 1e-5


def test_a_result_says_what_it_is_and_comes_back(tmp_path: Path) -> None:
    model = ns.load("organism")
    _, cache = model.run_with_cache("The keys near the cabinet", sites=["pattern", "v"])
    found = norm_weighted_attention(cache, -2, heads=[0, 1])
    assert (found.layer, found.heads) == (2, (0, 1))
    table = found.to_dataframe()
    assert len(table) == 2 * 15
    assert "layer 2 of 'organism'" in str(found)
    back = load(found.save(tmp_path / "norms.safetensors"))
    assert isinstance(back, NormWeightedAttention)
    assert back.to_dataframe().equals(table)
    assert max(map(len, str(found).splitlines())) <= 80
    assert "(1 text)" in str(found)
    bare = norm_weighted_attention(cache.remove_batch_dim(), 2, heads=[0, 1])
    assert np.array_equal(bare.values, found.values)


def test_bad_requests_are_refused() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXT], sites=["pattern", "v"])
    with pytest.raises(SiteError, match="head 4 does not exist"):
        norm_weighted_attention(cache, 0, heads=4)
    with pytest.raises(AnalysisError, match="asks for no head"):
        norm_weighted_attention(cache, 0, heads=[])
    with pytest.raises(AnalysisError, match="names a head twice"):
        norm_weighted_attention(cache, 0, heads=[0, 0])
    with pytest.raises(AnalysisError, match=r"norm_weighted_attention takes a cache.*HookedGPTNeo"):
        norm_weighted_attention(model, 0)
    with pytest.raises(SiteError, match="layer 2 does not exist"):
        norm_weighted_attention(cache, 2)
    with pytest.raises(AnalysisError, match=r"sites=\['pattern', 'v'\]"):
        norm_weighted_attention(cache.select("pattern"), 0)
    with pytest.raises(AnalysisError, match="sites='pattern'"):
        norm_weighted_attention(cache.select("v"), 0)


def test_parts_that_do_not_sum_to_the_layers_output_are_refused() -> None:
    model = random_model()
    sites = ["pattern", "v", "attn_out"]
    _, cache = model.run_with_cache([TEXT], sites=sites, return_type=None)
    other = random_model(seed=5)
    with pytest.raises(AnalysisError, match="made by another model than the one given"):
        norm_weighted_attention(cache, 1, model=other)
    with torch.no_grad():
        model.blocks[1].attn.W_O[0] *= 1.5
    with pytest.raises(AnalysisError, match=r"differ from the cached attn_out by .*check=False"):
        norm_weighted_attention(cache, 1)
    found = norm_weighted_attention(cache, 1, check=False)
    assert found.error is not None
    assert found.error > 1e-3
    for dtype in ("bfloat16", "float16"):
        half = ns.load("organism", dtype=dtype)
        _, cache = half.run_with_cache("The keys near the cabinet", sites=sites)
        for layer in range(4):
            norm_weighted_attention(cache, layer)
