"""A KV cache: however a text is cut into steps, the numbers are those of one run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.errors import NeoscopeError, SiteError, TokenizationError

IDS = (torch.arange(3 * 40).view(3, 40) * 7) % 50


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.HookedGPTNeo.from_config(
        ns.NeoConfig(
            n_layers=3,
            d_model=24,
            n_heads=3,
            n_ctx=40,
            d_vocab=50,
            window_size=5,
            init_range=0.2,
        )
    )


def steps(
    model: ns.HookedGPTNeo, ids: Tensor, cuts: list[int], mask: Tensor | None, full: bool = False
) -> Tensor:
    """Run a text in pieces; the mask is given for each piece, or for all so far."""
    past, out, start = ns.KVCache(), [], 0
    for stop in [*cuts, ids.shape[1]]:
        part = None if mask is None else mask[:, 0 if full else start : stop]
        out.append(model(ids[:, start:stop], part, past=past))
        assert past.length == stop and past.batch == len(ids)
        start = stop
    return torch.cat(out, dim=1)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 39), unique=True, max_size=8).map(sorted),
    grad=st.booleans(),
    full=st.booleans(),
    data=st.data(),
)
def test_steps_give_the_numbers_of_one_run(
    model: ns.HookedGPTNeo, cuts: list[int], grad: bool, full: bool, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["none", "left", "right", "holes"]))
    mask = None
    if kind != "none":
        # A first piece of ragged rows, then real tokens: what generation does.
        n = cuts[0] if cuts else 40
        real = torch.tensor(data.draw(st.lists(st.integers(1, n), min_size=3, max_size=3)))
        mask = torch.ones(3, 40, dtype=torch.bool)
        column = torch.arange(n)
        mask[:, :n] = column < real[:, None] if kind != "left" else column >= n - real[:, None]
        if kind == "holes":
            mask[:, n:] = torch.rand(3, 40 - n, generator=torch.Generator().manual_seed(n)) < 0.7
    with torch.set_grad_enabled(grad):
        whole = model(IDS, mask)
        pieces = steps(model, IDS, cuts, mask, full)
    real = torch.ones_like(IDS).bool() if mask is None else mask
    torch.testing.assert_close(pieces[real], whole[real], rtol=0, atol=1e-5)


def test_it_grows_by_doubling(model: ns.HookedGPTNeo) -> None:
    past, sizes = ns.KVCache(), []
    with torch.no_grad():
        for i in range(40):
            model(IDS[:, i : i + 1], past=past)
            sizes.append(past._keys[0].shape[2])
    assert sizes == [16] * 16 + [32] * 16 + [64] * 8
    assert len(past._keys) == len(past._values) == 3
    with pytest.raises(TokenizationError, match="41 tokens, but the model's context is 40"):
        model(IDS[:, :1], past=past)
    assert past.length == 40


@pytest.mark.parametrize("first", ["grad", "no_grad", "inference"])
@pytest.mark.parametrize("then", ["grad", "no_grad", "inference"])
def test_grad_modes_may_change_between_steps(model: ns.HookedGPTNeo, first: str, then: str) -> None:
    modes: dict[str, Any] = {
        "grad": torch.enable_grad,
        "no_grad": torch.no_grad,
        "inference": torch.inference_mode,
    }
    past = ns.KVCache()
    with torch.no_grad():
        whole = model(IDS)
    out = []
    for i, mode in enumerate([first, then, first, then]):
        with modes[mode]():
            out.append(model(IDS[:, 10 * i : 10 * i + 10], past=past))
    torch.testing.assert_close(torch.cat(out, 1), whole, rtol=0, atol=1e-5)


def test_gradients_flow_through_the_past(model: ns.HookedGPTNeo) -> None:
    def gradient(cut: int | None) -> Tensor:
        past = ns.KVCache()
        if cut is not None:
            model(IDS[:, :cut], past=past)
        last = model(IDS[:, cut or 0 :], past=past)[:, -1].logsumexp(-1).sum()
        (found,) = torch.autograd.grad(last, [model.blocks[0].attn.weight_qkv])
        return found

    torch.testing.assert_close(gradient(20), gradient(None), rtol=1e-3, atol=1e-5)


def test_another_batch_is_refused(model: ns.HookedGPTNeo) -> None:
    past = ns.KVCache()
    model(IDS, past=past)
    with pytest.raises(TokenizationError, match="holds 3 rows, but 1 rows of new tokens"):
        model(IDS[:1, :1], past=past)
    past = ns.KVCache()
    model(IDS[:, :5], past=past)
    with pytest.raises(TokenizationError, match="holds 3 rows, but 1 rows of new tokens"):
        model(IDS[:1, :1], [[1] * 6], past=past)
    with pytest.raises(TokenizationError, match="attention_mask has shape"):
        model(IDS[:, :1], [[1, 1, 1]] * 3, past=past)
    assert past.length == 5


def test_a_forward_that_failed_leaves_nothing_behind(model: ns.HookedGPTNeo) -> None:
    def fail(x: Tensor, hook: Any) -> None:
        raise KeyboardInterrupt

    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            past = ns.KVCache()
            for cut in (0, 5):
                for rows in (3, 1) if cut == 0 else (3,):
                    with (
                        model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", fail)]),
                        pytest.raises(KeyboardInterrupt),
                    ):
                        model(IDS[:rows, cut : cut + 20], past=past)
                assert past.length == cut and past.batch == (3 if cut else None)
                model(IDS[:, cut : cut + 5], past=past)
            torch.testing.assert_close(
                model(IDS[:, 10:], past=past), model(IDS)[:, 10:], rtol=0, atol=1e-5
            )


def test_masks_are_joined(model: ns.HookedGPTNeo) -> None:
    past = ns.KVCache()
    model(IDS[:2, :2], past=past)
    assert past.mask is None and past.full_mask(None, 2, 3) is None
    new = torch.tensor([[True], [False]])
    joined = past.full_mask(new, 2, 1)
    assert joined is not None and joined.tolist() == [[True, True, True], [True, True, False]]
    model(IDS[:2, 2:3], new, past=past)
    assert past.mask is not None and torch.equal(past.mask, joined)
    again = past.full_mask(None, 2, 2)
    assert again is not None and again[:, 3:].all() and torch.equal(again[:, :3], joined)


def test_it_needs_every_layer(model: ns.HookedGPTNeo) -> None:
    for options in ({"start_at_layer": 0}, {"stop_at_layer": 1}):
        with pytest.raises(SiteError, match="a KV cache needs every layer"):
            model(IDS, past=ns.KVCache(), **options)
    assert issubclass(SiteError, NeoscopeError)


def test_cached_sites_of_a_step_are_those_of_the_new_tokens(model: ns.HookedGPTNeo) -> None:
    _, whole = model.run_with_cache(IDS)
    past = ns.KVCache()
    model(IDS[:, :30], past=past)
    _, step = model.run_with_cache(IDS[:, 30:], past=past)
    for name, x in step.items():
        full = whole[name]
        part = full[:, :, 30:] if "query" in step.axes(name) else full[:, 30:]
        torch.testing.assert_close(x, part, rtol=0, atol=1e-5, msg=name)
    past = ns.KVCache()
    model(IDS[:, :30], past=past)
    with pytest.raises(SiteError, match="the KV cache already holds it"):
        model.run_with_cache(IDS[:, 30:], sites="z", positions=3, past=past)
    assert past.length == 30
    _, one = model.run_with_cache(IDS[:, 30:], sites="z", positions=[30, -1], past=past)
    torch.testing.assert_close(one["z", 1], step["z", 1][:, [0, -1]], rtol=0, atol=1e-5)


def test_rows_are_picked_and_repeated(model: ns.HookedGPTNeo) -> None:
    mask = torch.arange(10)[None] >= torch.tensor([[0], [4], [7]])
    rows = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        past = ns.KVCache(capacity=25)
        model(IDS[:, :10], mask, past=past)
        assert past._keys[0].shape[2] == 25
        past.pick(rows)
        assert past.batch == 4
        steps = model(IDS[rows, 10:20], past=past)
        whole = model(IDS[rows, :20], torch.cat([mask, mask.new_ones(3, 10)], 1)[rows])
    torch.testing.assert_close(steps, whole[:, 10:], rtol=0, atol=1e-5)
    assert past._keys[0].shape[2] == 25 and past.length == 20
    assert past.layer(1)[0].shape == (4, 3, 20, 8)


def test_unpadded_rows_are_picked_too(model: ns.HookedGPTNeo) -> None:
    past = ns.KVCache()
    with torch.no_grad():
        model(IDS[:, :10], past=past)
        past.pick(torch.tensor([1]))
        assert past.mask is None
        step = model(IDS[1:2, 10:], past=past)
    torch.testing.assert_close(step, model(IDS)[1:2, 10:], rtol=0, atol=1e-5)
