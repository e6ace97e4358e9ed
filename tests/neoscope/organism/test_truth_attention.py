"""Where heads attend, as the truth card has it, and what the architecture alone settles."""

from __future__ import annotations

import pytest
import torch

from neoscope.errors import ContractError
from neoscope.model import HookedGPTNeo
from neoscope.organism import compiled, initial
from neoscope.organism.compiled import INDUCTION_TRUTH, PromptPairs
from neoscope.organism.language import pairs, sentences
from neoscope.organism.language.vocabulary import encode
from neoscope.organism.truth import theorems
from neoscope.organism.truth.ablation import BEYOND
from neoscope.organism.truth.attention import OFFSETS, from_last, repeat_scores
from tests.neoscope.organism import brute_force as brute

WINDOW = 32
LOCAL = (1, 3)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(initial.random_twin())


def test_attention_from_the_last_position(model: HookedGPTNeo) -> None:
    two = pairs("far-induction", 3)
    clean = two.ids()[0]
    found = from_last(model, clean, two.roles[0], two.changed)
    with torch.no_grad():
        _, cache = model.run_with_cache(clean)
    assert set(found["roles"]) == {"first", "second"}
    assert set(found["places"]) == {"own", "previous", "first", "changed"}
    for layer, head in brute.heads(model):
        mean = cache["pattern", layer][:, head, -1].mean(0)
        assert found["places"]["own"][layer][head] == pytest.approx(float(mean[-1]), abs=1e-5)
        assert found["places"]["previous"][layer][head] == pytest.approx(float(mean[-2]), abs=1e-5)
        second = float(mean[84:].sum())
        assert found["roles"]["second"][layer][head] == pytest.approx(second, abs=1e-5)
        for far, expected in (
            (found["places"]["changed"], mean[15]),
            (found["roles"]["first"], mean[4:16].sum()),
        ):
            if layer in LOCAL:
                assert far[layer][head] is None
            else:
                assert far[layer][head] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("task", ["induction", "far-induction"])
def test_repeat_scores(model: HookedGPTNeo, task: str) -> None:
    items = sentences(task, 3, length=(8, 20), lead=(4, 8))
    found = repeat_scores(model, items)
    totals: dict[str, list[torch.Tensor]] = {"previous": [], "duplicate": [], "induction": []}
    for item in items:
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([encode(item.words)]))
        pattern = torch.stack([cache["pattern", layer][0] for layer in range(4)])
        start, size = item.attributes["start"], len(item.words)
        for i in range(1, size):
            totals["previous"].append(pattern[:, :, i, i - 1])
        for i in range(start, size):
            first = item.words.index(item.words[i])
            totals["duplicate"].append(pattern[:, :, i, first])
            if i < size - 1:
                assert item.words[first + 1] == item.words[i + 1]
                totals["induction"].append(pattern[:, :, i, first + 1])
    by_offset: dict[int, list[torch.Tensor]] = {-4: [], 1: [], 3: []}
    for item in items:
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([encode(item.words)]))
        for i in range(item.attributes["start"], len(item.words) - 1):
            first = item.words.index(item.words[i])
            for offset, values in by_offset.items():
                values.append(
                    torch.stack(
                        [cache["pattern", layer][0, :, i, first + offset] for layer in (0, 2)]
                    )
                )
    for offset, values in by_offset.items():
        for layer, expected in zip((0, 2), torch.stack(values).mean(0), strict=True):
            profile = [head[OFFSETS.index(offset)] for head in found.by_offset[layer]]
            assert profile == pytest.approx(expected.tolist(), abs=1e-5)
    for profile, score in zip(found.by_distance[0], found.previous_token[0], strict=True):
        assert profile[1] == pytest.approx(score)
    means = {name: torch.stack(values).mean(0) for name, values in totals.items()}
    for layer, head in brute.heads(model):
        cannot = task == "far-induction" and layer in LOCAL
        for name, grid in (
            ("previous", found.previous_token),
            ("duplicate", found.duplicate_token),
            ("induction", found.induction),
        ):
            value, expected = grid[layer][head], float(means[name][layer, head])
            if cannot and name != "previous":
                assert value is None and expected == 0
            else:
                assert value == pytest.approx(expected, abs=1e-5)


def test_scores_of_the_compiled_induction_circuit_would_be_one() -> None:
    truth, two = INDUCTION_TRUTH, compiled.pairs(4, "value")
    model = HookedGPTNeo.from_pretrained(compiled.induction())
    changed = [(truth.value.changed,)] * 4
    found = from_last(model, two.clean, [""] * two.clean.shape[1], changed)
    (layer, head), (lower, previous) = truth.induction, truth.previous_token
    assert found["places"]["changed"][layer][head] == 1
    assert found["places"]["previous"][lower][previous] == 1
    assert found["roles"] == {}


def test_answer_of_a_beyond_repeat_is_out_of_two_local_layers_reach() -> None:
    assert BEYOND[0] - 1 > 2 * (WINDOW - 1) >= BEYOND[0] - 2


def test_architecture_theorems_hold_and_a_breach_is_told(model: HookedGPTNeo) -> None:
    found = theorems.check(model, PromptPairs(*pairs("far-induction", 2).ids()))
    assert found["beyond_window"] == 0
    assert found["first_layer"] <= 1e-4
    first, second = theorems.theorems(model.config, [found, found])
    assert "layers 1 and 3" in first["claim"] and "Only heads of layer 2" in second["claim"]
    assert first["holds_for_all"] and second["holds_for_all"]
    for name in found:
        with pytest.raises(ContractError, match=r"is 0\.5; expected at most"):
            theorems.theorems(model.config, [found, {**found, name: 0.5}])
