"""What attribution refuses, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis
from neoscope.analysis import ATTRIBUTION_SITES, direct_logit_attribution
from neoscope.errors import AnalysisError, SiteError
from neoscope.patching.metrics.words import MissingSpaceWarning
from tests.neoscope.analysis.attribution_models import random_model
from tests.neoscope.analysis.attribution_runs import BYS, TEXT
from tests.neoscope.patching.metrics.test_answer_words import Spaced


@pytest.fixture(scope="module")
def cache(model: ns.HookedGPTNeo) -> ns.ActivationCache:
    return model.run_with_cache([TEXT, "The keys to the cabinet"])[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"answer": "xyzzy"}, r"answer='xyzzy' is 6 tokens"),
        ({"answer": " Mary", "wrong": " Mary"}, "same token, ' Mary', in row 0"),
        ({"answer": [383, 400], "wrong": [400, 400]}, "same token, .* in row 1"),
        ({"answer": [1, 2, 3]}, "answer has 3 entries, but there are 2 rows"),
        ({"answer": 750}, "ids run from 0 to 749"),
        ({"answer": 1.5}, "expected a word or a token id"),
        ({"answer": " Mary", "by": "haed"}, "by='haed' .* did you mean 'head'"),
        ({"answer": " Mary", "position": "last"}, "expected one position"),
        ({"answer": " Mary", "position": [1, 2, 3]}, "one for each of the 2 rows"),
        ({"answer": " Mary", "position": slice(2)}, "expected one position"),
    ],
)
def test_a_meaningless_question_is_refused(
    options: dict[str, Any], said: str, cache: ns.ActivationCache
) -> None:
    with pytest.raises(AnalysisError, match=said):
        direct_logit_attribution(cache, **options)


def test_a_position_that_does_not_exist_is_refused(cache: ns.ActivationCache) -> None:
    with pytest.raises(SiteError, match="position: 13 is out of range in row 1, which has 5"):
        direct_logit_attribution(cache, " Mary", position=13)


@pytest.mark.parametrize("by", BYS)
def test_a_cache_without_the_sites_says_which(by: str, model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(TEXT, sites="z")
    with pytest.raises(AnalysisError, match=r"needs 'embed', .*run_with_cache\(text, sites=\["):
        direct_logit_attribution(cache, " Mary", by=by)
    _, some = model.run_with_cache(TEXT, sites=ATTRIBUTION_SITES[by], layers=[0, 2])
    with pytest.raises(AnalysisError, match=r"of layer 1, which was not cached"):
        direct_logit_attribution(some, " Mary", by=by)


def test_a_position_that_was_not_cached_is_refused(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache(TEXT, positions=[0, 1])
    with pytest.raises(AnalysisError, match=r"position 13 of row 0 was not cached; .*\[0, 1\]"):
        direct_logit_attribution(cache, " Mary")
    with pytest.raises(AnalysisError, match=r"by='source'.* every position"):
        direct_logit_attribution(cache, " Mary", by="source", position=1)
    _, sliced = model.run_with_cache(TEXT, pos_slice=-1)
    with pytest.raises(AnalysisError, match="pos_slice"):
        direct_logit_attribution(sliced, " Mary")


def test_tokens_of_a_kv_cache_have_no_values_to_split(model: ns.HookedGPTNeo) -> None:
    past = ns.KVCache()
    tokens = model.tokenize(TEXT)
    model(tokens.ids[:, :-1], past=past)
    _, cache = model.run_with_cache(tokens.ids[:, -1:], past=past)
    found = direct_logit_attribution(cache, " Mary", " John")
    expected = direct_logit_attribution(model.run_with_cache(TEXT)[1], " Mary", " John")
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)
    with pytest.raises(AnalysisError, match="KV cache"):
        direct_logit_attribution(cache, " Mary", by="source")


def test_a_missing_space_is_told() -> None:
    one = random_model(d_vocab=30)
    one.tokenizer = Spaced()  # type: ignore[assignment]
    _, cache = one.run_with_cache(" Mary and")
    with pytest.warns(MissingSpaceWarning, match="' Mary' is another token") as found:
        direct_logit_attribution(cache, "Mary")
    assert found[0].filename == __file__
    _, spaced = one.run_with_cache(" Mary and ")
    direct_logit_attribution(spaced, "Mary")


@pytest.mark.gpu
def test_a_cache_may_be_elsewhere_than_its_model(model: ns.HookedGPTNeo) -> None:
    expected = direct_logit_attribution(model.run_with_cache(TEXT)[1], " Mary", by="source")
    there = ns.load("organism", device="cuda")
    for device in ("cpu", "cuda"):
        _, cache = there.run_with_cache(TEXT, device=device)
        found = direct_logit_attribution(cache, " Mary", by="source")
        np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-3)
    found = analysis.input_attribution(there, TEXT, " Mary", " John", steps=20)
    assert abs(found.logit[0] - 7.524) < 1e-2
    view = analysis.weight_view(there)
    assert view.W_E.is_cuda
    assert view.check(there, TEXT) < 1e-3
    assert analysis.composition(there).k.shape == (4, 4, 4, 4)


def test_print_fits_eighty_columns_and_counts_what_adds_nothing() -> None:
    facts = ns.load("facts")
    _, cache = facts.run_with_cache("<|endoftext|> hugo plays")
    found = direct_logit_attribution(cache, "flute")
    assert found.n_zero == (np.abs(found.mean) < 1e-9).sum() == 20
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "20 others are 0"
    assert len(lines) == 2 + len(found.summary()) + 1 + (len(found.heading()) > 80)
    nothing = str(direct_logit_attribution(cache, "flute", position=0))
    assert nothing.splitlines()[-1] == "all 21 components are 0"


def test_the_heading_of_a_batch_says_which_positions(model: ns.HookedGPTNeo) -> None:
    _, cache = model.run_with_cache([TEXT, "The keys to the cabinet"])
    for position, said in (
        (-1, "at the last token of 2 texts, mean"),
        (2, "at position 2 of 2 texts, mean"),
        ([1, 3], "at positions 1 to 3 of 2 texts, mean"),
    ):
        found = direct_logit_attribution(cache, " Mary", position=position)
        assert said in found.heading()


def test_what_is_no_cache_is_refused(model: ns.HookedGPTNeo) -> None:
    given: Any = model
    with pytest.raises(AnalysisError, match=r"takes a cache, .*; found HookedGPTNeo"):
        direct_logit_attribution(given, " Mary")
