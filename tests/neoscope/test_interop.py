"""What TransformerLens's functions look at: protocols, configuration, switches, weights, tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens import model_protocol
from transformer_lens.tools.analysis import reinitialized
from transformer_lens.utilities import get_act_name

from neoscope import HookedGPTNeo
from neoscope.errors import SiteError
from neoscope.site_kinds import KINDS
from tests.neoscope.interop_models import N_HEADS, N_LAYERS, fresh, gap, pair

TWO = pair()
SWITCHES = {
    "use_attn_result": ["attn.hook_result"],
    "use_split_qkv_input": ["attn.hook_q_input", "attn.hook_k_input", "attn.hook_v_input"],
    "use_attn_in": ["hook_attn_in"],
    "use_hook_mlp_in": ["hook_mlp_in"],
}


def shape_of(model: HookedGPTNeo, name: str) -> tuple[int, ...]:
    return tuple(model.run_with_cache(TWO.clean, names_filter=name)[1][name].shape)


@pytest.mark.parametrize(
    "protocol",
    [
        "TransformerLensModel",
        "TransformerLensModelWithWeights",
        "TrainableTransformerLensModel",
    ],
)
def test_runtime_protocols_are_satisfied(protocol: str) -> None:
    assert isinstance(TWO.ours, getattr(model_protocol, protocol))


def test_cfg_tells_what_gpt_neo_does() -> None:
    # The bridge says attn_scale=-1, use_attn_scale=True, use_local_attn=False, attn_types=None.
    cfg = TWO.ours.cfg
    assert (cfg.use_attn_scale, cfg.attn_scale, cfg.use_local_attn) == (False, 1.0, True)
    assert (cfg.attn_types, cfg.window_size) == (("global", "local", "global"), 4)
    for name in ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "n_ctx", "d_vocab", "act_fn"):
        assert getattr(cfg, name) == getattr(TWO.bridge.cfg, name), name
    assert cfg.n_key_value_heads is None


def test_cfg_follows_the_weights() -> None:
    model = fresh()
    assert model.cfg.dtype == torch.float32
    assert model.to(torch.bfloat16).cfg.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.short)
def test_site_names_are_those_of_get_act_name(kind: Any) -> None:
    part, _, short = kind.short.rpartition(".")
    args = (short, 1 if kind.layered else None, part if kind.layered else None)
    name = get_act_name(*args)
    assert TWO.ours.mod_dict[name] is TWO.ours.mod_dict[kind.template.format(layer=1)]


# ---- switches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", SWITCHES)
def test_switched_off_site_is_refused_with_the_remedy(switch: str) -> None:
    for tail in SWITCHES[switch]:
        name = f"blocks.1.{tail}"
        with pytest.raises(SiteError, match=rf"set_{switch}\(True\)"):
            TWO.ours.run_with_cache(TWO.clean, names_filter=name)
        with pytest.raises(SiteError, match=rf"set_{switch}\(True\)"):
            TWO.ours.run_with_hooks(TWO.clean, fwd_hooks=[(name, lambda x, hook: x)])
        assert not TWO.ours.mod_dict[name].has_hooks()


@pytest.mark.parametrize("switch", SWITCHES)
def test_switched_on_site_exists_and_is_written(switch: str) -> None:
    model = fresh()
    getattr(model, f"set_{switch}")(True)
    plain = model(TWO.clean)
    for tail in SWITCHES[switch]:
        name = f"blocks.1.{tail}"
        heads = () if switch == "use_hook_mlp_in" else (N_HEADS,)
        assert shape_of(model, name) == (*TWO.clean.shape, *heads, 16)
        wiped = model.run_with_hooks(TWO.clean, fwd_hooks=[(name, lambda x, hook: x.zero_())])
        assert gap(wiped, plain) > 0.01
        same = model.run_with_hooks(TWO.clean, fwd_hooks=[(name, lambda x, hook: x)])
        assert gap(same, plain) < 1e-5
    getattr(model, f"set_{switch}")(False)
    with pytest.raises(SiteError, match="switched off"):
        shape_of(model, f"blocks.1.{SWITCHES[switch][0]}")


def test_switch_set_on_the_config_counts() -> None:
    model = fresh()
    model.cfg.use_attn_result = True
    assert shape_of(model, "blocks.0.attn.hook_result") == (*TWO.clean.shape, N_HEADS, 16)


@pytest.mark.parametrize(
    ("first", "second"),
    [("use_attn_in", "use_split_qkv_input"), ("use_split_qkv_input", "use_attn_in")],
)
def test_two_ways_to_split_the_input_exclude_each_other(first: str, second: str) -> None:
    model = fresh()
    getattr(model, f"set_{first}")(True)
    with pytest.raises(SiteError, match=rf"set_{first}\(False\)"):
        getattr(model, f"set_{second}")(True)


def test_head_inputs_are_split_before_the_norm() -> None:
    model = fresh()
    model.set_use_split_qkv_input(True)
    name = "blocks.1.attn.hook_k_input"
    _, cache = model.run_with_cache(TWO.clean, names_filter=[name, "blocks.1.hook_resid_pre"])
    for head in range(N_HEADS):
        assert torch.equal(cache[name][:, :, head], cache["resid_pre", 1])


def test_head_results_and_the_bias_add_up() -> None:
    model = fresh()
    model.set_use_attn_result(True)
    _, cache = model.run_with_cache(TWO.clean)
    for layer in range(N_LAYERS):
        total = cache["result", layer].sum(2) + model.blocks[layer].attn.b_O
        assert gap(total, cache["attn_out", layer]) < 1e-6


# ---- weights -----------------------------------------------------------------------------------


def test_weights_equal_the_bridge_and_are_views() -> None:
    ours, theirs = TWO.ours.tl_parameters(), TWO.bridge.tl_parameters()
    # GPT-Neo has no such biases; the bridge makes up zeros.
    assert {name[-3:] for name in set(theirs) - set(ours)} == {"b_Q", "b_K", "b_V"}
    storages = {p.untyped_storage().data_ptr() for p in TWO.ours.parameters()}
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name
        assert weight.untyped_storage().data_ptr() in storages or name == "unembed.b_U", name


@pytest.mark.parametrize("name", ["W_E", "W_pos", "W_U", "b_U", "W_Q", "W_K", "W_V", "W_O"])
def test_stacked_weights_equal_the_bridge(name: str) -> None:
    assert torch.equal(getattr(TWO.ours, name), getattr(TWO.bridge, name))


@pytest.mark.parametrize("layer", range(N_LAYERS + 1))
@pytest.mark.parametrize("options", [{}, {"include_mlp_biases": False}])
def test_accumulated_bias_equals_the_bridge(layer: int, options: dict[str, bool]) -> None:
    bias = TWO.ours.accumulated_bias(layer, **options)
    assert gap(bias, TWO.bridge.accumulated_bias(layer, **options)) < 1e-6
    if layer < N_LAYERS:
        bias = TWO.ours.accumulated_bias(layer, mlp_input=True)
        assert gap(bias, TWO.bridge.accumulated_bias(layer, mlp_input=True)) < 1e-6


def test_residual_directions_give_logits_back() -> None:
    _, cache = TWO.ours.run_with_cache(TWO.clean)
    logits = TWO.ours(TWO.clean)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6], [9, 9, 8, 8, 7, 7]])
    directions = TWO.ours.tokens_to_residual_directions(tokens)
    assert directions.shape == (2, 6, 16)
    constant = TWO.ours.ln_final.b @ TWO.ours.W_U
    found = (cache["ln_final.normalized"] * directions).sum(-1) + constant[tokens]
    assert gap(found, logits.gather(-1, tokens[..., None])[..., 0]) < 1e-5
    word = TWO.ours.to_string(torch.tensor([5]))
    for one in (5, torch.tensor(5), torch.tensor([5]), torch.tensor([[5]]), word):
        assert torch.equal(TWO.ours.tokens_to_residual_directions(one), directions[0, 4])


def test_random_twin_is_a_new_draw_of_every_weight() -> None:
    twin = reinitialized(TWO.ours, 0)
    before = dict(TWO.ours.named_parameters())
    for name, weight in twin.named_parameters():
        assert not torch.equal(weight, before[name]), name
    assert gap(twin(TWO.clean), reinitialized(TWO.ours, 0)(TWO.clean)) == 0
    assert gap(twin(TWO.clean), HookedGPTNeo.from_config(TWO.ours.config, 0)(TWO.clean)) == 0
    assert gap(twin(TWO.clean), reinitialized(TWO.ours, 1)(TWO.clean)) > 0.01


# ---- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda model, text: model.to_tokens(text),
        lambda model, text: model.to_tokens(text, prepend_bos=False),
        lambda model, text: model.to_tokens(text, prepend_bos=True),
        lambda model, text: model.to_tokens([text, text], move_to_device=False),
        lambda model, text: torch.tensor(model.to_single_token(text.split()[0])),
    ],
)
def test_tokens_equal_the_bridge(read: Callable[[Any, str], Tensor]) -> None:
    text = " ".join(TWO.ours.to_str_tokens(TWO.clean[0]))
    assert torch.equal(read(TWO.ours, text), read(TWO.bridge, text))


def test_strings_equal_the_bridge() -> None:
    text = " ".join(TWO.ours.to_str_tokens(TWO.clean[0]))
    assert TWO.ours.to_str_tokens(text) == TWO.bridge.to_str_tokens(text)
    assert TWO.ours.to_str_tokens(TWO.clean[0]) == TWO.bridge.to_str_tokens(TWO.clean[0])
    assert TWO.ours.to_string(TWO.clean) == TWO.bridge.to_string(TWO.clean)
