"""Input attribution: complete where it must be, exact on linear models, honest about edits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import InputAttribution, input_attribution
from neoscope.edits import ablate, replace
from neoscope.errors import AnalysisError, MissingExtraError, SiteError, TokenizationError
from tests.neoscope.analysis.attribution_models import IDS, LEFT, RIGHT, random_model

TEXT = "When Mary and John went to the store, John gave a drink to"
METHODS = ("integrated_gradients", "gradient_x_input", "saliency", "occlusion")


def linear_model() -> ns.HookedGPTNeo:
    """Nothing but attention by position: the logit is linear in the token embeddings.

    The first layer's queries and keys see only biases, so that its pattern is fixed; an edit fixes
    the scales of its LayerNorms.
    """
    model = random_model(n_layers=1)
    with torch.no_grad():
        model.blocks[0].attn.weight_qkv[:24] = 0
        model.blocks[0].mlp.weight_out.zero_()
    return model


def fixed_scales() -> list[Any]:
    return [replace("blocks.0.ln1.hook_scale", value=1.5), replace("ln_final.scale", value=2.0)]


# ---- completeness ------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["mean", "zero", " the", 5])
def test_integrated_gradients_are_complete(baseline: Any, model: ns.HookedGPTNeo) -> None:
    found = input_attribution(model, TEXT, " Mary", " John", steps=300, baseline=baseline)
    assert np.abs(found.convergence_delta).max() < 5e-3
    logits = model(TEXT)[0, -1].detach()
    ids = [model.to_single_token(word) for word in (" Mary", " John")]
    assert found.logit[0] == pytest.approx(float(logits[ids[0]] - logits[ids[1]]), abs=1e-4)
    moved = found.logit - found.baseline_logit
    np.testing.assert_allclose(found.values.sum(1), moved, rtol=0, atol=5e-3)


@settings(max_examples=10)
@given(
    seed=st.integers(0, 100),
    mask=st.sampled_from([None, LEFT, RIGHT]),
    position=st.integers(-3, 4),
    tied=st.booleans(),
)
def test_any_shape_is_complete(seed: int, mask: Any, position: int, tied: bool) -> None:
    one = random_model(seed, tie_word_embeddings=tied, init_range=0.2)
    real = torch.ones_like(IDS) if mask is None else mask
    tokens = ns.Tokens(IDS, real.bool())
    found = input_attribution(one, tokens, 2, 5, steps=200, position=position, progress=False)
    assert np.abs(found.convergence_delta).max() < 1e-2


def test_more_steps_converge() -> None:
    one = random_model()
    gaps = [
        np.abs(input_attribution(one, IDS, 2, 5, steps=steps).convergence_delta).max()
        for steps in (2, 20, 200)
    ]
    assert gaps[0] > gaps[1] > gaps[2]


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input", "occlusion"])
def test_on_a_linear_model_all_methods_are_exact(method: str) -> None:
    one = linear_model()
    with one.edits(fixed_scales()):
        found = input_attribution(one, IDS, 2, 5, method=method, baseline="zero", steps=3)
        expected = np.zeros(IDS.shape)
        for column in range(IDS.shape[1]):
            only = torch.zeros(*IDS.shape, 12)
            only[:, column] = one.W_E[IDS[:, column]].detach()
            with one.edits(replace("embed", value=only)):
                logits = one(IDS)[:, -1].detach()
            with one.edits(replace("embed", value=0.0)):
                logits = logits - one(IDS)[:, -1].detach()
            expected[:, column] = (logits[:, 2] - logits[:, 5]).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-5)
    assert np.abs(found.convergence_delta).max() < 1e-5
    assert found.edited


def test_gradient_and_saliency_equal_autograd() -> None:
    one = random_model()
    stream = one.W_E[IDS].detach().requires_grad_(True)
    whole = stream + one.W_pos[: IDS.shape[1]]
    logits = one(whole, start_at_layer=0)[:, -1]
    (gradient,) = torch.autograd.grad((logits[:, 2] - logits[:, 5]).sum(), stream)
    options: dict[str, Any] = {"answer": 2, "wrong": 5, "baseline": "zero"}
    products = input_attribution(one, IDS, method="gradient_x_input", **options)
    expected = (gradient * stream).sum(-1).detach()
    np.testing.assert_allclose(products.values, expected, rtol=0, atol=1e-5)
    lengths = input_attribution(one, IDS, method="saliency", **options)
    np.testing.assert_allclose(lengths.values, gradient.norm(dim=-1), rtol=0, atol=1e-5)
    assert np.isnan(lengths.convergence_delta).all()
    assert lengths.baseline == ""


def test_occlusion_is_what_replacing_one_token_does(model: ns.HookedGPTNeo) -> None:
    found = input_attribution(model, TEXT, " Mary", " John", method="occlusion", baseline=" the")
    ids = model.tokenize(TEXT).ids
    answers = [model.to_single_token(word) for word in (" Mary", " John")]
    for column in range(ids.shape[1]):
        other = ids.clone()
        other[0, column] = model.to_single_token(" the")
        logits = model(other)[0, -1].detach()
        lost = found.logit[0] - float(logits[answers[0]] - logits[answers[1]])
        assert found.values[0, column] == pytest.approx(lost, abs=1e-4)


# ---- batches, padding, edits -------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_batch_mates_and_padding_change_nothing(method: str) -> None:
    one = random_model()
    shifted = IDS.clone()
    shifted[0, 2:] = IDS[0, :5]
    options: dict[str, Any] = {"method": method, "steps": 8}
    alone = input_attribution(one, IDS[:1, :5], 2, 5, **options)
    for ids, mask in ((IDS, RIGHT), (shifted, LEFT)):
        found = input_attribution(one, ns.Tokens(ids, mask.bool()), 2, 5, **options)
        np.testing.assert_allclose(found.values[0, :5], alone.values[0], rtol=0, atol=1e-5)
        assert np.isnan(found.values[0, 5:]).all()
        few = input_attribution(one, ns.Tokens(ids, mask.bool()), 2, 5, **options, batch_tokens=1)
        np.testing.assert_allclose(few.values, found.values, rtol=0, atol=1e-5)


def test_what_comes_after_the_position_is_left_out(model: ns.HookedGPTNeo) -> None:
    found = input_attribution(model, TEXT, " Mary", position=3, method="gradient_x_input")
    shorter = input_attribution(model, "When Mary and John", " Mary", method="gradient_x_input")
    assert found.values.shape == (1, 4)
    np.testing.assert_allclose(found.values, shorter.values, rtol=0, atol=1e-5)
    assert found.to_dataframe().token.tolist() == [" When", " Mary", " and", " John"]


def test_edits_in_force_are_honoured(model: ns.HookedGPTNeo) -> None:
    plain = input_attribution(model, TEXT, " Mary", " John", steps=200)
    with model.edits(ablate("z", layer=2, head=1)):
        found = input_attribution(model, TEXT, " Mary", " John", steps=200)
        logits = model(TEXT)[0, -1].detach()
    ids = [model.to_single_token(word) for word in (" Mary", " John")]
    assert found.logit[0] == pytest.approx(float(logits[ids[0]] - logits[ids[1]]), abs=1e-4)
    assert abs(found.logit[0] - plain.logit[0]) > 0.1
    assert np.abs(found.convergence_delta).max() < 1e-2
    assert (found.edited, plain.edited) == (True, False)
    with model.edits(replace("embed", value=0.0)):  # what was put in is replaced again
        found = input_attribution(model, TEXT, " Mary")
    assert np.abs(found.values).max() == 0


def test_nothing_is_left_behind(model: ns.HookedGPTNeo) -> None:
    before = model.fingerprint()
    with torch.inference_mode():
        inside = input_attribution(model, model.tokenize(TEXT), " Mary")
    with torch.no_grad():
        again = input_attribution(model, TEXT, " Mary")
    np.testing.assert_array_equal(inside.values, again.values)
    assert model.fingerprint() == before
    assert not model.is_edited
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with pytest.raises(TypeError), model.edits(ablate("z", layer=0)):
        input_attribution(model, TEXT, " Mary", steps=5, progress=object)  # type: ignore[arg-type]
    assert not model.hook_embed.hooked


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_run(dtype: torch.dtype) -> None:
    one = ns.load("organism").to(dtype=dtype)
    found = input_attribution(one, TEXT, " Mary", " John", steps=20)
    expected = input_attribution(ns.load("organism"), TEXT, " Mary", " John", steps=20)
    close = 1e-4 if dtype == torch.float64 else 0.5
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=close)


# ---- the result --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("method", ["integrated_gradients", "saliency"])
def test_a_saved_result_is_the_same(
    method: str, suffix: str, tmp_path: Path, model: ns.HookedGPTNeo
) -> None:
    found = input_attribution(model, [TEXT, "The keys"], " Mary", method=method)
    again = analysis.load(found.save(tmp_path / f"a{suffix}"))
    assert isinstance(again, InputAttribution)
    np.testing.assert_array_equal(again.values, found.values)
    assert str(again) == str(found)
    assert len(found.to_dataframe()) == 16
    assert found.top(3).attribution.abs().is_monotonic_decreasing


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "integrated_gradient"}, "did you mean 'integrated_gradients'"),
        ({"method": "ig"}, "did you mean 'integrated_gradients'"),
        ({"baseline": "Zebra"}, "a baseline must be one token"),
        ({"progress": 5}, "progress=5; expected True, False, or a function"),
        ({"steps": 0}, "steps=0; expected a whole number"),
        ({"batch_tokens": 0}, "batch_tokens=0; expected"),
        ({"baseline": "average"}, "baseline='average' is .* tokens.*; or 'mean', or 'zero'"),
        ({"baseline": 1000}, "ids run from 0 to 749"),
        ({"answer": " John", "wrong": " John"}, "the same token"),
        ({"answer": "xyzzy"}, "answer='xyzzy' is 6 tokens"),
        ({"position": [1, 2]}, "one for each of the 1 rows"),
    ],
)
def test_a_meaningless_question_is_refused(
    options: dict[str, Any], said: str, model: ns.HookedGPTNeo
) -> None:
    with pytest.raises(AnalysisError, match=said):
        input_attribution(model, TEXT, **({"answer": " Mary"} | options))


def test_what_cannot_be_read_is_refused(model: ns.HookedGPTNeo) -> None:
    with pytest.raises(SiteError, match="position: 20 is out of range"):
        input_attribution(model, TEXT, " Mary", position=20)
    with pytest.raises(TokenizationError):
        input_attribution(model, "", " Mary")


def test_without_captum_the_extra_is_named(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'neoscope\[attribution\]'"):
        input_attribution(model, TEXT, " Mary")


def test_a_model_is_needed_and_named(model: ns.HookedGPTNeo) -> None:
    given: list[tuple[Any, str]] = [
        ("organism", "str"),
        (model.run_with_cache(TEXT)[1], "ActivationCache"),
    ]
    for other, kind in given:
        with pytest.raises(AnalysisError, match=f"input_attribution takes a model.*found {kind}"):
            input_attribution(other, TEXT, " Mary")


def test_a_long_text_is_cut_where_asked(model: ns.HookedGPTNeo) -> None:
    long = "The keys " * 100
    with pytest.raises(TokenizationError, match=r"truncate=True keeps the first 128$"):
        input_attribution(model, long, " Mary", method="saliency")
    found = input_attribution(model, long, " Mary", method="saliency", truncate=True)
    assert found.positions == (127,)


def test_progress_tells_the_runs_that_are_done(model: ns.HookedGPTNeo) -> None:
    seen: list[tuple[int, int]] = []
    options: Any = {"steps": 4, "progress": lambda done, total: seen.append((done, total))}
    input_attribution(model, [TEXT, "The keys"], " Mary", **options)
    assert seen[-1] == (12, 12)


def test_interruption_returns_the_texts_that_are_done(model: ns.HookedGPTNeo) -> None:
    texts = [TEXT, "The keys", "Mary went to the store"]
    whole = input_attribution(model, texts, " Mary", method="saliency")

    def press(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted: 2 of 3 texts are done"):
        found = input_attribution(
            model, texts, " Mary", method="saliency", batch_tokens=1, progress=press
        )
    assert not found.complete
    assert whole.complete
    assert "interrupted" in found.heading()
    assert found.answers == (" Mary", " Mary")
    expected = whole.to_dataframe().query("text < 2").attribution
    np.testing.assert_allclose(found.to_dataframe().attribution, expected, atol=1e-5)

    def at_once(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="nothing was changed or lost"):
        input_attribution(model, texts, " Mary", progress=at_once)
