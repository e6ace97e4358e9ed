"""The compiled lens networks give a logit lens and a tuned lens exactly what their truths say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import (
    ROTATED_TRUTH,
    ZERO_TAIL_TRUTH,
    lens_prompts,
    rotated,
    rotation,
    translators,
    zero_tail,
)
from tests.neoscope.organism import brute_force as brute

DEPTHS = range(5)
BUILT: dict[str, tuple[Callable[[], Path], Any]] = {
    "zero_tail": (zero_tail, ZERO_TAIL_TRUTH),
    "rotated": (rotated, ROTATED_TRUTH),
}
each_network = pytest.mark.parametrize("name", BUILT)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return {name: build() for name, (build, _) in BUILT.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, HookedGPTNeo]:
    return {name: HookedGPTNeo.from_pretrained(folder) for name, folder in folders.items()}


@torch.no_grad()
def depths(model: HookedGPTNeo) -> tuple[Tensor, list[Tensor]]:
    """Return logits, and the stream at each depth."""
    logits, cache = model.run_with_cache(lens_prompts())
    return logits, [cache["resid_pre", 0], *(cache["resid_post", layer] for layer in range(4))]


@torch.no_grad()
def read(model: HookedGPTNeo, stream: Tensor) -> Tensor:
    found: Tensor = model.unembed(model.ln_final(stream))
    return found


def kl(output: Tensor, lens: Tensor) -> float:
    """Mean KL(output || lens) in nats, of logits."""
    p, q = (x.double().log_softmax(-1) for x in (output, lens))
    return float((p.exp() * (p - q)).sum(-1).mean())


@each_network
def test_checkpoint_is_transformers_own(
    models: dict[str, HookedGPTNeo], folders: dict[str, Path], name: str
) -> None:
    brute.assert_as_transformers(models[name], folders[name], lens_prompts())


@each_network
def test_lens_is_as_far_off_as_the_truth_says(models: dict[str, HookedGPTNeo], name: str) -> None:
    truth = BUILT[name][1]
    output, streams = depths(models[name])
    tolerance = 1e-4 if name == "zero_tail" else 1e-5
    for depth in DEPTHS:
        found = kl(output, read(models[name], streams[depth]))
        assert found == pytest.approx(truth.lens_kl[depth], abs=tolerance)
        assert (truth.lens_kl[depth] == 0) == (depth in truth.exact_depths)
        assert (found > 0.1) == (depth not in truth.exact_depths)


def test_idle_layers_change_no_bit(models: dict[str, HookedGPTNeo]) -> None:
    output, streams = depths(models["zero_tail"])
    assert ZERO_TAIL_TRUTH.exact_depths == (min(ZERO_TAIL_TRUTH.idle), 3, 4)
    for depth in ZERO_TAIL_TRUTH.exact_depths:
        assert torch.equal(streams[depth], streams[-1])
        assert torch.equal(read(models["zero_tail"], streams[depth]), output)


def test_idle_layers_still_compute(models: dict[str, HookedGPTNeo]) -> None:
    model = models["zero_tail"]
    with torch.no_grad():
        _, cache = model.run_with_cache(lens_prompts(), sites=["z", "post"])
    for layer, block in enumerate(model.blocks):
        idle = layer in ZERO_TAIL_TRUTH.idle
        assert cache["z", layer].std() > 0.1
        assert cache["post", layer].std() > 0.1
        ends = (block.attn.W_O, block.attn.b_O, block.mlp.W_out, block.mlp.b_out)
        assert all(bool(end.any()) != idle for end in ends)


@pytest.mark.parametrize("seed", [ROTATED_TRUTH.mixing_seed, ROTATED_TRUTH.rotation_seed, 7])
def test_rotation_is_one(seed: int) -> None:
    turn = rotation(seed)
    identity = torch.eye(16, dtype=torch.float64)
    torch.testing.assert_close(turn @ turn.T, identity, atol=1e-12, rtol=0)
    assert float(torch.linalg.det(turn)) == pytest.approx(1)
    for sums in (turn.sum(0), turn.sum(1)):
        torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-12, rtol=0)
    assert float((turn - turn.T).norm()) > 1  # so that it is not its own inverse
    assert torch.equal(turn, rotation(seed))
    assert not torch.equal(turn, rotation(seed + 1))


def test_stream_turns_as_the_truth_says(models: dict[str, HookedGPTNeo]) -> None:
    _, streams = depths(models["rotated"])
    mixing, turn = (
        rotation(seed).float() for seed in (ROTATED_TRUTH.mixing_seed, ROTATED_TRUTH.rotation_seed)
    )
    mixed = streams[0] @ mixing.T
    expected = (streams[0], mixed, mixed @ turn.T, mixed @ turn.T, mixed)
    for depth in DEPTHS:
        torch.testing.assert_close(streams[depth], expected[depth], atol=1e-5, rtol=0)
        brute.assert_all(streams[depth].norm(dim=-1), ROTATED_TRUTH.norm)
        brute.assert_all(streams[depth].mean(-1), 0.0)
    assert torch.equal(streams[ROTATED_TRUTH.idle], streams[ROTATED_TRUTH.idle + 1])


def test_window_of_one_attends_to_itself_alone(models: dict[str, HookedGPTNeo]) -> None:
    with torch.no_grad():
        _, cache = models["rotated"].run_with_cache(lens_prompts(), sites="pattern")
    for layer in range(4):
        assert torch.equal(cache["pattern", layer], torch.eye(32).expand(2, 2, 32, 32))


def test_translators_reach_the_output(models: dict[str, HookedGPTNeo]) -> None:
    output, streams = depths(models["rotated"])
    for matrix, stream in zip(translators(), streams, strict=True):
        found = kl(output, read(models["rotated"], stream @ matrix.T.float()))
        assert found == pytest.approx(ROTATED_TRUTH.tuned_kl, abs=1e-6)


def test_translators_are_the_only_ones(models: dict[str, HookedGPTNeo]) -> None:
    """The states span all but the all-ones vector, and so do the words that read them."""
    _, streams = depths(models["rotated"])
    words = models["rotated"].embed.W_E.detach().double()
    assert torch.linalg.matrix_rank(words - words.mean(0), tol=1e-3) == 15
    ones = torch.full((16, 16), 1 / 16, dtype=torch.float64)
    for depth in DEPTHS:
        states = streams[depth].flatten(0, 1).double()
        assert torch.linalg.matrix_rank(states, tol=1e-3) == 15
        fitted = torch.linalg.pinv(states, rtol=1e-4) @ streams[-1].flatten(0, 1).double()
        torch.testing.assert_close(fitted.T, translators()[depth] - ones, atol=1e-4, rtol=0)
    back = rotation(ROTATED_TRUTH.rotation_seed).inverse()
    for depth in ROTATED_TRUTH.turned_depths:
        torch.testing.assert_close(translators()[depth], back, atol=1e-12, rtol=0)


@each_network
def test_truth_is_plain_json(name: str) -> None:
    truth = BUILT[name][1]
    assert len(json.loads(json.dumps(dataclasses.asdict(truth)))["lens_kl"]) == 5
    assert isinstance(hash(truth), int)
