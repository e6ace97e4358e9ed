"""The compiled outlier model has exactly the outliers and the cosines that its truth says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import OUTLIER_TRUTH as TRUTH
from neoscope.organism.compiled import outlier_prompts, outliers
from tests.neoscope.organism import brute_force as brute

SITES = [(site, layer) for layer in range(4) for site in ("resid_pre", "resid_mid", "resid_post")]
BEFORE = SITES[: SITES.index(("resid_post", TRUTH.first_layer))]
AFTER = SITES[len(BEFORE) :]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return outliers()


@pytest.fixture(scope="module")
def model(folder: Path) -> HookedGPTNeo:
    return HookedGPTNeo.from_pretrained(folder)


@pytest.fixture(scope="module")
def states(model: HookedGPTNeo) -> dict[tuple[str, int], Tensor]:
    """The states at each site, float64 ``[64, 32]``."""
    with torch.no_grad():
        _, cache = model.run_with_cache(outlier_prompts())
    return {site: cache[site].flatten(0, 1).double() for site in SITES}


def shares(x: Tensor) -> Tensor:
    """What each dimension adds to the mean cosine between different rows; their sum is it."""
    unit = x / x.norm(dim=-1, keepdim=True)
    products = torch.einsum("id,jd->ijd", unit, unit)
    different = ~torch.eye(len(x), dtype=torch.bool)
    return products[different].mean(0)


def test_prompts_hold_every_word_once() -> None:
    for seed in (0, 1):
        assert torch.equal(outlier_prompts(seed).flatten().sort().values, torch.arange(64))
    assert not torch.equal(outlier_prompts(0), outlier_prompts(1))


def test_checkpoint_is_transformers_own(model: HookedGPTNeo, folder: Path) -> None:
    brute.assert_as_transformers(model, folder, outlier_prompts())


def test_words_are_different_and_opposite(model: HookedGPTNeo) -> None:
    rows = model.embed.W_E.detach()
    assert len(rows.unique(dim=0)) == len(TRUTH.words) == 64
    assert torch.equal(rows[0::2], -rows[1::2])


@pytest.mark.parametrize("site", SITES, ids=str)
def test_outliers_stand_where_the_truth_says(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    x = states[site]
    expected = torch.zeros(32, dtype=torch.float64)
    if site in AFTER:
        expected[list(TRUTH.dims)] = torch.tensor(TRUTH.sizes, dtype=torch.float64)
    assert torch.equal(x.mean(0), expected)
    brute.assert_all(x.std(0, correction=0), TRUTH.std, atol=1e-13)
    norm = TRUTH.norm if site in AFTER else TRUTH.norm_before
    brute.assert_all(x.norm(dim=-1), norm, atol=1e-12)
    assert len(BEFORE) == 5


@pytest.mark.parametrize("site", BEFORE, ids=str)
def test_states_are_isotropic_before(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    found = shares(states[site])
    assert float(found.sum()) == pytest.approx(TRUTH.cosine_before, abs=1e-14)
    brute.assert_all(found / found.sum(), TRUTH.share_before, atol=1e-12)


@pytest.mark.parametrize("site", AFTER, ids=str)
def test_outliers_own_the_cosine_after(
    states: dict[tuple[str, int], Tensor], site: tuple[str, int]
) -> None:
    x = states[site]
    found = shares(x)
    assert float(found.sum()) == pytest.approx(TRUTH.cosine, abs=1e-12)
    expected = torch.full((32,), TRUTH.other_share, dtype=torch.float64)
    expected[list(TRUTH.dims)] = torch.tensor(TRUTH.shares, dtype=torch.float64)
    torch.testing.assert_close(found / found.sum(), expected, atol=1e-12, rtol=0)
    centred = x - x.mean(0)
    assert float(shares(centred).sum()) == pytest.approx(TRUTH.cosine_centred, abs=1e-12)
    standardised = centred / x.std(0, correction=0)
    assert float(shares(standardised).sum()) == pytest.approx(TRUTH.cosine_standardised, abs=1e-12)


def test_shares_are_shares() -> None:
    assert sum(TRUTH.shares) + 29 * TRUTH.other_share == pytest.approx(1, abs=1e-12)
    assert sum(TRUTH.shares) > 0.9999
    assert len(TRUTH.dims) == len(TRUTH.sizes) == len(TRUTH.shares) == 3


def test_order_of_words_changes_no_state(model: HookedGPTNeo) -> None:
    found = []
    for seed in (0, 1):
        tokens = outlier_prompts(seed)
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens, sites="resid_post")
        found.append(cache["resid_post", 3].flatten(0, 1)[tokens.flatten().argsort()])
    assert torch.equal(*found)


def test_truth_is_plain_json() -> None:
    fields = dataclasses.asdict(TRUTH)
    assert json.loads(json.dumps(fields))["dims"] == [5, 12, 27]
    assert isinstance(hash(TRUTH), int)
