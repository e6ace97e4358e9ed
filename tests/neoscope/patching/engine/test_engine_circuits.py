"""Compiled circuits: the exact effect of every patch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope.organism import compiled
from neoscope.patching.metrics import logit_diff, probability
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.sweeping import sweep

CORRUPTIONS = {
    "value": ("induction", compiled.pairs(4, "value"), compiled.INDUCTION_TRUTH.value),
    "key": ("induction", compiled.pairs(4, "key"), compiled.INDUCTION_TRUTH.key),
    "duplicate": (
        "duplicate-token",
        compiled.duplicate_pairs(4),
        compiled.DUPLICATE_TRUTH.earlier,
    ),
}


@functools.cache
def loaded(name: str) -> ns.HookedGPTNeo:
    return ns.load(name)


def swept(name: str, found: Any, site: str, direction: str, **options: Any) -> PatchingResult:
    metric = logit_diff(found.answer, found.wrong)
    return sweep(
        loaded(name),
        found.clean,
        found.corrupted,
        metric,
        site,
        direction=direction,
        progress=False,
        **options,
    )


def share(result: PatchingResult) -> np.ndarray:
    """The patched metric of each pair, 0 as the corrupted run and 1 as the clean one."""
    assert result.clean is not None
    assert result.corrupted is not None
    shape = (-1, *[1] * len(result.axes))
    clean, corrupted = result.clean.reshape(shape), result.corrupted.reshape(shape)
    return (result.patched - corrupted) / (clean - corrupted)


def same(found: np.ndarray, expected: Any, tolerance: float = 2e-5) -> None:
    grid = np.array(expected)
    assert found.shape[1:] == grid.shape
    assert np.abs(found - grid).max() < tolerance


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_heads_of_compiled_circuits(name: str, direction: str) -> None:
    model, found, truth = CORRUPTIONS[name]
    result = swept(model, found, "z", direction, positions="all")
    assert result.clean is not None
    assert result.corrupted is not None
    assert np.abs(result.clean - truth.clean).max() < 1e-4
    assert np.abs(result.corrupted - truth.corrupted).max() < 1e-4
    same(share(result), getattr(truth, direction))
    # A head's whole output is its z.
    whole = swept(model, found, "result", direction, positions="all")
    same(share(whole), getattr(truth, direction))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_everything_patched_is_the_other_run_and_nothing_left_of_the_change(name: str) -> None:
    model, found, truth = CORRUPTIONS[name]
    stream = swept(model, found, "resid_pre", "denoise")
    same(share(stream)[:, 0, truth.changed], 1.0)
    assert not stream.values[:, :, : truth.changed].any()
    assert not stream.values[:, 0, truth.changed + 1 :].any()
    ran = stream.ran
    assert ran is not None
    assert not ran[:, : truth.changed].any()
    assert not ran[0, truth.changed + 1 :].any()
    assert ran[:, truth.changed].all()
    same(share(swept(model, found, "resid_post", "denoise", positions="all")), [1.0] * len(ran))


def test_keys_and_values_of_the_induction_head() -> None:
    at = compiled.INDUCTION_TRUTH.induction
    # The answer was replaced: its value is copied; nobody looks for it by its key or query.
    moved = {site: swept("induction", CORRUPTIONS["value"][1], site, "denoise") for site in "qkv"}
    place = compiled.INDUCTION_TRUTH.value.changed
    same(share(moved["v"])[:, at[0], at[1], place], 1.0)
    assert np.abs(moved["v"].values).sum() == pytest.approx(
        np.abs(moved["v"].values[:, at[0], at[1], place]).sum(), rel=1e-4
    )
    assert np.abs(moved["q"].values).max() < 1e-4
    assert np.abs(moved["k"].values).max() < 1e-4
    # The word before it was replaced: the head no longer finds the key one further on.
    place = compiled.INDUCTION_TRUTH.key.changed
    keys = swept("induction", CORRUPTIONS["key"][1], "k", "denoise")
    same(share(keys)[:, at[0], at[1], place + 1], 1.0)
    patterns = swept("induction", CORRUPTIONS["key"][1], "pattern", "denoise", positions=[-1])
    same(share(patterns)[:, at[0], at[1], 0], 1.0)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("corruption", ["value", "key"])
def test_nothing_gets_through_a_window_too_short(corruption: Any, direction: str) -> None:
    found = compiled.pairs(3, corruption)
    result = swept("induction-short-window", found, "z", direction, positions="all")
    same(result.patched, compiled.SHORT_WINDOW_TRUTH.patched)
    with pytest.raises(ns.errors.PatchingError, match="cannot normalise"):
        result.normalised()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("gate", ["and", "or"])
def test_gates_are_no_mirror_images(gate: Any, direction: str) -> None:
    truth = compiled.GATES_TRUTH.both if gate == "and" else compiled.GATES_TRUTH.either
    found = compiled.gate_pairs(gate)
    result = swept("gates", found, "z", direction, positions="all")
    same(share(result), getattr(truth, direction))
    both = swept("gates", found, "z", direction, heads="all", positions="all")
    same(share(both), [getattr(truth, f"{direction}_both")])
    mlp = swept("gates", found, "mlp_out", direction, positions="all")
    same(share(mlp), [getattr(truth, f"{direction}_mlp")])
    neurons = swept("gates", found, "post", direction, positions=[-1], units="each")
    live = np.abs(neurons.values[0, 0, 0]) > 1e-4
    assert set(np.flatnonzero(live).tolist()) == set(truth.neurons)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("relation", [0, 1])
def test_every_place_of_the_fact_memory(relation: int, direction: str) -> None:
    found = compiled.fact_pairs(relation)
    truth = getattr(compiled.FACT_TRUTH, direction)
    for site in ("attn_out", "mlp_out"):
        same(share(swept("facts", found, site, direction)), getattr(truth, site))
    same(share(swept("facts", found, "resid_pre", direction)), truth.resid[:-1])
    same(share(swept("facts", found, "resid_post", direction, layers=-1))[:, 0], truth.resid[-1])
    heads = swept("facts", found, "z", direction, positions="all")
    same(share(heads), truth.heads[relation])


def test_probability_restored_in_the_fact_memory() -> None:
    found, truth = compiled.fact_pairs(0), compiled.FACT_TRUTH
    result = sweep(
        loaded("facts"), found.clean, found.corrupted, probability(found.answer), progress=False
    )
    assert result.unit == "probability"
    same(result.patched[:, 0, truth.subject_position], truth.probability)
    same(result.patched[:, 1, 0], truth.corrupt_probability)


def test_generator_is_not_touched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    swept("gates", compiled.gate_pairs("and"), "z", "denoise")
    assert torch.equal(torch.rand(1), expected)
