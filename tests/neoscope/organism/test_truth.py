"""Effects of patching and their intervals, as the truth card has them, are exact."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformer_lens import patching

from neoscope.edits import replace
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled, initial
from neoscope.organism.compiled import DUPLICATE_TRUTH, GATES_TRUTH, INDUCTION_TRUTH, PromptPairs
from neoscope.organism.language import pairs
from neoscope.organism.truth import Bootstrap, Patching, logit_diffs
from neoscope.organism.truth.bootstrap import rounded
from tests.neoscope.organism import brute_force as brute

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(initial.random_twin())


def known(name: str) -> tuple[Path, PromptPairs, Any]:
    """A compiled model, pairs, and what must come of patching them."""
    if name in ("value", "key"):
        found = compiled.pairs(8, name)  # type: ignore[arg-type]
        return compiled.induction(), found, getattr(INDUCTION_TRUTH, name)
    if name in ("and", "or"):
        truth = GATES_TRUTH.both if name == "and" else GATES_TRUTH.either
        return compiled.gates(), compiled.gate_pairs(name), truth  # type: ignore[arg-type]
    return compiled.duplicate_token(), compiled.duplicate_pairs(8), DUPLICATE_TRUTH.earlier


@pytest.mark.parametrize("name", ["value", "key", "and", "or", "duplicate"])
def test_effects_of_compiled_models_are_the_known_ones(name: str) -> None:
    folder, prompts, truth = known(name)
    found = Patching(HookedGPTNeo.from_pretrained(folder), prompts)
    bootstrap = Bootstrap(len(prompts.clean))
    np.testing.assert_allclose(found.clean, truth.clean, atol=1e-5)
    np.testing.assert_allclose(found.corrupted, truth.corrupted, atol=1e-5)
    for way, grid in (("denoise", truth.denoise), ("noise", truth.noise)):
        effect = bootstrap.effect(found.heads(way), found.clean, found.corrupted)  # type: ignore[arg-type]
        np.testing.assert_allclose(effect.value, grid, atol=1e-5)
        # All pairs are alike, so nothing is uncertain.
        np.testing.assert_allclose(effect.low, grid, atol=1e-5)
        np.testing.assert_allclose(effect.high, grid, atol=1e-5)


@pytest.mark.parametrize("name", ["and", "or"])
def test_effects_of_whole_layers_are_the_known_ones(name: str) -> None:
    folder, prompts, truth = known(name)
    found = Patching(HookedGPTNeo.from_pretrained(folder), prompts)

    def effect(patched: Any) -> Any:
        return Bootstrap(1).effect(patched, found.clean, found.corrupted).value

    for site, denoise, noise in (
        ("mlp_out", truth.denoise_mlp, truth.noise_mlp),
        ("attn_out", truth.denoise_both, truth.noise_both),
    ):
        assert effect(found.layers(site, "denoise")) == pytest.approx([denoise], abs=1e-5)  # type: ignore[arg-type]
        assert effect(found.layers(site, "noise")) == pytest.approx([noise], abs=1e-5)  # type: ignore[arg-type]
    # The inputs stand at positions 1 and 2; the MLP answers at 3, which has read both.
    stream = found.positions("resid_pre")[0]
    assert effect(stream) == pytest.approx(
        [0, truth.denoise[0][0], truth.denoise[0][1], 0], abs=1e-5
    )
    assert effect(found.stream([1, 2])) == pytest.approx([1, 0], abs=1e-5)
    assert effect(found.stream([3])) == pytest.approx([0, 1], abs=1e-5)
    assert effect(found.positions("mlp_out")[0]) == pytest.approx([0, 0, 0, 1], abs=1e-5)


def test_every_sweep_equals_brute_force_by_edits(model: HookedGPTNeo) -> None:
    prompts = PromptPairs(*pairs("facts", 3).ids())
    ticks: list[None] = []
    found = Patching(model, prompts, tick=lambda: ticks.append(None))

    def expected(site: str, layer: int, *, noise: bool = False, **where: Any) -> Any:
        sides = prompts.corrupted, prompts.clean
        tokens, donor = reversed(sides) if noise else sides
        with torch.no_grad():
            _, cache = model.run_with_cache(donor)
            at = where.pop("at", None)
            edits = [replace(site, layer, cache, positions=at, **where)]
            return logit_diffs(model.run_with_edits(tokens, edits), prompts).double().numpy()

    n_pos = prompts.clean.shape[1]
    heads = {noise: found.heads("noise" if noise else "denoise") for noise in (False, True)}
    for layer, head in brute.heads(model):
        for noise, values in heads.items():
            np.testing.assert_allclose(
                values[layer, head], expected("z", layer, head=head, noise=noise), atol=1e-5
            )
    for site in ("attn_out", "mlp_out"):
        for noise in (False, True):
            values = found.layers(site, "noise" if noise else "denoise")  # type: ignore[arg-type]
            for layer in range(4):
                correct = expected(site, layer, noise=noise)
                np.testing.assert_allclose(values[layer], correct, atol=1e-5)
    for site in ("resid_pre", "attn_out", "mlp_out"):
        values = found.positions(site)
        for layer, pos in itertools.product(range(4), range(n_pos)):
            np.testing.assert_allclose(values[layer, pos], expected(site, layer, at=pos), atol=1e-5)
    last = found.positions("resid_post", [3])
    assert last.shape == (1, n_pos, 3)
    np.testing.assert_allclose(last[0, -1], found.clean, atol=1e-5)
    stream = found.stream([0, 1])
    for layer in range(4):
        np.testing.assert_allclose(
            stream[layer], expected("resid_pre", layer, at=[0, 1]), atol=1e-5
        )
    assert len(ticks) == 2 * 16 + 2 * 2 * 4 + 3 * 4 * n_pos + n_pos + 5


def test_theorems_of_patching_hold(model: HookedGPTNeo) -> None:
    two = pairs("agreement", 4)
    prompts = PromptPairs(*two.ids())
    found = Patching(model, prompts)
    stream = found.positions("resid_pre")
    for pos in range(two.changed[0][0]):  # Left of the first change nothing differs.
        np.testing.assert_allclose(stream[:, pos], np.tile(found.corrupted, (4, 1)), atol=1e-6)
    np.testing.assert_allclose(found.stream(two.changed[0])[0], found.clean, atol=1e-5)
    np.testing.assert_allclose(found.stream([4])[-1], found.clean, atol=1e-5)
    itself = Patching(model, dataclasses.replace(prompts, corrupted=prompts.clean))
    np.testing.assert_allclose(itself.heads() - itself.clean, 0, atol=1e-5)


def test_progress_bar_of_transformer_lens_comes_back(model: HookedGPTNeo) -> None:
    bar = vars(patching)["tqdm"]

    def fail() -> None:
        raise RuntimeError

    found = Patching(model, PromptPairs(*pairs("tense", 1).ids()), tick=fail)
    with pytest.raises(RuntimeError):
        found.heads()
    assert vars(patching)["tqdm"] is bar


def test_prompts_of_two_shapes_are_refused(model: HookedGPTNeo) -> None:
    clean, corrupted, answer, wrong = pairs("tense", 2).ids()
    with pytest.raises(
        ArgumentError, match=r"clean prompts are \(2, 4\) and corrupted ones \(2, 3\)"
    ):
        Patching(model, PromptPairs(clean, corrupted[:, :3], answer, wrong))


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40), st.integers(0, 5))
@settings(max_examples=40)
def test_interval_lies_around_the_mean_and_within_the_data(values: list[float], seed: int) -> None:
    found = Bootstrap(len(values), seed=seed).mean(np.array(values))
    slack = 1e-9
    assert float(found.value) == pytest.approx(np.mean(values))
    assert found.low - slack <= found.value <= found.high + slack
    assert min(values) - slack <= found.low
    assert found.high <= max(values) + slack


@given(st.floats(-5, 5), st.integers(1, 30))
@settings(max_examples=20)
def test_interval_of_constant_data_has_no_width(value: float, n: int) -> None:
    found = Bootstrap(n).mean(np.full((2, n), value))
    np.testing.assert_allclose(found.high - found.low, 0, atol=1e-12)
    np.testing.assert_allclose(found.low, value, atol=1e-12)


def test_interval_agrees_with_the_normal_one_for_many_pairs() -> None:
    n = 4000
    rng = np.random.default_rng(1)
    values = rng.exponential(size=(3, n))
    found = Bootstrap(n, resamples=4000).mean(values)
    half = 1.959964 * values.std(-1, ddof=1) / math.sqrt(n)
    np.testing.assert_allclose(found.high - found.low, 2 * half, rtol=0.06)
    np.testing.assert_allclose((found.high + found.low) / 2, values.mean(-1), atol=0.004)


def test_interval_of_a_ratio_agrees_with_the_delta_method() -> None:
    n = 4000
    rng = np.random.default_rng(2)
    clean, corrupted = 4 + rng.normal(size=n), -3 + rng.normal(size=n)
    # Half of what lies between, pair by pair, and noise: most of the spread cancels in the ratio.
    patched = (clean + corrupted) / 2 + 0.1 * rng.normal(size=n)
    found = Bootstrap(n, resamples=4000).effect(patched, clean, corrupted)
    ratio = (patched - corrupted).mean() / (clean - corrupted).mean()
    rest = (patched - corrupted) - ratio * (clean - corrupted)
    half = 1.959964 * rest.std(ddof=1) / math.sqrt(n) / (clean - corrupted).mean()
    assert float(found.value) == pytest.approx(ratio)
    assert float(found.high - found.low) == pytest.approx(2 * half, rel=0.06)
    assert half < 0.001


def test_intervals_cover_what_they_should() -> None:
    rng = np.random.default_rng(3)
    found = Bootstrap(100).mean(rng.normal(size=(1000, 100)))
    assert 0.92 < np.mean((found.low <= 0) & (found.high >= 0)) < 0.97


def test_effect_of_nothing_between_is_none() -> None:
    same = np.ones(3)
    assert Bootstrap(3).effect(same + 1, same, same).record()["effect"] is None
    assert rounded([1.234567, -0.0, None, float("nan"), 2]) == [1.23457, 0.0, None, None, 2]
