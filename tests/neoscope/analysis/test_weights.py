"""Weight views say what the model says and leave it alone; circuits are the products they claim."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope.analysis import (
    weight_view,
)
from neoscope.edits import ablate
from neoscope.errors import AnalysisError
from tests.neoscope.analysis.attribution_models import IDS, LEFT, RIGHT, random_model
from tests.neoscope.analysis.weight_runs import OPTIONS, TEXTS, bits
from tests.neoscope.interop_models import fresh_bridge, pair, quiet


@pytest.mark.parametrize("given", list(itertools.product([False, True], repeat=4)))
def test_every_view_says_what_the_model_says(given: tuple[bool, ...]) -> None:
    one = random_model().double()
    before = bits(one)
    view = weight_view(one, **dict(zip(OPTIONS, given, strict=True)))
    tokens = ns.Tokens(IDS, RIGHT.bool())
    assert view.check(one, tokens, tolerance=1e-9) < 1e-9
    assert all(torch.equal(x, before[name]) for name, x in one.state_dict().items())


@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    n_heads=st.sampled_from([1, 2, 4]),
    window=st.integers(1, 6),
    tied=st.booleans(),
    mask=st.sampled_from([LEFT, RIGHT, torch.ones_like(IDS)]),
    act=st.sampled_from(["gelu_new", "relu"]),
)
def test_any_shape_folds(
    seed: int, n_heads: int, window: int, tied: bool, mask: torch.Tensor, act: str
) -> None:
    one = random_model(
        seed, n_heads=n_heads, d_model=8, window_size=window, tie_word_embeddings=tied, act_fn=act
    )
    assert weight_view(one).check(one, ns.Tokens(IDS, mask.bool())) < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_organism_is_left_bit_for_bit(dtype: str) -> None:
    one = ns.load("organism", dtype=dtype)
    before, fingerprint = bits(one), one.fingerprint()
    view = weight_view(one)
    difference = view.check(one, TEXTS)
    assert difference < (1e-4 if dtype == "float32" else 0.5)
    with torch.no_grad():  # whatever is done to the copies
        for _, x in view.tensors():
            x.zero_()
    assert all(torch.equal(x, before[name]) for name, x in one.state_dict().items())
    assert one.fingerprint() == fingerprint
    assert view.W_E.dtype == torch.float32


def test_what_is_folded_is_gone(model: ns.HookedGPTNeo) -> None:
    view = weight_view(model)
    for gain in (view.ln1_w, view.ln2_w, view.ln_final_w):
        assert torch.equal(gain, torch.ones_like(gain))
    for bias in (view.ln1_b, view.ln2_b, view.ln_final_b, view.b_V):
        assert torch.equal(bias, torch.zeros_like(bias))
    for written in (view.W_E, view.W_pos, view.W_O, view.b_O, view.W_out, view.b_out):
        assert written.mean(-1).abs().max() < 1e-6
    for read in (view.W_Q, view.W_K, view.W_V, view.W_in):
        assert read.mean(-2).abs().max() < 1e-6
    assert view.W_U.mean(-1).abs().max() < 1e-6
    assert view.W_U.data_ptr() != view.W_E.data_ptr()
    assert "fold_ln, fold_value_biases, center_writing, center_unembed; float32" in repr(view)


def test_folding_is_transformer_lens_own() -> None:
    bridge = fresh_bridge()
    with quiet():
        bridge.enable_compatibility_mode()
    view = weight_view(pair().ours)
    names = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "b_O", "W_in", "b_in", "W_out", "b_out")
    for name in (*names, "W_U", "b_U", "b_Q", "b_K", "b_V"):
        theirs = getattr(bridge, name).detach()
        ours = getattr(view, name)
        if name == "b_U":  # it is centred there or not: all logits move alike
            theirs, ours = theirs - theirs.mean(), ours - ours.mean()
        assert ours.shape == theirs.shape, name
        assert (ours - theirs).abs().max() < 1e-5, name


def test_a_view_of_other_weights_is_refused(model: ns.HookedGPTNeo) -> None:
    one = random_model()
    view = weight_view(one)
    with pytest.raises(AnalysisError, match="of another model"):
        view.check(model, TEXTS)
    with torch.no_grad():
        one.blocks[0].mlp.b_out += torch.arange(12)
    with pytest.raises(AnalysisError, match="these have changed"):
        view.check(one, IDS)
    with model.edits(ablate("z", layer=0)), pytest.raises(AnalysisError, match="edits or hooks"):
        weight_view(model).check(model, TEXTS)
    with pytest.raises(AnalysisError, match="expected a floating-point type"):
        weight_view(model, dtype=torch.int64)
