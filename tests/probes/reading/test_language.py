from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.errors import ProbeError
from neoscope.organism.language import TASKS, sentences
from probes.data.dataset import ProbeData
from probes.data.places import Place


@pytest.fixture(scope="module")
def model() -> Any:
    return ns.load("organism")


# Repeated random words have no part of speech but one.
@pytest.mark.parametrize("task", sorted(set(TASKS) - {"induction", "far-induction"}))
def test_each_word_has_its_gold_label(model: Any, task: str) -> None:
    given = sentences(task, 6)
    data = ProbeData.from_language(model, given, "pos", layers=0, site="embed")
    assert data.words is not None
    assert data.words.tolist() == [word for one in given for word in one.words]
    assert data.y.tolist() == [label for one in given for label in one.labels["pos"]]
    # Of the organism's vocabulary a word is a token, whose embedding does not depend on its place.
    embeddings = data.matrix(Place("embed"))
    for word in np.unique(data.words):
        same = embeddings[data.words == word]
        np.testing.assert_array_equal(same, np.broadcast_to(same[0], same.shape))


def test_a_prompt_ends_before_the_answer(model: Any) -> None:
    given = sentences("agreement", 8)
    words = ProbeData.from_language(model, given, "pos", text="prompt", layers=0)
    assert words.n_rows == sum(one.answer_at or 0 for one in given)
    whole = ProbeData.from_language(model, given, "number", text="prompt", layers=1, pool="last")
    assert whole.y.tolist() == [one.attributes["number"] for one in given]
    _, cache = model.run_with_cache(given[3].prompt)
    np.testing.assert_allclose(
        whole.matrix(Place("resid_post", 1), [3])[0], cache["resid_post", 1][0, -1], atol=2e-5
    )


def test_an_attribute_may_group(model: Any) -> None:
    given = sentences("agreement", 12)
    data = ProbeData.from_language(model, given, "pos", groups="number", layers=0)
    assert sorted(data.group_names.tolist()) == ["plural", "singular"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label": "numbr"}, "did you mean 'number'"),
        ({"label": "poss"}, "did you mean 'pos'"),
        ({"groups": "nmber"}, "groups='nmber'.*did you mean 'number'"),
        ({"text": "prompts"}, "did you mean 'prompt'"),
        ({"sentences": ["a"]}, "sentence 0 is str"),
    ],
)
def test_what_sentences_lack_is_named(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        ProbeData.from_language(None, **{"sentences": sentences("agreement", 4), **more})
