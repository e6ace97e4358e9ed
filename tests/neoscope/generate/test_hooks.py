"""Each step's logits are those of a forward with the same hooks, over all so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edit import Edit
from neoscope.edits import (
    ablate,
    mean_ablate,
    replace,
    steer,
    transform,
)
from neoscope.errors import GenerationError
from tests.neoscope.generate.peers import prompts, ragged, random_pair
from tests.neoscope.generate.steps import NEW, VECTOR, same_as_forwards


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


def hooked_alike(model: ns.HookedGPTNeo, ids: Tensor, **options: Any) -> None:
    same_as_forwards(model, ids, [], **options)


def test_hooks_see_the_whole_text_at_every_step(model: ns.HookedGPTNeo) -> None:
    shapes = []

    def last(z: Tensor, hook: Any) -> Tensor:
        shapes.append(z.shape[1])
        z[:, -1] *= -1
        return z

    def by_column(x: Tensor, hook: Any) -> None:
        x[:, 2] = 0.0

    ids = prompts(model, 2, 6)
    plain = model.generate(ids, max_new_tokens=NEW, eos_token_id=None)
    for hooks in (
        [("blocks.1.attn.hook_z", last)],
        [("blocks.0.hook_resid_post", by_column)],
        [("blocks.2.hook_mlp_out", lambda x, hook: x + x.mean(1, keepdim=True))],
    ):
        with model.hooks(fwd_hooks=hooks):
            hooked_alike(model, ids)
            edited = model.generate(ids, max_new_tokens=NEW, eos_token_id=None)
        assert not torch.equal(plain, edited)
    assert sorted(set(shapes)) == list(range(6, 6 + NEW))
    assert torch.equal(plain, model.generate(ids, max_new_tokens=NEW, eos_token_id=None))


def test_a_hook_on_any_module_is_seen(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 2, 6)
    for module in (model.blocks[1].mlp, model.unembed, model.ln_final):
        handle = module.register_forward_hook(lambda m, args, out: -out)
        try:
            hooked_alike(model, ids)
        finally:
            handle.remove()
    old = model.blocks[1].mlp.forward
    model.blocks[1].mlp.forward = lambda x, run: -old(x, run)
    try:
        hooked_alike(model, ids)
    finally:
        del model.blocks[1].mlp.forward
    hooked_alike(model, ids)


def test_a_word_for_hooks_is_taken(model: ns.HookedGPTNeo) -> None:
    shapes: list[int] = []

    def halve(z: Tensor, hook: Any) -> Tensor:
        shapes.append(z.shape[1])
        return z / 2

    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", halve)]):
        hooked_alike(model, prompts(model, 2, 6), use_cache=True)
        assert 1 in shapes
    edits = [transform("mlp_out", 1, torch.relu)]
    same_as_forwards(model, prompts(model, 2, 6), edits, use_cache=True)


def test_what_needs_the_whole_text_refuses_a_cache(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 2, 6)
    for edit in (ablate("z", 0, positions=-1), mean_ablate("z", 0), replace("pattern", 0, 0.5)):
        with pytest.raises(GenerationError, match=r"use_cache=True: \w+\("):
            model.generate(ids, max_new_tokens=2, edits=edit, use_cache=True)


def test_an_enclosing_with_is_heeded(model: ns.HookedGPTNeo) -> None:
    ids, edit = prompts(model, 2, 6), ablate("z", 1, positions=-1)
    inner = steer("resid_post", 0, VECTOR)
    expected = model.generate(ids, max_new_tokens=NEW, edits=[edit, inner])
    with model.edits(edit):
        assert torch.equal(model.generate(ids, max_new_tokens=NEW, edits=inner), expected)
        same_as_forwards(model, ids, [inner])
    assert not torch.equal(model.generate(ids, max_new_tokens=NEW), expected)


@pytest.mark.parametrize("name", ["kept", "rerun", "none"])
def test_beam_search_is_edited_too(model: ns.HookedGPTNeo, name: str) -> None:
    """Kept keys and values follow their beams."""
    edits = {
        "kept": [steer("resid_post", 1, VECTOR, positions=[2, 6]), ablate("z", 2, 0)],
        "rerun": [ablate("z", 1, positions=-1)],
        "none": [],
    }[name]
    ids, mask = prompts(model, 3, 6), ragged(6, [6, 3, 5], "left")
    options: dict[str, Any] = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 9}
    kept = model.generate(ids, mask, edits=edits, **options)
    assert torch.equal(kept, model.generate(ids, mask, edits=edits, use_cache=False, **options))


@pytest.mark.parametrize("edits", [[], [ablate("z", 0, 1)], [ablate("z", 0, positions=-1)]])
def test_what_a_hook_keeps_is_of_use_to_autograd(
    model: ns.HookedGPTNeo, edits: Sequence[Edit]
) -> None:
    out = model.generate(prompts(model, 1, 4), max_new_tokens=3, edits=edits)
    loss = model(out, return_type="loss")
    (gradient,) = torch.autograd.grad(loss, [model.blocks[0].attn.weight_qkv])
    assert bool(gradient.isfinite().all())
