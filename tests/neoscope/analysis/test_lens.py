"""The logit lens: its last row is the model, its rows what layers say, its calibration true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import metrics, readout
from neoscope.analysis.lens.result import LensResult
from neoscope.cache import ActivationCache
from neoscope.edits import ablate
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import ZERO_TAIL_TRUTH, lens_prompts, zero_tail
from tests.neoscope.analysis.lens_runs import TEXTS, cached, logits_of

STREAM = ["resid_pre", "resid_post"]


@pytest.fixture(scope="module")
def cache(model: HookedGPTNeo) -> ActivationCache:
    return cached(model, TEXTS[0])


@pytest.mark.parametrize("text", TEXTS)
def test_last_row_is_the_models_own_logits(model: HookedGPTNeo, text: str) -> None:
    with torch.no_grad():
        logits, cache = model.run_with_cache(text)
    lens = analysis.logit_lens(cache, k=5)
    expected = logits_of(model, cache["resid_post", -1])[0].topk(5)
    assert np.array_equal(lens.top_logits[-1], expected.values)
    assert np.array_equal(lens.top_ids[-1], expected.indices)
    assert np.array_equal(lens.top_logits[-1], logits[0].topk(5).values)
    assert (lens.kl[-1] == 0).all()
    assert lens.bias[-1] == 0
    assert lens.agreement[-1] == 1


def test_each_row_is_its_stream_through_the_output(
    model: HookedGPTNeo, cache: ActivationCache
) -> None:
    lens = analysis.logit_lens(cache, targets=[" Mary", " John"])
    assert lens.labels == ("embed", "0", "1", "2", "3")
    streams = [cache["resid_pre", 0], *(cache["resid_post", layer] for layer in range(4))]
    output = logits_of(model, streams[-1])[0]
    ids = model.tokenize(TEXTS[0]).ids
    for row, stream in enumerate(streams):
        logits = logits_of(model, stream)[0]
        log_p = logits.double().log_softmax(-1)
        np.testing.assert_allclose(lens.kl[row], metrics.kl(output, logits), atol=2e-5)
        np.testing.assert_allclose(lens.entropy[row], metrics.entropy(logits), atol=2e-5)
        expected = -log_p[:-1].gather(1, ids[0, 1:, None])[:, 0]
        np.testing.assert_allclose(lens.cross_entropy[row, :-1], expected, atol=2e-5)
        above = (log_p[:-1] > -expected[:, None]).sum(1) + 1
        assert np.array_equal(lens.next_rank[row, :-1], above)
        top = log_p.topk(10)
        np.testing.assert_allclose(lens.top_probability[row], top.values.exp(), atol=1e-6)
        for i, target in enumerate(lens.target_ids):
            said = log_p[:, target]
            np.testing.assert_allclose(lens.target_probability[row, :, i], said.exp(), atol=1e-6)
            rank = (log_p > said[:, None]).sum(1) + 1
            assert np.array_equal(lens.target_rank[row, :, i], rank)
    assert np.isnan(lens.cross_entropy[:, -1]).all()
    assert (lens.next_rank[:, -1] == 0).all()
    assert lens.top_tokens[-1, -1, 0] == " Mary"
    assert [lens.word(int(i)) for i in lens.target_ids] == [" Mary", " John"]


def test_rows_over_idle_blocks_are_identical() -> None:
    model = ns.load(zero_tail())
    lens = analysis.logit_lens(cached(model, lens_prompts()))
    exact = list(ZERO_TAIL_TRUTH.exact_depths)
    assert (lens.top_logits[exact] == lens.top_logits[-1]).all()
    assert (lens.top_ids[exact] == lens.top_ids[-1]).all()
    assert np.abs(lens.kl[exact]).max() < 1e-6
    np.testing.assert_allclose(lens.kl.mean(1), ZERO_TAIL_TRUTH.lens_kl, atol=1e-4)
    assert (lens.bias[exact] < 1e-6).all()
    assert (lens.bias[:2] > 0.01).all()


def test_rows_are_those_of_transformer_lens(model: HookedGPTNeo, cache: ActivationCache) -> None:
    theirs = cache.to_transformer_lens().logit_lens(positions=None)
    lens = analysis.logit_lens(cache, k=512)
    every = theirs.values[:, 0].double()
    assert list(theirs.labels) == ["0_pre", "1_pre", "2_pre", "3_pre", "final_post"]
    for row in range(5):
        ids = torch.tensor(lens.top_ids[row])
        mine = torch.tensor(lens.top_probability[row]).double().log()
        expected = every[row].log_softmax(-1).gather(1, ids)
        likely = expected > math.log(1e-30)
        torch.testing.assert_close(mine[likely], expected[likely], atol=1e-4, rtol=0)
        shift = torch.tensor(lens.top_logits[row]).double() - every[row].gather(1, ids)
        assert (shift - shift[:, :1]).abs().max() < 1e-3
    np.testing.assert_allclose(lens.entropy, theirs.readout.entropy[:, 0], atol=1e-4)


def test_bias_is_kl_between_the_mean_distributions(
    model: HookedGPTNeo, cache: ActivationCache
) -> None:
    lens = analysis.logit_lens(cache)
    output = logits_of(model, cache["resid_post", 3])[0].double().softmax(-1).mean(0)
    for row, stream in enumerate([cache["resid_pre", 0], cache["resid_post", 0]]):
        mean = logits_of(model, stream)[0].double().softmax(-1).mean(0).clamp(min=1.2e-38)
        expected = float((output * (output / mean).log2()).sum())
        assert lens.bias[row] == pytest.approx(expected, rel=1e-4)


def test_bias_in_closed_form() -> None:
    """A stream that always says (1/8, 7/8) while the output says (1/2, 1/2) in the mean."""
    rows = torch.tensor([[1.0], [0.0]])
    reader = readout.Readout(rows)
    wanted = readout.Wanted(1, torch.full((2,), -1), torch.zeros(0, dtype=torch.long))
    means = torch.zeros(2, 2)
    reader.read(torch.tensor([[9.0], [-9.0]]), wanted, means[0], refer=True)
    reader.read(torch.full((2, 1), -math.log(7.0)), wanted, means[1])
    torch.testing.assert_close(means / 2, torch.tensor([[0.5, 0.5], [1 / 8, 7 / 8]]))
    p, q = means.double() / 2
    bits = float((p * (p / q).log2()).sum())
    assert bits == pytest.approx(0.5 * math.log2(4) + 0.5 * math.log2(4 / 7), abs=1e-6)


def test_components_add_up_to_the_output(model: HookedGPTNeo, cache: ActivationCache) -> None:
    v = model.config.d_vocab
    parts = analysis.logit_lens(cache, site="components", k=v)
    assert parts.labels[:4] == ("embed", "pos_embed", "0 attn_out", "0 mlp_out")
    total = np.zeros((len(parts.tokens), v))
    for row in range(len(parts.labels)):
        np.put_along_axis(
            total, parts.top_ids[row],
            np.take_along_axis(total, parts.top_ids[row], 1) + parts.top_logits[row], 1,
        )  # fmt: skip
    with torch.no_grad():
        expected = logits_of(model, cache["resid_post", 3])[0] - model.unembed(model.ln_final.b)
    np.testing.assert_allclose(total, expected, atol=2e-3)


def test_heads_add_up_to_attention(model: HookedGPTNeo, cache: ActivationCache) -> None:
    v = model.config.d_vocab
    heads = analysis.logit_lens(cache, site="heads", layers=2, k=v)
    assert heads.labels == ("2.0", "2.1", "2.2", "2.3")
    whole = analysis.logit_lens(cache, site="attn_out", layers=[2], k=v)

    def dense(lens: LensResult, row: int) -> Any:
        out = np.zeros(lens.top_logits.shape[1:])
        np.put_along_axis(out, lens.top_ids[row], lens.top_logits[row], 1)
        return out

    with torch.no_grad():
        final = cache["resid_post", 3][0]
        scale = (final.var(-1, keepdim=True, unbiased=False) + model.ln_final.eps).sqrt()
        bias = model.blocks[2].attn.b_O
        said = model.unembed((bias - bias.mean()) / scale * model.ln_final.w)
    total = sum(dense(heads, row) for row in range(4)) + said.numpy()
    np.testing.assert_allclose(total, dense(whole, 0), atol=2e-3)
    assert whole.labels == ("2 attn_out",)


def test_mean_corrected_streams_have_the_outputs_mean(
    model: HookedGPTNeo, cache: ActivationCache
) -> None:
    lens = analysis.logit_lens(cache, mean_corrected=True)
    goal = cache["resid_post", 3][0].mean(0)
    stream = cache["resid_pre", 0][0]
    logits = logits_of(model, stream - stream.mean(0) + goal)
    output = logits_of(model, cache["resid_post", 3][0])
    np.testing.assert_allclose(lens.kl[0], metrics.kl(output, logits), atol=1e-4)
    assert (lens.kl[-1] == 0).all()
    assert lens.kl[0].mean() < analysis.logit_lens(cache).kl[0].mean()
    assert lens.lens == "mean-corrected logit"


def test_a_run_whose_final_norm_was_edited_is_refused(model: HookedGPTNeo) -> None:
    """Its output is not what the final LayerNorm makes of its last stream."""
    for site in ("ln_final.normalized", "ln_final.scale"):
        edit = ablate(site, positions=-1)
        for sites in (None, [*STREAM, site]):
            run = cached(model, TEXTS[0], sites=sites, edits=[edit])
            with pytest.raises(AnalysisError, match=f"cached {site} is not what the final"):
                analysis.logit_lens(run)
            analysis.logit_lens(run, positions=[0, 1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rounding_of_the_final_norm_is_no_edit(dtype: str) -> None:
    """A stream may be thousands of times its own spread, and formats round what was cached."""
    model = ns.load("outliers", dtype=dtype)
    run = cached(model, lens_prompts())
    analysis.logit_lens(run)
    for kept in (torch.bfloat16, torch.float32):
        analysis.logit_lens(run.to(dtype=kept), model)
