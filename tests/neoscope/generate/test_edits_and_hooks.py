"""Each step's logits are those of a forward, with the same edits and hooks, over all so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edit import Edit
from neoscope.edits import (
    ablate,
    add,
    mean_ablate,
    replace,
    resample,
    scale,
    steer,
    transform,
)
from neoscope.errors import GenerationError, SiteError
from neoscope.generate import caching
from tests.neoscope.generate.peers import prompts, ragged, random_pair, unique_token

D = 24
VECTOR = torch.linspace(-2, 2, D)
NEW = 7


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return random_pair(1)[1]


def cached(model: ns.HookedGPTNeo, rows: int = 1) -> ns.ActivationCache:
    return model.run_with_cache(prompts(model, rows, 6, seed=44))[1]


KEPT: dict[str, Sequence[Edit]] = {
    "ablate": [ablate("z", 1, 2)],
    "ablate a position": [ablate("resid_post", 0, positions=2)],
    "ablate positions": [ablate("mlp_out", 1, positions=[0, 3, 5])],
    "a slice": [ablate("attn_out", 0, positions=slice(2, 5))],
    "an open slice": [scale("resid_mid", 1, 0.5, positions=slice(3, None))],
    "units": [scale("post", 0, -2.0, unit=[1, 5, 9])],
    "steer": [steer("resid_post", 1, VECTOR, 0.7)],
    "steer a position": [steer("resid_pre", 2, VECTOR, positions=[1, 4])],
    "add a number": [add("q", 0, 0.3, head=1)],
    "replace by a number": [replace("k", 1, 0.25, positions=1)],
    "replace by a vector": [replace("resid_pre", 1, VECTOR, positions=3)],
    "keys": [ablate("pattern", 0, keys=[0, 1])],
    "scores": [replace("attn_scores", None, 9.0, keys=0)],
    "scaled pattern": [scale("pattern", 1, 0.5, head=0, positions=[2, 4])],
    "norm": [scale("ln1.scale", 1, 1.3)],
    "embeddings": [scale("embed", None, 2.0), ablate("pos_embed", None, positions=0)],
    "several": [ablate("z", 0, 0), steer("resid_post", 1, VECTOR), ablate("z", 2, positions=3)],
}
RERUN: dict[str, Callable[[ns.HookedGPTNeo], Sequence[Edit]]] = {
    "the last": lambda m: [ablate("resid_post", 1, positions=-1)],
    "the last but one": lambda m: [steer("resid_post", 0, VECTOR, positions=[-2])],
    "all but the last": lambda m: [ablate("z", 1, positions=slice(None, -1))],
    "from the third last": lambda m: [ablate("z", 1, positions=slice(-3, None))],
    "the last key": lambda m: [ablate("pattern", 1, keys=-1, positions=-1)],
    "a mean over the run": lambda m: [mean_ablate("mlp_out", 1)],
    "a mean at a position": lambda m: [mean_ablate("z", 0, 1, positions=2)],
    "a given mean": lambda m: [mean_ablate("mlp_out", 0, reference=VECTOR)],
    "a cache's mean": lambda m: [mean_ablate("mlp_out", 0, reference=cached(m))],
    "a cache's position": lambda m: [replace("resid_post", 0, cached(m), positions=3)],
    "a cache's last": lambda m: [replace("resid_post", 0, cached(m), positions=-1)],
    "a tensor": lambda m: [replace("resid_post", 0, torch.ones(2, D), positions=[1, 2])],
    "a function": lambda m: [transform("mlp_out", 1, lambda x: x.flip(1))],
    "a running mean": lambda m: [transform("resid_post", 0, lambda x: x - x.mean(1, True))],
    "a pattern that looks ahead": lambda m: [replace("pattern", 0, 0.2, head=1)],
    "a scaled and the last": lambda m: [scale("z", 0, 0.5), ablate("z", 2, positions=-1)],
}


class Logits:
    """A processor that changes nothing and keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        self.seen.append(scores.clone())
        return scores


def same_as_forwards(
    model: ns.HookedGPTNeo, ids: Tensor, edits: Sequence[Edit], **options: Any
) -> None:
    """Generate, and compare every step with a forward over the whole text."""
    logits = Logits()
    options = {"max_new_tokens": NEW, "eos_token_id": None} | options
    out = model.generate(ids, edits=edits, logits_processor=[logits], **options)
    assert len(logits.seen) == NEW and out.shape == (len(ids), ids.shape[1] + NEW)
    for step, seen in enumerate(logits.seen):
        so_far = out[:, : ids.shape[1] + step]
        with torch.no_grad():
            whole = model(so_far, edits=edits)[:, -1]
        torch.testing.assert_close(seen, whole, rtol=0, atol=2e-4)
        assert torch.equal(seen.argmax(-1), out[:, ids.shape[1] + step])


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_kv_cache_serves_edits_of_single_positions(
    model: ns.HookedGPTNeo, name: str, rows: int
) -> None:
    edits, ids = KEPT[name], prompts(model, rows, 6)
    assert caching.uses_cache(model, edits, None)
    same_as_forwards(model, ids, edits)
    same_as_forwards(model, ids, edits, use_cache=True)
    same_as_forwards(model, ids, edits, use_cache=False)
    plain, edited = (model.generate(ids, max_new_tokens=NEW, edits=e) for e in ([], edits))
    assert rows == 1 or not torch.equal(plain, edited), "the edit does nothing: no test"


@pytest.mark.parametrize("name", RERUN)
@pytest.mark.parametrize("rows", [1, 3])
def test_other_edits_run_the_whole_text(model: ns.HookedGPTNeo, name: str, rows: int) -> None:
    edits, ids = RERUN[name](model), prompts(model, rows, 6)
    assert not caching.uses_cache(model, edits, None)
    same_as_forwards(model, ids, edits)


def test_rows_drawn_from_the_run_are_drawn_at_every_step(model: ns.HookedGPTNeo) -> None:
    edits = [resample("z", 1, 0, seed=3)]
    assert not caching.uses_cache(model, edits, None)
    same_as_forwards(model, prompts(model, 4, 6), edits)


def test_positions_named_row_by_row(model: ns.HookedGPTNeo) -> None:
    ids = prompts(model, 3, 6)
    ahead = [ablate("resid_post", 1, positions=torch.tensor([[0, 2], [1, 3], [5, 0]]))]
    behind = [ablate("resid_post", 1, positions=torch.tensor([[0], [-1], [2]]))]
    assert caching.uses_cache(model, ahead, None)
    assert not caching.uses_cache(model, behind, None)
    same_as_forwards(model, ids, ahead)
    same_as_forwards(model, ids, behind)


@pytest.mark.parametrize("use_cache", [None, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_an_edit_waits_for_its_position(
    model: ns.HookedGPTNeo, use_cache: bool | None, rows: int
) -> None:
    """Position 8 is the third new token: until then, the edit is as if it were not there."""
    ids, logits = prompts(model, rows, 6), Logits()
    edits = [steer("resid_post", 0, 3 * VECTOR, positions=[1, 8])]
    before = [steer("resid_post", 0, 3 * VECTOR, positions=[1])]
    out = model.generate(
        ids, max_new_tokens=NEW, edits=edits, logits_processor=[logits], use_cache=use_cache,
        eos_token_id=None,
    )  # fmt: skip
    for step, seen in enumerate(logits.seen):
        so_far = out[:, : 6 + step]
        whole = model(so_far, edits=edits if so_far.shape[1] > 8 else before)[:, -1]
        torch.testing.assert_close(seen, whole, rtol=0, atol=2e-4)
    with pytest.raises(SiteError, match=r"position 13 is never reached; .* 13 at most"):
        model.generate(ids, max_new_tokens=NEW, edits=ablate("z", 0, positions=13))


@pytest.mark.parametrize("kind", ["kept", "rerun", "hook"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_unequal_prompts_are_edited_as_alone(model: ns.HookedGPTNeo, kind: str, side: str) -> None:
    edits = [steer("resid_post", 1, VECTOR, positions=[0, 1])]
    if kind == "rerun":
        edits = [ablate("z", 1, positions=-1), ablate("mlp_out", 0, positions=1)]
    ids, lengths = prompts(model, 3, 8), [8, 3, 5]
    mask = ragged(8, lengths, side)
    hooks = [("blocks.1.attn.hook_z", lambda z, hook: 0.5 * z)] if kind == "hook" else []
    options: dict[str, Any] = {"max_new_tokens": NEW, "eos_token_id": 3, "edits": edits}
    with model.hooks(fwd_hooks=hooks):
        together = model.generate(ids, mask, return_type="result", **options)
        for row in range(3):
            alone = model.generate(ids[row, mask[row]], return_type="result", **options)
            assert alone.tokens[0] == together.tokens[row]
            assert alone.stopped[0] == together.stopped[row]
            torch.testing.assert_close(
                torch.tensor(alone.log_probs[0]),
                torch.tensor(together.log_probs[row]),
                rtol=0,
                atol=1e-4,
            )


def test_an_ended_row_does_not_count_in_a_mean(model: ns.HookedGPTNeo) -> None:
    """Behind its end a row is padding: a mean over the run is over real tokens."""
    ids, edits = prompts(model, 2, 5), [mean_ablate("mlp_out", 1)]
    whole = model.generate(ids, max_new_tokens=8, edits=edits, eos_token_id=None)
    row, step, end = unique_token(whole[:, 5:])
    logits = Logits()
    cut = model.generate(
        ids, max_new_tokens=8, edits=edits, eos_token_id=end, pad_token_id=59,
        logits_processor=[logits],
    )  # fmt: skip
    assert cut[row, 6 + step :].tolist() == [59] * (7 - step)
    mask = torch.ones_like(cut, dtype=torch.bool)
    mask[row, 6 + step :] = False
    for n in range(5, 13):
        expected = model(cut[:, :n], mask[:, :n], edits=edits)
        other = 1 - row
        torch.testing.assert_close(
            logits.seen[n - 5][other], expected[other, -1], rtol=0, atol=2e-4
        )


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
