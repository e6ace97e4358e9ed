"""Sources: what is put in, against plain runs with the same values put in by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neoscope.errors import PatchingError
from neoscope.patching.engine.base import Base
from neoscope.patching.engine.cells import SITES, SQUARE, Cell
from neoscope.patching.engine.exact import exact_effects
from neoscope.patching.prompts.pairs import read_prompts
from neoscope.patching.sources.statistics import Mean, Noise
from neoscope.tokens import Tokens
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import (
    projected,
)
from tests.neoscope.patching.source_cases import (
    BUDGETS,
    EQUAL,
    MODEL,
    READ,
    UNEQUAL,
    cells,
    check,
    like,
)


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("budget", BUDGETS)
def test_zero(budget: int, read: Any) -> None:
    def donor(site: str, layer: int | None) -> Tensor:
        return torch.zeros_like(like(UNEQUAL, site, layer))

    check(UNEQUAL, cells(UNEQUAL), "zero", donor, read, batch_tokens=budget)


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("budget", BUDGETS)
def test_other_texts(budget: int, read: Any) -> None:
    texts = [[20, 21, 22, 23, 24], [30, 31, 32, 33, 34, 35, 36, 37], [1, 2, 3, 4, 5, 6]]
    donor = plain.donor_of(MODEL, plain.tokens_of(read_prompts(MODEL, texts), "clean"))
    check(UNEQUAL, cells(UNEQUAL), texts, donor, read, batch_tokens=budget)


def test_one_text_for_all_pairs() -> None:
    donor = plain.donor_of(MODEL, torch.tensor([[1, 2, 3, 4, 5, 6]] * 3))
    check(EQUAL, cells(EQUAL), [[1, 2, 3, 4, 5, 6]], donor, None, batch_tokens=12)


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_cache_of_unpadded_or_right_padded_texts(budget: int, read: Any) -> None:
    sites = [site for site in SITES if site not in SQUARE]
    ids = torch.zeros(3, 9, dtype=torch.long)
    mask = torch.zeros(3, 9, dtype=torch.bool)
    texts = [[20, 21, 22, 23, 24], [30, 31, 32, 33, 34, 35, 36, 37], [1, 2, 3, 4, 5, 6]]
    for i, text in enumerate(texts):
        ids[i, : len(text)], mask[i, : len(text)] = torch.tensor(text), True
    _, cache = MODEL.run_with_cache(Tokens(ids=ids, mask=mask, padding_side="right"))
    donor = plain.donor_of(MODEL, plain.tokens_of(read_prompts(MODEL, texts), "clean"))
    check(UNEQUAL, cells(UNEQUAL, sites), cache, donor, read, batch_tokens=budget)


@pytest.mark.parametrize("read", READ)
def test_a_cache_with_one_row_serves_all(read: Any) -> None:
    _, cache = MODEL.run_with_cache(torch.tensor([[1, 2, 3, 4, 5, 6]]))
    donor = plain.donor_of(MODEL, torch.tensor([[1, 2, 3, 4, 5, 6]] * 3))
    check(EQUAL, cells(EQUAL), cache, donor, read, batch_tokens=12)


def test_a_cache_of_the_run_itself_is_exactly_zero() -> None:
    _, cache = MODEL.run_with_cache(plain.tokens_of(UNEQUAL, "corrupted"))
    sites = [site for site in SITES if site != "result"]
    found = exact_effects(MODEL, UNEQUAL, projected, cells(UNEQUAL, sites), source=cache)
    assert not found.effects.any()
    assert not found.ran.any()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_mean_over_reference_texts(budget: int, direction: str) -> None:
    texts = [[20, 21, 22], [30, 31, 32, 33, 34], [1, 2]]
    references = read_prompts(MODEL, texts)
    whole = plain.donor_of(MODEL, plain.tokens_of(references, "clean"))

    def donor(site: str, layer: int | None) -> Tensor:
        mean = whole(site, layer)[references.mask].mean(0)
        return mean.expand_as(like(UNEQUAL, site, layer))

    some = cells(UNEQUAL, [site for site in SITES if site not in SQUARE])
    for source in (Mean(texts), Mean(texts[::-1])):
        check(UNEQUAL, some, source, donor, None, direction=direction, batch_tokens=budget)


def test_the_mean_over_the_prompts_themselves() -> None:
    def donor(site: str, layer: int | None) -> Tensor:
        here = like(UNEQUAL, site, layer)
        return here[UNEQUAL.mask].mean(0).expand_as(here)

    some = cells(UNEQUAL, [site for site in SITES if site not in SQUARE])
    check(UNEQUAL, some, "mean", donor, None)


@pytest.mark.parametrize("read", READ)
def test_the_mean_by_position(read: Any) -> None:
    texts = [[20, 21, 22, 23, 24, 25], [30, 31, 32, 33, 34, 35]]
    whole = plain.donor_of(MODEL, torch.tensor(texts))

    def donor(site: str, layer: int | None) -> Tensor:
        return whole(site, layer).mean(0, keepdim=True).expand_as(like(EQUAL, site, layer))

    source = Mean(texts, by_position=True)
    check(EQUAL, cells(EQUAL), source, donor, read, batch_tokens=20)
    with pytest.raises(PatchingError, match="as long as the prompts, 8 tokens"):
        exact_effects(MODEL, UNEQUAL, projected, cells(UNEQUAL)[:1], source=source)


@pytest.mark.parametrize("site", sorted(SQUARE))
def test_no_mean_over_queries_and_keys_and_no_noise(site: str) -> None:
    some = [Cell(site, 0)]
    with pytest.raises(PatchingError, match=r"queries and keys.*by_position=True"):
        exact_effects(MODEL, EQUAL, projected, some, source="mean")
    with pytest.raises(PatchingError, match="no attention any more"):
        exact_effects(MODEL, EQUAL, projected, some, source="noise")


def test_resampling_takes_another_prompt_and_each_once() -> None:
    drawn = []
    candidates = plain.donor_of(MODEL, plain.tokens_of(EQUAL, "corrupted"))
    some = [Cell("resid_pre", 0), Cell("z", 1, 0), Cell("pattern", 2)]
    found = exact_effects(MODEL, EQUAL, projected, some, source="resample", seed=1)
    for order in ([1, 2, 0], [2, 0, 1]):

        def donor(site: str, layer: int | None, order: Any = order) -> Tensor:
            return candidates(site, layer)[order]

        logits, _ = plain.patched(MODEL, EQUAL, some, donor)
        expected = torch.stack([projected(rows[:, None]) for rows in logits], 1)
        drawn.append(plain.differences(found.patched, expected) < 1e-5)
    assert sum(drawn) == 1
    with pytest.raises(PatchingError, match="prompts of one length"):
        exact_effects(MODEL, UNEQUAL, projected, some, source="resample")


def test_noise_has_its_scale_and_its_seed_and_knows_no_batches() -> None:
    some = [
        Cell("embed"),
        Cell("resid_pre", 0),
        Cell("mlp_out", 1),
        Cell("post", 2),
        Cell("z", 1, 0),
    ]

    def run(source: Any, **options: Any) -> np.ndarray:
        return exact_effects(MODEL, UNEQUAL, projected, some, source=source, **options).effects

    one = run("noise", seed=1)
    np.testing.assert_allclose(run("noise", seed=1, batch_tokens=8), one, rtol=1e-3, atol=1e-3)
    assert np.abs(run("noise", seed=2) - one).min() > 1e-4
    assert (one != 0).all()
    small = run(Noise(scale=1e-3, seed=1))
    assert (np.abs(small) < np.abs(one)).all()
    assert not run(Noise(scale=0.0)).any()


def test_noise_is_measured_in_standard_deviations() -> None:
    kept = [("resid_pre", 1)]
    source = Noise(scale=2.0, seed=3).prepare(MODEL, EQUAL, "denoise", kept)
    base = Base(MODEL, EQUAL.base("denoise"), EQUAL.mask)
    here = base("resid_pre", 1)
    there = source.bind(base, EQUAL, slice(0, 3), "denoise", kept).at("resid_pre", 1, here)
    sigma = here.flatten(0, 1).double().var(0, correction=0).mean().sqrt()
    assert float((there - here).std()) == pytest.approx(2 * float(sigma), rel=0.15)
    assert abs(float((there - here).mean())) < 0.4 * float(sigma)
