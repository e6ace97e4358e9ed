"""Gradients at sites are autograd's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edits import add
from neoscope.errors import EditError

CONFIG = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=40, d_vocab=50, window_size=5, init_range=0.2
)
IDS = torch.arange(21).view(3, 7)
MASKS: dict[str, Any] = {
    "none": None,
    "left": [[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]],
}


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(CONFIG)


@pytest.fixture
def switched(model: ns.HookedGPTNeo, request: pytest.FixtureRequest) -> Any:
    for name in request.param:
        getattr(model, f"set_{name}")(True)
    yield model
    for name in request.param:
        getattr(model, f"set_{name}")(False)


@pytest.fixture(scope="module")
def whole(model: ns.HookedGPTNeo) -> dict[str, ns.ActivationCache]:
    return {side: model.run_with_cache(IDS, mask)[1] for side, mask in MASKS.items()}


# ---- gradients --------------------------------------------------------------------------------
SPLIT = ("use_split_qkv_input", "use_attn_result", "use_hook_mlp_in")


@pytest.mark.parametrize("side", sorted(MASKS))
@pytest.mark.parametrize(
    "switched", [(), SPLIT, ("use_attn_in",)], indirect=True, ids=["plain", "split", "attn_in"]
)
def test_gradients_are_autograds_own(switched: ns.HookedGPTNeo, side: str) -> None:
    model = switched
    model.zero_grad()
    loss, cache = model.run_with_cache(IDS, MASKS[side], incl_bwd=True, return_type="loss")
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(x.requires_grad for x in cache.values())
    plain = [name for name in cache if not name.endswith("_grad")]
    assert {f"{name}_grad" for name in plain} <= set(cache)
    kept: dict[str, Tensor] = {}

    def keep(x: Tensor, hook: Any) -> None:
        x.retain_grad()
        kept[hook.name] = x

    out = model.run_with_hooks(
        IDS,
        MASKS[side],
        fwd_hooks=[(name, keep) for name in plain],
        return_type="loss",
    )
    out.backward()
    model.zero_grad()
    assert torch.equal(out, loss)
    for name in plain:
        torch.testing.assert_close(
            cache[f"{name}_grad"], kept[name].grad, rtol=1e-4, atol=1e-7, msg=name
        )


def test_gradients_are_selected_like_what_they_belong_to(model: ns.HookedGPTNeo) -> None:
    options: Any = {"incl_bwd": True, "return_type": "loss"}
    whole = model.run_with_cache(IDS, MASKS["left"], **options)[1]
    part = model.run_with_cache(
        IDS, MASKS["left"], positions=-1, dtype=torch.float64, sites=["z", "pattern"], **options
    )[1]
    for name, x in part.items():
        axis = 2 if "query" in part.axes(name) else 1
        assert torch.equal(x, whole[name].narrow(axis, 6, 1).double()), name


def test_gradients_of_a_stream_that_the_caller_keeps(model: ns.HookedGPTNeo) -> None:
    stream = model.run_with_cache(IDS)[1]["resid_pre", 1]
    _, cache = model.run_with_cache(
        stream, start_at_layer=1, tokens=IDS, incl_bwd=True, return_type="loss"
    )
    assert cache["resid_pre_grad", 1].shape == stream.shape
    assert not stream.requires_grad


def test_gradients_need_a_scalar(model: ns.HookedGPTNeo) -> None:
    with pytest.raises(EditError, match="return_type='loss'"):
        model.run_with_cache(IDS, incl_bwd=True)


def test_gradients_flow_through_edits_into_the_cache(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(
        IDS, incl_bwd=True, return_type="loss", edits=[add("resid_mid", 1, 0.5)]
    )
    assert cache["resid_pre_grad", 0].abs().sum() > 0
