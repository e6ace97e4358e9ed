"""The compiled sentiment direction is where its truth says, and does what it says."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from neoscope.edits import replace, transform
from neoscope.errors import ArgumentError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import DIRECTION_TRUTH as TRUTH
from neoscope.organism.compiled import PromptPairs, direction, direction_prompts
from neoscope.organism.compiled.direction_truth import feature
from tests.neoscope.organism import brute_force as brute

SITES = [(site, layer) for layer in range(3) for site in ("resid_pre", "resid_mid", "resid_post")]
BLIND = SITES[: SITES.index(("resid_mid", TRUTH.bits_layer))]
BITS = SITES[len(BLIND) : SITES.index((TRUTH.site, TRUTH.layer))]
AFTER = SITES[len(BLIND) + len(BITS) :]
PROMPTS = direction_prompts(256)
SIGN = 2.0 * PROMPTS.label - 1
U = torch.tensor(TRUTH.direction)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return direction()


@pytest.fixture(scope="module")
def model(folder: Path) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folder)


@pytest.fixture(scope="module")
def states(model: HookedGPTNeo) -> dict[tuple[str, int], Tensor]:
    """The last position's states at each site, float64 ``[256, 64]``."""
    return last_states(model, PROMPTS.tokens)


@torch.no_grad()
def last_states(model: HookedGPTNeo, tokens: Tensor) -> dict[tuple[str, int], Tensor]:
    _, cache = model.run_with_cache(tokens)
    return {site: cache[site][:, -1].double() for site in SITES}


@torch.no_grad()
def positive(model: HookedGPTNeo, *edits: Any) -> Tensor:
    """logit(positive) - logit(negative) at the last position."""
    logits = model.run_with_edits(PROMPTS.tokens, list(edits))[:, -1]
    found: Tensor = logits[:, TRUTH.positive] - logits[:, TRUTH.negative]
    return found


def class_difference(x: Tensor) -> Tensor:
    return x[PROMPTS.label].mean(0) - x[~PROMPTS.label].mean(0)


def test_prompts_say_what_they_mean(model: HookedGPTNeo) -> None:
    assert PROMPTS.tokens.shape == (256, 5)
    slots = (TRUTH.topics, TRUTH.intensifiers + TRUTH.negations, TRUTH.good + TRUTH.bad)
    for column, allowed in enumerate(((0,), *slots, TRUTH.endings)):
        assert set(PROMPTS.tokens[:, column].tolist()) == set(allowed)
    negated = torch.isin(PROMPTS.tokens[:, 2], torch.tensor(TRUTH.negations))
    good = torch.isin(PROMPTS.tokens[:, 3], torch.tensor(TRUTH.good))
    assert torch.equal(negated, PROMPTS.negated)
    assert torch.equal(good, PROMPTS.good)
    assert torch.equal(PROMPTS.label, good != negated)
    words = model.tokenizer("film not dull .").input_ids
    assert words == [1, TRUTH.negations[0], TRUTH.bad[-1], TRUTH.endings[0]]


def test_prompts_are_balanced_in_every_group() -> None:
    for group in range(64):
        rows = slice(4 * group, 4 * group + 4)
        tokens, label = PROMPTS.tokens[rows], PROMPTS.label[rows]
        counts = torch.nn.functional.one_hot(tokens, len(TRUTH.words))
        assert torch.equal(counts[label].sum(0), counts[~label].sum(0))
    assert torch.equal(direction_prompts(8, seed=1).tokens, direction_prompts(8, seed=1).tokens)
    assert not torch.equal(direction_prompts(8, seed=1).tokens, direction_prompts(8).tokens)


@pytest.mark.parametrize("n", [-4, 0, 6, "4", True, 4.0])
def test_unbalanced_number_is_refused(n: Any) -> None:
    wrong: Any = inspect.unwrap(direction_prompts)
    with pytest.raises(ArgumentError, match=f"n is {n!r}; expected a multiple of 4"):
        wrong(n)
    with pytest.raises(ArgumentError, match="seed is 'a'"):
        wrong(4, seed="a")


def test_checkpoint_is_transformers_own(model: HookedGPTNeo, folder: Path) -> None:
    brute.assert_as_transformers(model, folder, PROMPTS.tokens)


def test_features_are_orthonormal_with_mean_zero() -> None:
    rows = torch.tensor([feature(i) for i in range(1, 64)], dtype=torch.float64)
    assert torch.equal(rows @ rows.T, torch.eye(63, dtype=torch.float64))
    assert not rows.sum(1).any()
    assert (rows.abs() == 1 / 8).all()


def test_answers_are_the_truths(model: HookedGPTNeo) -> None:
    brute.assert_all(positive(model) * SIGN, TRUTH.logit_diff, atol=1e-4)
    with torch.no_grad():
        chance = model(PROMPTS.tokens)[:, -1].softmax(-1)
    right = torch.where(PROMPTS.label, TRUTH.positive, TRUTH.negative)
    brute.assert_all(chance[torch.arange(256), right], TRUTH.probability, atol=1e-6)
    assert float((chance.argmax(-1) == right).double().mean()) == TRUTH.accuracy == 1.0


@pytest.mark.parametrize("site", BLIND, ids=str)
def test_nothing_is_known_at_first(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    groups = states[site].view(64, 4, 64)
    assert torch.equal(groups, groups[:, :1].expand_as(groups))


@pytest.mark.parametrize("site", BITS, ids=str)
def test_class_is_an_exclusive_or_before(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    x = states[site]
    assert class_difference(x).abs().max() < 1e-6
    # The loss is convex and its gradient at the constant predictor is zero: no plane does better.
    weight, bias = torch.zeros(64, dtype=torch.float64, requires_grad=True), torch.zeros(1)
    bias.requires_grad_()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        x @ weight + bias, PROMPTS.label.double()
    )
    assert float(loss.detach()) == pytest.approx(TRUTH.linear_loss_before)
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert gradient.abs().max() < 1e-6
    assert float(PROMPTS.label.double().mean()) == TRUTH.chance == 0.5
    bits = (x @ feature_of(TRUTH.negation_direction)) * (x @ feature_of(TRUTH.polarity_direction))
    torch.testing.assert_close(bits, -SIGN.double(), atol=1e-5, rtol=0)


def feature_of(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("site", BITS + AFTER, ids=str)
def test_bits_stand_where_the_truth_says(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    for bit, where in (
        (PROMPTS.negated, TRUTH.negation_direction),
        (PROMPTS.good, TRUTH.polarity_direction),
    ):
        found = states[site] @ feature_of(where)
        torch.testing.assert_close(found, 2.0 * bit.double() - 1, atol=1e-5, rtol=0)


@pytest.mark.parametrize("site", SITES, ids=str)
def test_direction_first_stands_where_the_truth_says(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    expected = TRUTH.projection * SIGN.double() * (site in AFTER)
    torch.testing.assert_close(states[site] @ U.double(), expected, atol=1e-5, rtol=0)
    answer = TRUTH.answer_projection * SIGN.double() * (site == ("resid_post", TRUTH.answer_layer))
    found = states[site] @ feature_of(TRUTH.answer_direction)
    torch.testing.assert_close(found, answer, atol=1e-5, rtol=0)


def test_class_means_differ_along_the_direction_alone(
    states: dict[tuple[str, int], Tensor],
) -> None:
    x = states[TRUTH.site, TRUTH.layer]
    found = class_difference(x)
    torch.testing.assert_close(found, TRUTH.difference * U.double(), atol=1e-5, rtol=0)
    # No plane is farther from both classes than half the distance of two of their means.
    assert TRUTH.margin == TRUTH.difference / 2
    assert (x @ U.double() * SIGN).min() == pytest.approx(TRUTH.margin, abs=1e-5)
    # No single dimension tells the classes apart.
    best = max(float(((x[:, i] > 0) == PROMPTS.label).double().mean()) for i in range(64))
    assert best < 0.9


def test_variance_share_is_the_truths(model: HookedGPTNeo) -> None:
    slots = (TRUTH.topics, TRUTH.intensifiers + TRUTH.negations, TRUTH.good + TRUTH.bad)
    tokens = torch.tensor(list(itertools.product((0,), *slots, TRUTH.endings)))
    assert len(tokens) == 512
    x = last_states(model, tokens)[TRUTH.site, TRUTH.layer]
    covariance = x.T.cov(correction=0)
    share = U.double() @ covariance @ U.double() / covariance.trace()
    assert float(share) == pytest.approx(TRUTH.variance_share, abs=1e-6)
    torch.testing.assert_close(
        covariance @ U.double(), TRUTH.projection**2 * U.double(), atol=1e-5, rtol=0
    )
    # Principal components would not find it: five others are larger.
    assert torch.linalg.eigvalsh(covariance)[-5:].min() > 1.5 * TRUTH.projection**2


def test_logits_ignore_the_direction_before_the_answer(model: HookedGPTNeo) -> None:
    with torch.no_grad():
        _, cache = model.run_with_cache(PROMPTS.tokens)
        stream = cache["resid_mid", TRUTH.answer_layer][:, -1]
        logits = model.unembed(model.ln_final(stream))
    found = logits[:, TRUTH.positive] - logits[:, TRUTH.negative]
    brute.assert_all(found, 0.0)
    asked = PromptPairs(
        PROMPTS.tokens,
        PROMPTS.tokens,
        torch.full((256,), TRUTH.positive),
        torch.full((256,), TRUTH.negative),
    )
    for name, written in brute.direct(model, PROMPTS.tokens, asked).items():
        expected = TRUTH.logit_diff * SIGN if name == ("mlp", TRUTH.answer_layer) else 0.0 * SIGN
        torch.testing.assert_close(written, expected, atol=1e-4, rtol=0)


def test_steering_flips_the_answer_exactly(model: HookedGPTNeo) -> None:
    step = -SIGN[:, None] * TRUTH.difference * U
    edit = transform(TRUTH.site, TRUTH.layer, lambda x: x + step[:, None], positions=[-1])
    change = positive(model, edit) - positive(model)
    torch.testing.assert_close(change, -SIGN * TRUTH.steered, atol=1e-4, rtol=0)
    torch.testing.assert_close(positive(model, edit), -positive(model), atol=1e-4, rtol=0)


@pytest.mark.parametrize("site", [(TRUTH.site, TRUTH.layer), ("resid_mid", TRUTH.answer_layer)])
def test_erasure_leaves_no_answer(model: HookedGPTNeo, site: tuple[str, int]) -> None:
    edit = transform(*site, lambda x: x - (x @ U)[..., None] * U, positions=[-1])
    brute.assert_all(positive(model, edit), TRUTH.erased)


def test_leace_erases_the_direction_and_no_more(
    model: HookedGPTNeo, states: dict[tuple[str, int], Tensor]
) -> None:
    x = states[TRUTH.site, TRUTH.layer]
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    seen = values > 1e-6
    root = vectors[:, seen] * values[seen].sqrt()  # times its transpose: the covariance
    whiten = vectors[:, seen] @ (vectors[:, seen] / values[seen].sqrt()).T
    unwhiten = root @ vectors[:, seen].T
    cross = whiten @ (centred.T @ SIGN.double() / len(x))
    erased = unwhiten @ torch.outer(cross, cross) @ whiten / (cross @ cross)
    torch.testing.assert_close(erased, torch.outer(U, U).double(), atol=1e-5, rtol=0)
    value = (x - centred @ erased.T).float()[:, None]
    edit = replace(TRUTH.site, TRUTH.layer, value, positions=[-1])
    brute.assert_all(positive(model, edit), TRUTH.erased, atol=1e-4)


@pytest.mark.parametrize("what", ["class", "negated", "good"])
def test_interchange_moves_one_variable(
    model: HookedGPTNeo, states: dict[tuple[str, int], Tensor], what: str
) -> None:
    """Exchanging a coordinate with another prompt's changes that variable and nothing else."""
    source = torch.randperm(256, generator=torch.Generator().manual_seed(5))
    site, where, label = {
        "class": ((TRUTH.site, TRUTH.layer), TRUTH.direction, PROMPTS.label[source]),
        "negated": (
            ("resid_mid", TRUTH.bits_layer),
            TRUTH.negation_direction,
            PROMPTS.good != PROMPTS.negated[source],
        ),
        "good": (
            ("resid_post", TRUTH.bits_layer),
            TRUTH.polarity_direction,
            PROMPTS.good[source] != PROMPTS.negated,
        ),
    }[what]
    axis, x = feature_of(where), states[site]
    value = (x + torch.outer((x[source] - x) @ axis, axis)).float()
    found = positive(model, replace(*site, value[:, None], positions=[-1]))
    torch.testing.assert_close(found, TRUTH.logit_diff * (2.0 * label - 1), atol=1e-4, rtol=0)
    assert not torch.equal(label, PROMPTS.label)


def test_truth_is_plain_json() -> None:
    fields = dataclasses.asdict(TRUTH)
    assert len(json.loads(json.dumps(fields))["direction"]) == 64
    assert isinstance(hash(TRUTH), int)
