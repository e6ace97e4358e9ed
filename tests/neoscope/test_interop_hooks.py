"""TransformerLens's hooks on our model: adding, nesting, removing, both directions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from neoscope import HookedGPTNeo
from neoscope.errors import EditError, SiteError
from neoscope.sites import all_sites
from tests.neoscope.interop_models import N_LAYERS, fresh, gap, pair

TWO = pair()
SITE = "blocks.1.hook_resid_mid"


@pytest.fixture
def model() -> HookedGPTNeo:
    return fresh()


def double(x: Tensor, hook: Any) -> Tensor:
    return 2 * x


class Names(list[str]):
    """A hook that notes where it fired."""

    def __call__(self, x: Tensor, hook: Any) -> None:
        self.append(hook.name)


def hooks_left(model: HookedGPTNeo) -> int:
    points = model.hook_points()
    listed = sum(len(point.fwd_hooks) + len(point.bwd_hooks) for point in points)
    torch_hooks = sum(len(p._forward_hooks) + len(p._backward_hooks) for p in points)
    assert torch_hooks == listed
    return listed


@pytest.mark.parametrize("site", ["hook_embed", "blocks.0.attn.hook_z", "mlp_out"])
def test_writing_hook_equals_the_bridge(model: HookedGPTNeo, site: str) -> None:
    # A short name means the site of every layer.
    full = [f"blocks.{i}.hook_mlp_out" for i in range(N_LAYERS)] if site == "mlp_out" else [site]
    ours = model.run_with_hooks(TWO.clean, fwd_hooks=[(site, double)])
    theirs = TWO.bridge.run_with_hooks(TWO.clean, fwd_hooks=[(name, double) for name in full])
    assert gap(ours, model(TWO.clean)) > 0.01
    assert gap(ours, theirs) < 1e-5


def test_hook_that_returns_nothing_only_looks(model: HookedGPTNeo) -> None:
    seen = Names()
    logits = model.run_with_hooks(TWO.clean, fwd_hooks=[(SITE, seen)])
    assert seen == [SITE]
    assert torch.equal(logits, model(TWO.clean))


def test_predicate_fires_at_every_existing_site_in_forward_order(model: HookedGPTNeo) -> None:
    seen = Names()
    model.run_with_hooks(TWO.clean, fwd_hooks=[(lambda name: True, seen)])
    assert seen == [ref.name for ref in all_sites(model.config)]
    model.set_use_attn_result(True)
    model.add_hook(lambda name: name.endswith("hook_result"), seen)
    seen.clear()
    model(TWO.clean)
    assert seen == [f"blocks.{i}.attn.hook_result" for i in range(N_LAYERS)]


def test_added_hook_stays_until_reset(model: HookedGPTNeo) -> None:
    plain = model(TWO.clean)
    model.add_hook(SITE, double)
    changed = model(TWO.clean)
    assert gap(changed, plain) > 0.01
    assert torch.equal(model(TWO.clean), changed)
    model.reset_hooks()
    assert torch.equal(model(TWO.clean), plain)


def test_permanent_hook_outlives_a_reset(model: HookedGPTNeo) -> None:
    seen = Names()
    model.add_perma_hook(SITE, seen)
    model.reset_hooks()
    model(TWO.clean)
    assert seen == [SITE]
    model.reset_hooks(including_permanent=True)
    assert hooks_left(model) == 0


@pytest.mark.parametrize("old", ["hook_q_input", "hook_k_input", "hook_v_input"])
def test_names_of_transformer_lens_3_work(model: HookedGPTNeo, old: str) -> None:
    with pytest.raises(SiteError, match="set_use_split_qkv_input"):
        model.add_hook(f"blocks.0.{old}", double)
    model.set_use_split_qkv_input(True)
    seen = Names()
    with model.hooks(fwd_hooks=[(f"blocks.0.{old}", seen)]):
        model(TWO.clean)
    assert seen == [f"blocks.0.attn.{old}"]
    _, cache = model.run_with_cache(TWO.clean, names_filter=f"blocks.0.{old}")
    lens = cache.to_transformer_lens()
    assert lens[old.removeprefix("hook_"), 0] is cache[old.removeprefix("hook_"), 0]


@pytest.mark.parametrize("name", ["blocks.9.hook_z", "blocks.0.hook_z", "hook_nothing", "blocks.0"])
def test_unknown_site_is_refused_at_once(model: HookedGPTNeo, name: str) -> None:
    for add in (model.add_hook, lambda n, f: model.run_with_hooks(TWO.clean, fwd_hooks=[(n, f)])):
        with pytest.raises(SiteError, match=name):
            add(name, double)
    assert hooks_left(model) == 0


def test_predicate_that_matches_nothing_is_refused(model: HookedGPTNeo) -> None:
    with pytest.raises(SiteError, match="matches none"):
        model.run_with_hooks(TWO.clean, fwd_hooks=[(lambda name: "hook_result" in name, double)])


@pytest.mark.parametrize("bad", [lambda x, hook: x[:, :1], lambda x, hook: "text"])
def test_hook_that_returns_something_else_is_refused(model: HookedGPTNeo, bad: Any) -> None:
    with pytest.raises(EditError, match=SITE):
        model.run_with_hooks(TWO.clean, fwd_hooks=[(SITE, bad)])
    assert hooks_left(model) == 0


def test_nested_contexts_undo_their_own_hooks_only(model: HookedGPTNeo) -> None:
    plain = model(TWO.clean)
    with model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", double)]):
        outer = model(TWO.clean)
        with model.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", double)]):
            both = model(TWO.clean)
        assert gap(both, outer) > 0.01
        assert torch.equal(model(TWO.clean), outer)
        model.run_with_cache(TWO.clean)
        assert torch.equal(model(TWO.clean), outer)
    assert gap(outer, plain) > 0.01
    assert torch.equal(model(TWO.clean), plain)
    assert model.context_level == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_hooks_are_undone_however_the_run_ends(
    model: HookedGPTNeo, error: type[BaseException]
) -> None:
    plain = model(TWO.clean)

    def fail(x: Tensor, hook: Any) -> Tensor:
        raise error

    with pytest.raises(error), model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", double)]):
        model.run_with_hooks(TWO.clean, fwd_hooks=[(SITE, fail)], bwd_hooks=[])
    assert hooks_left(model) == 0
    assert model.context_level == 0
    assert torch.equal(model(TWO.clean), plain)


def test_hooks_at_one_site_run_in_order(model: HookedGPTNeo) -> None:
    order: list[int] = []

    def note(number: int) -> Any:
        return lambda x, hook: order.append(number)

    for number in (1, 2):
        model.add_hook(SITE, note(number))
    model.add_hook(SITE, note(0), prepend=True)
    model(TWO.clean)
    assert order == [0, 1, 2]


def test_hook_context_is_kept_and_cleared(model: HookedGPTNeo) -> None:
    def remember(x: Tensor, hook: Any) -> None:
        hook.ctx["norm"] = float(x.detach().norm())

    model.run_with_hooks(TWO.clean, fwd_hooks=[(SITE, remember)])
    assert model.hook_dict[SITE].ctx["norm"] > 0
    assert model.hook_dict[SITE].layer() == 1
    model.reset_hooks()
    assert not model.hook_dict[SITE].ctx


@pytest.mark.parametrize(
    "site",
    ["hook_embed", "blocks.0.attn.hook_q", "blocks.1.hook_mlp_out", "blocks.2.hook_resid_pre"],
)
def test_backward_hook_sees_what_the_bridge_sees(model: HookedGPTNeo, site: str) -> None:
    def gradient(lens: Any) -> Tensor:
        seen: list[Tensor] = []
        hooks = [(site, lambda grad, hook: seen.append(grad.clone()))]
        with lens.hooks(bwd_hooks=hooks):
            TWO.metric(lens(TWO.clean)).backward()
        lens.zero_grad()
        return seen[0]

    ours = gradient(model)
    assert gap(ours, gradient(TWO.bridge)) < 1e-5
    assert ours.abs().max() > 1e-3
    assert hooks_left(model) == 0


def test_backward_hook_replaces_the_gradient(model: HookedGPTNeo) -> None:
    def embedding_gradient(**hooks: Any) -> Tensor:
        model.zero_grad()
        with model.hooks(**hooks):
            TWO.metric(model(TWO.clean)).backward()
        gradient = model.pos_embed.W_pos.grad
        assert gradient is not None
        return gradient.clone()

    plain = embedding_gradient()
    hooks = [("blocks.0.hook_resid_pre", lambda grad, hook: 3 * grad)]
    assert gap(embedding_gradient(bwd_hooks=hooks), 3 * plain) < 1e-6


def test_caching_hooks_fill_the_dict_they_return(model: HookedGPTNeo) -> None:
    cache = model.add_caching_hooks()
    model(TWO.clean)
    model.reset_hooks()
    _, expected = model.run_with_cache(TWO.clean)
    assert list(cache) == list(expected)
    assert all(torch.equal(cache[key], x) for key, x in expected.items())
    held, forward, _ = model.get_caching_hooks(lambda name: "hook_z" in name)
    model.run_with_hooks(TWO.clean, fwd_hooks=forward)
    assert list(held) == [f"blocks.{i}.attn.hook_z" for i in range(N_LAYERS)]
