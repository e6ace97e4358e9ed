"""run_with_cache with TransformerLens's arguments, and the methods of its ActivationCache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens import ActivationCache as LensCache
from transformer_lens.utilities import Slice

from neoscope.errors import CacheError, EditError, SiteError
from tests.neoscope.interop_models import N_HEADS, N_LAYERS, N_POS, gap, pair, quiet

TWO = pair()
OURS = TWO.ours.run_with_cache(TWO.clean)[1]
THEIRS = TWO.bridge.run_with_cache(TWO.clean)[1]


def both(**options: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    with quiet():
        return (
            TWO.ours.run_with_cache(TWO.clean, **options),
            TWO.bridge.run_with_cache(TWO.clean, **options),
        )


# ---- run_with_cache ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OURS))
def test_cached_site_equals_the_bridge(name: str) -> None:
    if name.endswith("attn_scores"):  # The bridge has the pattern there.
        assert gap(OURS[name].softmax(-1), THEIRS[name]) < 1e-5
        assert OURS[name].isinf().any()
    else:
        assert gap(OURS[name], THEIRS[name]) < 1e-5


@pytest.mark.parametrize(
    "names",
    [
        "blocks.1.hook_resid_pre",
        ["hook_embed", "blocks.0.attn.hook_z"],
        lambda name: "mlp" in name,
        lambda name: name.endswith("hook_scale"),
    ],
)
def test_names_filter_equals_the_bridge(names: Any) -> None:
    (logits, ours), (expected, theirs) = both(names_filter=names)
    assert gap(logits, expected) < 1e-5
    # The bridge also caches under names of its own.
    assert set(ours) == set(theirs) & set(OURS)
    assert all(gap(ours[name], theirs[name]) < 1e-5 for name in ours)


def test_filter_that_matches_nothing_is_refused() -> None:
    with pytest.raises(SiteError, match="no site was selected"):
        TWO.ours.run_with_cache(TWO.clean, names_filter=lambda name: "hook_result" in name)


def test_stop_after_the_last_layer_returns_the_stream() -> None:
    # The bridge returns logits; TransformerLens 3 returned the stream.
    stream_out, cache = TWO.ours.run_with_cache(TWO.clean, stop_at_layer=N_LAYERS)
    assert gap(stream_out, stream()) < 1e-5
    assert "ln_final.hook_scale" not in cache


@pytest.mark.parametrize("stop", [0, 1, 2, -1])
def test_stop_at_layer_equals_the_bridge(stop: int) -> None:
    (stream, ours), (expected, theirs) = both(stop_at_layer=stop)
    assert gap(stream, expected) < 1e-5
    assert set(ours) == set(theirs) & set(OURS)


@pytest.mark.parametrize(
    "columns",
    [2, -1, (2,), (1, 4), (0, 6, 2), [0, 3, 5], torch.tensor([4, 1]), slice(1, 3), Slice((2, 4))],
)
def test_pos_slice_equals_the_bridge(columns: Any) -> None:
    (_, ours), (_, theirs) = both(pos_slice=columns)
    for name in ours:
        if not name.endswith("attn_scores"):
            assert gap(ours[name], theirs[name]) < 1e-5, name


def test_pos_slice_of_a_wrapped_int_keeps_the_axis() -> None:
    # The bridge drops it, after which no method of its cache fits.
    (_, ours), (_, theirs) = both(pos_slice=Slice(3), names_filter="blocks.1.hook_mlp_out")
    assert ours["mlp_out", 1].shape == (2, 1, 16)
    assert gap(ours["mlp_out", 1][:, 0], theirs["mlp_out", 1]) < 1e-5


@pytest.mark.parametrize("columns", [N_POS, -N_POS - 1, [0, N_POS], "all"])
def test_pos_slice_outside_the_batch_is_refused(columns: Any) -> None:
    with pytest.raises(SiteError, match="pos_slice"):
        TWO.ours.run_with_cache(TWO.clean, pos_slice=columns)


def test_batch_axis_is_removed_as_by_the_bridge() -> None:
    _, ours = TWO.ours.run_with_cache(TWO.clean[:1], remove_batch_dim=True)
    _, theirs = TWO.bridge.run_with_cache(TWO.clean[:1], remove_batch_dim=True)
    for name in ours:
        assert ours[name].shape == theirs[name].shape, name
    assert gap(ours.decompose_resid(), theirs.decompose_resid()) < 1e-5
    with pytest.raises(CacheError, match="2 rows"):
        TWO.ours.run_with_cache(TWO.clean, remove_batch_dim=True)


def test_cache_goes_to_the_device_asked_for() -> None:
    _, cache = TWO.ours.run_with_cache(TWO.clean, device="meta")
    assert {x.device.type for x in cache.values()} == {"meta"}


def test_gradients_equal_the_bridge() -> None:
    (loss, ours), (expected, theirs) = both(incl_bwd=True, return_type="loss")
    assert gap(loss, expected) < 1e-5
    for name in OURS:
        gradient = ours[f"{name}_grad"]
        if "hook_pattern" in name or "hook_attn_scores" in name:  # The bridge has none.
            assert gradient.abs().max() > 0
        elif name.endswith("resid_mid"):  # The bridge has that of its MLP's input.
            assert gap(gradient, ours[name.replace("resid_mid", "attn_out") + "_grad"]) < 1e-6
        else:
            assert gap(gradient, theirs[f"{name}_grad"]) < 1e-5, name
    assert all(parameter.grad is None for parameter in TWO.ours.parameters())


def test_gradients_need_a_scalar() -> None:
    for options in ({}, {"stop_at_layer": 1, "return_type": "loss"}):
        with pytest.raises(EditError, match="scalar"):
            TWO.ours.run_with_cache(TWO.clean, incl_bwd=True, **options)


# ---- the methods of TransformerLens's cache ----------------------------------------------------


def stream() -> Tensor:
    return OURS["resid_post", -1]


def test_own_cache_is_a_mapping_that_lends_the_methods() -> None:
    lens = OURS.to_transformer_lens()
    assert isinstance(lens, LensCache)
    assert gap(OURS.decompose_resid(), lens.decompose_resid()) == 0
    assert OURS.get("blocks.0.attn.hook_result") is None
    assert OURS.get(("pattern", 0)) is OURS["pattern", 0]
    with pytest.raises(AttributeError, match="no attribute 'compute_ssm_state'"):
        OURS.compute_ssm_state()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.decompose_resid(),
        lambda c: c.decompose_resid(layer=2, mlp_input=True, apply_ln=True, pos_slice=-1),
        lambda c: c.decompose_resid(mode="attn", incl_embeds=False),
        lambda c: c.accumulated_resid(incl_mid=True),
        lambda c: c.accumulated_resid(layer=1, apply_ln=True, pos_slice=(1, 4)),
        lambda c: c.stack_head_results(incl_remainder=True),
        lambda c: c.stack_head_results(layer=2, apply_ln=True),
        lambda c: c.stack_activation("z"),
        lambda c: c.get_neuron_results(1, neuron_slice=(0, 5)),
        lambda c: c.stack_neuron_results(2, incl_remainder=True),
        lambda c: c.get_full_resid_decomposition(),
        lambda c: c.get_full_resid_decomposition(layer=1, mlp_input=True, expand_neurons=False),
        lambda c: c.get_full_resid_decomposition(apply_ln=True, project_output_onto=TWO.ours.W_U),
        lambda c: c.apply_ln_to_stack(c.decompose_resid(), recompute_ln=True),
        lambda c: c.logit_lens().values,
        lambda c: c.apply_slice_to_batch_dim(1).decompose_resid(),
    ],
)
def test_decomposition_equals_the_bridge(call: Any) -> None:
    assert gap(call(OURS), call(THEIRS)) < 1e-5


def test_labels_equal_the_bridge() -> None:
    _, ours = OURS.get_full_resid_decomposition(return_labels=True)
    _, theirs = THEIRS.get_full_resid_decomposition(return_labels=True)
    assert ours == theirs
    assert len(ours) == N_LAYERS * (N_HEADS + 24) + 3


@pytest.mark.parametrize(
    "stack",
    [
        lambda: OURS.decompose_resid(),
        lambda: OURS.stack_head_results(incl_remainder=True),
        lambda: OURS.get_full_resid_decomposition(),
        lambda: OURS.get_full_resid_decomposition(expand_neurons=False),
    ],
)
def test_components_sum_to_the_stream_and_to_the_logit(stack: Any) -> None:
    components = stack()
    assert gap(components.sum(0), stream()) < 1e-5
    token = torch.tensor([3, 7])
    logits = TWO.ours(TWO.clean)
    expected = torch.stack([logits[0, :, 3], logits[1, :, 7]])
    # No component writes the final norm's bias; its gain is in the directions.
    constant = (TWO.ours.ln_final.b @ TWO.ours.W_U)[token][:, None]
    assert gap(OURS.logit_attrs(components, token).sum(0) + constant, expected) < 1e-5
    difference = OURS.logit_attrs(components, 3, 7).sum(0)
    bias = constant[0] - constant[1]
    assert gap(difference + bias, logits[..., 3] - logits[..., 7]) < 1e-5


def test_accumulated_stream_ends_in_the_stream() -> None:
    accumulated, labels = OURS.accumulated_resid(incl_mid=True, return_labels=True)
    assert torch.equal(accumulated[-1], stream())
    assert torch.equal(accumulated[0], OURS["resid_pre", 0])
    assert labels == ["0_pre", "0_mid", "1_pre", "1_mid", "2_pre", "2_mid", "final_post"]


def test_head_results_are_added_to_the_cache_that_was_asked() -> None:
    _, cache = TWO.ours.run_with_cache(TWO.clean)
    cache.compute_head_results()
    model = type(TWO.ours).from_pretrained(TWO.folder)
    model.set_use_attn_result(True)
    _, expected = model.run_with_cache(TWO.clean)
    for layer in range(N_LAYERS):
        assert gap(cache["result", layer], expected["result", layer]) < 1e-5
        assert not cache["result", layer].requires_grad


def test_loaded_cache_decomposes_with_a_model(tmp_path: Any) -> None:
    OURS.save(tmp_path / "cache.safetensors")
    loaded = type(OURS).load(tmp_path / "cache.safetensors")
    with pytest.raises(CacheError, match="needs the model"):
        loaded.decompose_resid()
    assert gap(loaded.to_transformer_lens(TWO.ours).decompose_resid().sum(0), stream()) < 1e-5
