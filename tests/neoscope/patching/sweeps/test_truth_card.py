"""The organism's truth card: every cell of a sweep over the same pairs is in its interval."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.organism import pairs, truth_card
from neoscope.patching.metrics import logit_diff
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.sweeping import sweep

CARD = truth_card()
TASKS = CARD["models"][0]["tasks"]
SHORT = ["agreement", "facts", "pronoun", "tense"]
LONG = [task for task in TASKS if task not in SHORT]


@functools.cache
def organism() -> ns.HookedGPTNeo:
    return ns.load("organism")


@functools.cache
def task_pairs(task: str) -> tuple[Any, Any, Any]:
    made = CARD["made_by"]
    found = pairs(task, made["pairs"], seed=made["pairs_seed"])
    return found.clean, found.corrupted, logit_diff(found.answer, found.wrong)


def within(result: PatchingResult, card: Any) -> None:
    """Every effect lies in the card's interval, and at its point value to the card's rounding."""
    found = share_of_means(result)
    low, high, value = (np.array(card[name], float) for name in ("low", "high", "effect"))
    assert found.shape == value.shape
    assert np.abs(found - value).max() < 5e-5
    assert (found >= low - 5e-5).all()
    assert (found <= high + 5e-5).all()


def share_of_means(result: PatchingResult) -> np.ndarray:
    assert result.clean is not None
    assert result.corrupted is not None
    clean, corrupted = result.clean.mean(), result.corrupted.mean()
    return (result.patched.mean(0) - corrupted) / (clean - corrupted)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("task", [*SHORT, "sentiment"])
def test_heads_and_layers_of_the_organism(task: str, direction: str) -> None:
    check_whole(task, direction)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("task", [task for task in LONG if task != "sentiment"])
def test_heads_and_layers_of_the_organism_over_long_prompts(task: str, direction: str) -> None:
    check_whole(task, direction)


def check_whole(task: str, direction: str) -> None:
    card = TASKS[task]
    options: Any = {"direction": direction, "positions": "all", "progress": False}
    for site, name in (("z", "heads"), ("mlp_out", "mlps"), ("attn_out", "attention")):
        result = sweep(organism(), *task_pairs(task), site, **options)
        within(result, card[name][direction])
    assert result.clean is not None
    assert result.clean.mean() == pytest.approx(card["logit_diff"]["clean"]["mean"], abs=5e-5)


@pytest.mark.parametrize("task", SHORT)
def test_positions_of_the_organism(task: str) -> None:
    check_positions(task)


@pytest.mark.slow
@pytest.mark.parametrize("task", LONG)
def test_positions_of_the_organism_over_long_prompts(task: str) -> None:
    check_positions(task)


def check_positions(task: str) -> None:
    for site, card in TASKS[task]["by_position"].items():
        layers = -1 if site == "resid_post" else None
        result = sweep(organism(), *task_pairs(task), site, layers=layers, progress=False)
        within(result, card)
