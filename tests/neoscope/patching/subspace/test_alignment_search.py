"""Subspaces that are searched for: found where one was planted, and the same in a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.tools.analysis import (
    SubspaceInterchange,
    collect_activations,
    fit_das,
    intervened_logits,
)

import neoscope as ns
from neoscope.errors import PatchingError, SiteError
from neoscope.organism.compiled import DIRECTION_TRUTH as TRUTH
from neoscope.organism.compiled import direction_prompts
from neoscope.patching.metrics import logit, logit_diff
from neoscope.patching.subspace.result import DasResult
from neoscope.patching.subspace.search import das
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching.cases import SEVERAL, model_of

PROMPTS = direction_prompts(64)
ORDER = torch.randperm(64, generator=torch.Generator().manual_seed(1))
KEPT = (PROMPTS.tokens[ORDER] != PROMPTS.tokens).any(1)
CLEAN, CORRUPTED = PROMPTS.tokens[KEPT], PROMPTS.tokens[ORDER][KEPT]
ANSWER = torch.where(PROMPTS.label, TRUTH.positive, TRUTH.negative)
RIGHT, WRONG = ANSWER[KEPT], ANSWER[ORDER][KEPT]
OPTIONS: dict[str, Any] = {"lr": 0.05, "batch_size": 32, "epochs": 15}


@pytest.fixture(scope="module")
def model() -> ns.HookedGPTNeo:
    return ns.load("direction")


@pytest.fixture(scope="module")
def found(model: ns.HookedGPTNeo) -> DasResult:
    return das(model, CLEAN, CORRUPTED, RIGHT, WRONG, layer=TRUTH.layer, **OPTIONS)


def test_one_dimension_carries_what_was_planted(found: DasResult) -> None:
    assert found.basis.shape == (64, 1) and found.dim == 1
    assert found.basis.norm() == pytest.approx(1.0, abs=1e-5)
    assert abs(float(found.basis[:, 0] @ torch.tensor(TRUTH.direction))) > 0.6
    assert found.accuracy == found.train_accuracy == 1.0
    assert found.losses[-1] < 0.01 * found.losses[0] and len(found.losses) == 15
    assert found.n_train + found.n_held_out == len(CLEAN)
    assert "1 of 64 dimensions at resid_post of layer 1" in repr(found)


def test_controls_stand_beside_it(model: ns.HookedGPTNeo, found: DasResult) -> None:
    c = found.controls
    assert c is not None and c.whole == 1.0
    assert c.nothing == c.random == c.placebo < 0.8
    assert c.arbitrary < 0.95
    early = das(model, CLEAN, CORRUPTED, RIGHT, WRONG, layer=0, controls=False, **OPTIONS)
    assert early.controls is None and early.accuracy < 0.9  # an exclusive or of two bits


def test_a_sweep_in_its_subspace_is_the_interchange(
    model: ns.HookedGPTNeo, found: DasResult
) -> None:
    metric = logit_diff(TRUTH.positive, TRUTH.negative)
    mine = found.patch(model, CLEAN, CORRUPTED, metric, progress=False)
    site = f"blocks.{TRUTH.layer}.hook_resid_post"
    last = torch.full((len(CLEAN),), 4)

    def task(tokens: Any) -> Any:
        return model(tokens)[:, -1]

    source = collect_activations(model, site, CLEAN, task, positions=last)
    step = SubspaceInterchange(found.basis)
    logits = intervened_logits(model, site, step, CORRUPTED, source, task, positions=last)
    expected = (logits[:, TRUTH.positive] - logits[:, TRUTH.negative]).numpy()
    assert mine.shape == (1, 1) and np.abs(mine.patched[:, 0, 0] - expected).max() < 1e-4
    swept = sweep(
        model, CLEAN, CORRUPTED, metric, "resid_post", subspace=found.basis,
        layers=found.layer, positions=[-1], progress=False,
    )  # fmt: skip
    assert np.array_equal(swept.patched, mine.patched)
    changed = RIGHT != WRONG
    sign = 2 * RIGHT.eq(TRUTH.positive).numpy() - 1
    assert (mine.patched[:, 0, 0] * sign)[changed].min() > 0


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_padded_prompts_give_what_transformer_lens_does(direction: str) -> None:
    """Left padding, and another token in each prompt, do not show."""
    model = model_of()
    rows = [row[-5:] for row in SEVERAL[0]], [row[-5:] for row in SEVERAL[1]]
    right, wrong = [3, 5, 7], [4, 6, 8]
    options: dict[str, Any] = {"layer": 1, "dim": 2, "site": "mlp_out", "held_out": 0}
    options |= {"epochs": 2, "batch_size": 3, "controls": False, "direction": direction}
    mine = das(model, *rows, right, wrong, position=torch.tensor([[1], [4], [3]]), **options)
    clean, corrupted = (torch.tensor(side) for side in rows)
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    where = torch.tensor([1, 4, 3])
    targets = torch.tensor([0, 2, 4] if direction == "denoise" else [1, 3, 5])
    theirs = fit_das(
        model, "blocks.1.hook_mlp_out", base, source, targets,
        lambda tokens: model(tokens)[:, -1, [3, 4, 5, 6, 7, 8]], rank=2, base_positions=where,
        source_positions=where, epochs=2, batch_size=3, lr=1e-2, seed=0,
    )  # fmt: skip
    # The order of pairs differs, so that sums are rounded otherwise.
    assert mine.losses == pytest.approx(theirs.losses, abs=1e-4)
    assert torch.allclose(mine.basis, theirs.basis, atol=1e-3)
    padded = das(model, *SEVERAL, right, wrong, **options)
    patched = padded.patch(model, *SEVERAL, logit(right), progress=False)
    assert padded.accuracy == padded.train_accuracy and patched.shape == (1, 1)
    one = padded.patch(model, SEVERAL[0][:1], SEVERAL[1][:1], logit(3), progress=False)
    assert np.allclose(one.patched, patched.patched[:1], atol=1e-4)


def test_it_leaves_the_model_as_it_was_and_repeats_itself() -> None:
    model = model_of()
    before = model.fingerprint()
    options: dict[str, Any] = {"layer": 1, "held_out": 0, "epochs": 2, "controls": False}
    with torch.no_grad():
        one = das(model, *SEVERAL, [3, 5, 7], 4, **options)
    two = das(model, *SEVERAL, [3, 5, 7], 4, **options)
    assert torch.equal(one.basis, two.basis) and one.losses == two.losses
    assert not torch.equal(one.basis, das(model, *SEVERAL, [3, 5, 7], 4, seed=1, **options).basis)
    assert model.fingerprint() == before and not model.is_edited
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_targets_are_what_a_causal_model_says() -> None:
    model = model_of()
    options: dict[str, Any] = {"layer": 2, "held_out": 0, "controls": False, "dim": 16}
    options |= {"lr": 0.0, "epochs": 1}
    said = [int(model([row])[0, -1].argmax()) for row in SEVERAL[0]]
    everything = das(model, *SEVERAL, said, 1, **options)
    assert everything.accuracy == 1.0  # all of the last stream
    other = das(model, *SEVERAL, said, 1, targets=[1, 1, said[2]], **options)
    assert other.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 0}, "dim=0; expected 1 to 16, the last axis of 'resid_post'"),
        ({"dim": 17}, "dim=17"),
        ({"site": "z"}, "site='z' is by head"),
        ({"site": "resid_pots"}, "did you mean 'resid_post'"),
        ({"layer": 3}, "layer"),
        ({"position": [0, 1]}, "names 2 tokens; expected one"),
        ({"position": 9}, "position: 9 is out of range"),
        ({"held_out": 1.0}, "held_out=1.0; expected a share"),
        ({"held_out": 0.1}, "held_out=0.1 of 3 pairs is none"),
        ({"direction": "both"}, "direction='both'"),
        ({"wrong": [3, 3, 3], "answer": [3, 3, 3]}, "all answers are the same token"),
    ],
)
def test_what_cannot_be_searched_is_refused(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"layer": 1, "answer": [3, 5, 7], "wrong": 4, "held_out": 0} | options
    with pytest.raises((PatchingError, SiteError), match=said):
        das(model_of(), *SEVERAL, **given)


def test_a_subspace_of_another_model_is_refused(found: DasResult) -> None:
    with pytest.raises(PatchingError, match="is another model"):
        found.patch(model_of(), *SEVERAL, logit(3), progress=False)
