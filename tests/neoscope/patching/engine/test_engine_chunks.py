"""Chunks, batches, metric positions: how the work is cut changes no number and bounds memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.engine import walk as walk_module
from neoscope.patching.engine.cells import SITES, Cell
from neoscope.patching.engine.exact import exact_effects
from neoscope.patching.engine.memory import read_budget
from neoscope.patching.metrics import logit_diff
from neoscope.patching.prompts.pairs import Prompts
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import (
    SEVERAL,
    cells_of,
    check_exact,
    mixed_cells,
    model_of,
    projected,
    prompts_of,
)

MODEL = model_of()
PROMPTS = prompts_of(MODEL)
CELLS = mixed_cells(MODEL, PROMPTS, 9)[:40]
FEW = CELLS[:15]  # For budgets of a pair or two, which take a walk for each cell.
ANSWERS = logit_diff([1, 2, 3], [4, 5, 6])


@pytest.mark.parametrize("budget", [8, 17, 50, 333])
def test_any_budget_gives_the_same_numbers(budget: int) -> None:
    # 8 tokens hold one pair; 17 two batches of pairs; a function must still see all pairs at once.
    check_exact(MODEL, PROMPTS, CELLS if budget > 20 else FEW, batch_tokens=budget)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("budget", [8, 32, 4096])
def test_answer_metrics_and_their_components(budget: int, direction: str) -> None:
    logits, _ = plain.patched(MODEL, PROMPTS, CELLS[:20], direction=direction)
    found = exact_effects(
        MODEL, PROMPTS, ANSWERS, CELLS[:20], direction=direction, batch_tokens=budget
    )
    for i, answer, wrong in ((0, 1, 4), (1, 2, 5), (2, 3, 6)):
        parts = logits[:, i][:, [answer, wrong]].numpy()
        np.testing.assert_allclose(found.components[i], parts, rtol=1e-5, atol=1e-4)
        gap = found.patched[i] - (parts[:, 0] - parts[:, 1])
        assert np.abs(gap).max() < 1e-5 * np.abs(found.patched).max()


@pytest.mark.parametrize("budget", [8, 4096])
@pytest.mark.parametrize("positions", [0, 2, -2, [1, 3], [3, 1], [-1, 0], slice(0, 3)])
def test_metric_positions_in_the_middle(positions: Any, budget: int) -> None:
    columns = PROMPTS.columns(positions, "positions").sort(dim=1).values
    check_exact(
        MODEL,
        PROMPTS,
        CELLS if budget > 20 else FEW,
        columns=columns,
        metric_positions=positions,
        batch_tokens=budget,
    )


def test_metric_positions_of_each_pair() -> None:
    positions = torch.tensor([[1, 4], [6, 2], [0, 0]])
    columns = PROMPTS.columns(positions, "positions").sort(dim=1).values
    check_exact(MODEL, PROMPTS, CELLS, columns=columns, metric_positions=positions)


@pytest.mark.parametrize("budget", [8, 4096])
def test_all_metric_positions(budget: int) -> None:
    def real(logits: Tensor) -> Tensor:
        assert logits.shape[:2] == (3, 8)
        # What stands in padding means nothing.
        return projected(logits.masked_fill(~PROMPTS.mask[:, :, None], 0.0))

    logits, _ = plain.patched(MODEL, PROMPTS, CELLS[:20], everywhere=True)
    expected = torch.stack([real(rows) for rows in logits], 1)
    found = exact_effects(
        MODEL, PROMPTS, real, CELLS[:20], metric_positions="all", batch_tokens=budget
    )
    assert plain.differences(found.patched, expected) < 1e-5


@settings(max_examples=12, phases=[Phase.generate])
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    draw = data.draw
    layers = draw(st.integers(1, 3))
    kinds = draw(st.lists(st.sampled_from(["global", "local"]), min_size=layers, max_size=layers))
    model = plain.random_model(
        n_layers=layers,
        n_heads=draw(st.sampled_from([1, 2, 4])),
        attention_layers=tuple(kinds),
        window_size=draw(st.integers(1, 6)),
    )
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    token = st.integers(0, 39)
    clean = [draw(st.lists(token, min_size=n, max_size=n)) for n in lengths]
    corrupted = []
    for row in clean:
        at = draw(st.sets(st.integers(0, len(row) - 1), min_size=1, max_size=3))
        corrupted.append([(x + 1) % 40 if i in at else x for i, x in enumerate(row)])
    prompts = prompts_of(model, (clean, corrupted))
    cells = [
        cell
        for site in draw(st.sets(st.sampled_from(sorted(SITES)), min_size=1, max_size=4))
        for cell in cells_of(site, model, prompts)[:: draw(st.integers(3, 9))]
    ]
    positions = draw(st.sampled_from([None, 0, -1]))
    check_exact(
        model,
        prompts,
        cells,
        direction=draw(st.sampled_from(["denoise", "noise"])),
        columns=prompts.columns(-1 if positions is None else positions, "positions"),
        metric_positions=positions,
        batch_tokens=prompts.n_columns + draw(st.integers(0, 60)),
        most=12,
    )


@pytest.mark.parametrize("budget", [8, 20, 60])
def test_a_walk_holds_no_more_tokens_than_its_budget(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    admit = walk_module.Walk._admit

    def spy(self: Any, layer: int, tokens: Any) -> Any:
        changed = admit(self, layer, tokens)
        held.append(len(self.stream))
        assert self.tails.n_tokens == len(self.stream) == int(np.sum(8 - self.tails.start))
        return changed

    monkeypatch.setattr(walk_module.Walk, "_admit", spy)
    exact_effects(MODEL, PROMPTS, ANSWERS, CELLS, batch_tokens=budget)
    assert budget / 2 < max(held) <= budget


def test_more_tokens_at_once_are_fewer_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []
    run = walk_module.Walk.run

    def spy(self: Any, first: int) -> Any:
        walks.append(first)
        return run(self, first)

    monkeypatch.setattr(walk_module.Walk, "run", spy)
    counts = []
    for budget in (8, 60, 4096):
        walks.clear()
        exact_effects(MODEL, PROMPTS, ANSWERS, CELLS, batch_tokens=budget)
        counts.append(len(walks))
    assert counts[0] > counts[1] > counts[2]
    assert counts[2] == 1


@pytest.mark.parametrize("budget", [7, 1, 0, -5])
def test_a_budget_too_small_for_one_prompt(budget: int) -> None:
    with pytest.raises(
        PatchingError, match=rf"batch_tokens={budget} does not hold.*give 8 or more"
    ):
        exact_effects(MODEL, PROMPTS, ANSWERS, CELLS[:2], batch_tokens=budget)


def test_what_stands_right_of_the_metric_needs_no_budget() -> None:
    exact_effects(MODEL, PROMPTS, ANSWERS, CELLS[:2], metric_positions=0, batch_tokens=4)


@pytest.mark.parametrize("budget", ["many", 99.5, float("nan")])
def test_a_budget_that_is_no_whole_number(budget: Any) -> None:
    with pytest.raises(PatchingError, match=r"batch_tokens=.*whole number"):
        read_budget(budget, 8, torch.device("cpu"))


def test_no_cells() -> None:
    with pytest.raises(PatchingError, match="nothing to patch"):
        exact_effects(MODEL, PROMPTS, ANSWERS, [])


def test_joint_functions_see_every_pair_once_in_order_for_each_cell() -> None:
    seen: list[tuple[int, ...]] = []

    def metric(logits: Tensor) -> Tensor:
        seen.append(tuple(logits.shape))
        return logits[:, -1, 1] - logits[:, -1].mean()  # depends on all pairs

    cells = [Cell("resid_pre", layer) for layer in range(3)]
    logits, _ = plain.patched(MODEL, PROMPTS, cells)
    expected = torch.stack([rows[:, 1] - rows.mean() for rows in logits], 1)
    for budget in (8, 4096):
        found = exact_effects(MODEL, PROMPTS, metric, cells, batch_tokens=budget)
        assert plain.differences(found.patched, expected) < 1e-5
    assert set(seen) == {(3, 1, 40)}


def test_a_pair_by_itself_gives_what_it_gives_among_others() -> None:
    whole = exact_effects(MODEL, PROMPTS, logit_diff(1, 4), CELLS)
    for i, (clean, corrupted) in enumerate(zip(*SEVERAL, strict=True)):
        cells = [_of_pair(cell, PROMPTS, i) for cell in CELLS]
        one = exact_effects(
            MODEL, prompts_of(MODEL, ([clean], [corrupted])), logit_diff(1, 4), cells
        )
        np.testing.assert_allclose(one.patched[0], whole.patched[i], rtol=1e-4, atol=1e-4)


def _of_pair(cell: Cell, prompts: Prompts, pair: int) -> Cell:
    pad = prompts.n_columns - prompts.lengths[pair]
    columns, keys = (
        None if where is None else torch.where(where < 0, -1, where - pad)[pair : pair + 1]
        for where in (cell.columns, cell.keys)
    )
    return Cell(cell.site, cell.layer, cell.head, columns, cell.unit, keys)
