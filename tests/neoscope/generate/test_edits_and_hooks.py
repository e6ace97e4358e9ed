"""Each step's logits are those of a forward, with the same edits, over all so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

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
from neoscope.errors import SiteError
from neoscope.generate import caching
from tests.neoscope.generate.peers import prompts, ragged, random_pair, unique_token
from tests.neoscope.generate.steps import NEW, VECTOR, D, Logits, same_as_forwards


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
