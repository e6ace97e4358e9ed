"""TransformerLens's interchange interventions and distributed alignment search on our model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.tools.analysis import (
    NormMatchedPlacebo,
    SubspaceInterchange,
    collect_activations,
    fit_das,
    intervened_logits,
    neuron_basis,
    random_basis,
)

from tests.neoscope.interop_models import N_POS, fresh, fresh_bridge, gap, pair

TWO = pair()
SITE = "blocks.2.hook_resid_post"
BASE = torch.randint(1, 16, (24, N_POS), generator=torch.Generator().manual_seed(1))
SOURCE = torch.randint(1, 16, (24, N_POS), generator=torch.Generator().manual_seed(2))
LAST = torch.full((24,), N_POS - 1)


def classes(model: Any) -> Any:
    return lambda tokens: model(tokens)[:, -1, :4]


def interchanged(model: Any, intervention: Any, site: str = SITE) -> Tensor:
    task = classes(model)
    source = collect_activations(model, site, SOURCE, task, positions=LAST)
    logits: Tensor = intervened_logits(
        model, site, intervention, BASE, source, task, positions=LAST
    )
    return logits


@pytest.mark.parametrize("site", ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"])
def test_interchange_equals_the_bridge(site: str) -> None:
    step = SubspaceInterchange(random_basis(16, 3, seed=0))
    placebo = NormMatchedPlacebo(step, random_basis(16, 3, seed=1))
    for intervention in (step, placebo):
        ours, theirs = (interchanged(m, intervention, site) for m in (TWO.ours, TWO.bridge))
        assert gap(ours, theirs) < 5e-5


def test_neurons_are_interchanged_as_in_the_bridge() -> None:
    step = SubspaceInterchange(neuron_basis(24, [1, 7, 20]))
    ours, theirs = (interchanged(m, step, "blocks.1.mlp.hook_post") for m in (TWO.ours, TWO.bridge))
    assert gap(ours, theirs) < 1e-5


def test_interchange_of_the_whole_last_stream_gives_the_source() -> None:
    logits = interchanged(TWO.ours, SubspaceInterchange(torch.eye(16)))
    assert gap(logits, classes(TWO.ours)(SOURCE)) < 1e-5


def test_das_learns_and_leaves_the_model_as_it_was() -> None:
    model = fresh()
    options: dict[str, Any] = {"base_positions": LAST, "source_positions": LAST, "rank": 4}
    targets = classes(model)(SOURCE).argmax(-1)

    def fit(lens: Any, **more: Any) -> Any:
        return fit_das(lens, SITE, BASE, SOURCE, targets, classes(lens), **(options | more))

    before = model.fingerprint()
    learned = fit(model, epochs=20, batch_size=8, lr=0.05)
    assert learned.losses[-1] < 0.7 * learned.losses[0]
    accuracy, chance = (
        (interchanged(model, SubspaceInterchange(basis)).argmax(-1) == targets).float().mean()
        for basis in (learned.basis, random_basis(16, 4, seed=0))
    )
    assert accuracy > chance
    assert model.fingerprint() == before
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    # One step of one direction: more of them differ by what Adam makes of rounding.
    one = {"epochs": 1, "batch_size": 24, "rank": 1}
    ours, theirs = fit(model, **one), fit(fresh_bridge(), **one)
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    assert gap(ours.basis, theirs.basis) < 1e-5
