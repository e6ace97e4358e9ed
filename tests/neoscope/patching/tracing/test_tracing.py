"""Causal traces against whole runs of the model, one for each draw and state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import neoscope as ns
from neoscope.edit import Edit
from neoscope.edits import add, transform
from neoscope.patching.engine.cells import Cell
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from neoscope.patching.tracing.noising import unit_noise
from neoscope.patching.tracing.subjects import ROLES, subject_mask
from neoscope.patching.tracing.tracing import trace
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import model_of
from tests.neoscope.patching.tracing.cases import (
    OPTIONS,
    SUBJECT,
    TEXTS,
    answers,
    traced,
)


@torch.no_grad()
def expected(
    model: ns.HookedGPTNeo, prompts: Prompts, cells: Sequence[Cell], noise: Tensor
) -> np.ndarray:
    """Probabilities of the answers in whole runs, [pairs, cells]; the last is of the noised run."""
    tokens = plain.tokens_of(prompts, "clean")
    donor = plain.donor_of(model, tokens)
    noised = add("embed", None, value=noise)
    out = []
    for cell in [*cells, None]:
        restored = [] if cell is None else [restore(cell, at, donor) for at in layers_of(cell)]
        logits = model.run_with_edits(tokens, [noised, *restored])[:, -1]
        out.append(logits.softmax(-1)[torch.arange(len(prompts)), torch.tensor(answers(model))])
    return torch.stack(out, 1).numpy()


def layers_of(cell: Cell) -> Sequence[int | None]:
    return [None] if cell.layer is None else cell.layers


def restore(cell: Cell, layer: int | None, donor: plain.Donor) -> Edit:
    def change(here: Tensor) -> Tensor:
        assert cell.columns is not None
        where = cell.columns == torch.arange(here.shape[1])  # [pairs, pos]
        where = where.view(*where.shape, *[1] * (here.ndim - 2))
        if cell.head is not None:
            where = where & (torch.arange(here.shape[2]) == cell.head)[:, None]
        return torch.where(where, donor(cell.site, layer), here)

    return transform(cell.site, layer, change)


@pytest.mark.parametrize(
    ("kind", "site", "window"),
    [
        ("mixed", "resid_pre", None),
        ("mixed", "mlp_out", None),
        ("mixed", "embed", None),
        ("mixed", "z", None),
        ("mixed", "attn_out", 3),
        ("mixed", "resid_post", 2),
        ("local", "resid_post", None),
        ("local", "mlp_out", 2),
        ("global", "attn_out", None),
        ("global", "mlp_out", 3),
    ],
)
def test_every_cell_of_every_draw_is_a_whole_run(kind: str, site: str, window: int | None) -> None:
    model = model_of(kind)
    n = model.config.n_layers
    found = traced(model, site=site, window=window)
    prompts = read_prompts(model, TEXTS)
    # Prompts of several lengths are aligned at their ends.
    columns = [
        torch.tensor([[c if c >= prompts.n_columns - k else -1] for k in prompts.lengths])
        for c in range(prompts.n_columns)
    ]
    around = {
        None: lambda at: at,
        2: lambda at: tuple(range(max(0, at - 1), at + 1)),
        3: lambda at: tuple(range(max(0, at - 1), min(n, at + 2))),
    }[window]
    layers = [None] if site == "embed" else [around(at) for at in range(n)]
    heads = range(model.config.n_heads) if site in ("z", "k") else [None]
    cells = [Cell(site, *at) for at in itertools.product(layers, heads, columns)]
    missing = np.array([[c[k, 0] < 0 for c in columns] for k in range(3)])
    missing = np.tile(missing, len(cells) // len(columns))
    mask = subject_mask(prompts, SUBJECT)
    for draw in range(3):
        noise = unit_noise(prompts, mask, model.config.d_model, seed=0, draw=draw) * 3 * 0.4
        probabilities = expected(model, prompts, cells, noise)
        mine = found.drawn[draw].reshape(3, -1)
        assert np.isnan(mine).tolist() == missing.tolist()
        assert np.nanmax(np.abs(mine - probabilities[:, :-1])) < 2e-6
        assert np.abs(found.noised[draw] - probabilities[:, -1]).max() < 2e-6
    assert np.abs(found.noised - found.clean).max() > 0.01
    assert np.allclose(found.patched, found.drawn.mean(0), equal_nan=True)
    assert np.allclose(found.corrupted, found.noised.mean(0))
    assert np.allclose(found.values, found.effects_by_draw.mean(0), equal_nan=True)


def test_all_noised_tokens_restored_before_the_first_layer_are_the_total_effect() -> None:
    model = model_of()
    for where in ({"subject": SUBJECT}, "all"):
        for options in ({"site": "embed"}, {"site": "resid_pre", "layers": 0}):
            found = traced(model, positions=where, **options)
            assert np.allclose(found.values.reshape(3), found.total, rtol=1e-4, atol=1e-6)
            assert abs(found.mean.item() - found.total_effect) < 1e-6
    assert found.total_effect == pytest.approx(float((found.clean - found.noised).mean()))
    assert found.total_stderr == pytest.approx(found.total.std(ddof=1) / np.sqrt(3))


def test_all_of_the_last_layer_restored_is_the_clean_run() -> None:
    found = traced(model_of(), layers=-1, positions="all")
    assert np.abs(found.drawn - found.clean[None, :, None]).max() < 1e-6


@pytest.mark.parametrize("window", [None, 2])
def test_left_of_the_subject_nothing_can_move(window: int | None) -> None:
    texts = [row[:4] for row in TEXTS]
    for site in ("mlp_out", "resid_pre"):
        found = trace(model_of(), texts, [2, 3], 3, site=site, window=window, **OPTIONS)
        assert not found.values[..., :2].any() and not found.ran[:, :2].any()
        assert found.values[:, 0, 2].all()


def test_noise_knows_seed_draw_and_prompt_and_not_its_batch() -> None:
    model = model_of()
    together = traced(model)
    for k, text in enumerate(TEXTS):
        alone = trace(model, text, SUBJECT[k], answers(model)[k], **OPTIONS)
        mine = together.drawn[:, k, :, -len(text) :]
        assert np.allclose(alone.drawn[:, 0], mine, atol=1e-7)
    small = traced(model, batch_tokens=8)
    assert np.allclose(small.drawn, together.drawn, atol=1e-6, equal_nan=True)
    more = traced(model, draws=5)
    assert np.array_equal(more.drawn[:3], together.drawn, equal_nan=True)
    assert not np.isclose(traced(model, seed=1).noised, together.noised, rtol=1e-4).any()


def test_noise_is_standard_normal_on_the_subject_alone() -> None:
    prompts = read_prompts(model_of(), TEXTS)
    mask = subject_mask(prompts, SUBJECT)
    draws = torch.stack([unit_noise(prompts, mask, 400, seed=0, draw=i) for i in range(20)])
    assert not draws[:, ~mask].any() and not (draws[:, mask] == 0).any()
    assert abs(draws[:, mask].mean()) < 0.02 and abs(draws[:, mask].std() - 1) < 0.02
    # A token's noise does not depend on which other tokens have some.
    one = unit_noise(prompts, subject_mask(prompts, [[1], [2], [0]]), 400, seed=0, draw=0)
    both = one.any(-1)
    assert torch.equal(one[both], draws[0][both])


def test_restores_of_one_draw_share_their_noise() -> None:
    """A state that is restored twice gives the same number, however it is asked for."""
    model = model_of()
    whole = traced(model, site="mlp_out")
    for layer in range(3):
        part = traced(model, site="mlp_out", layers=layer, positions=[-1])
        assert np.allclose(part.drawn[..., 0, 0], whole.drawn[..., layer, -1], atol=1e-7)


def test_facts_stand_early_at_the_last_token_of_the_subject() -> None:
    model, pairs = ns.load("organism"), ns.organism.pairs("facts", 24)
    names = [text.split()[1] for text in pairs.clean]
    found = trace(model, pairs.clean, names, pairs.answer, draws=3, progress=False)
    assert found.subject == ((1,),) * 24 and found.axes[1].labels[1].endswith("*")
    assert found.axes[1].agree == (True, False, True, True)
    assert found.total_effect > 0.6
    assert found.mean[0, 1] > 0.85 * found.total_effect
    assert np.abs(found.mean[:2, [0, 2, 3]]).max() < 0.1 * found.total_effect
    assert found.p_value[0, 1] < 0.01 and found.interval[0, 0, 1] > 0.5
    by_role = found.by_role().select(layer=0)
    assert by_role.axes[0].labels == ROLES
    assert by_role.mean[2] == found.mean[0, 1] and by_role.mean[5] == found.mean[0, 3]
    assert np.isnan(by_role.mean[[0, 1, 4]]).all()
