"""What head scores refuse, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope.analysis import HeadScores, heads
from neoscope.errors import AnalysisError, TokenizationError
from neoscope.model import HookedGPTNeo
from tests.neoscope.analysis.head_runs import QUIET, TEXTS, random_model


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scores": "inductoin"}, "did you mean 'induction'"),
        ({"scores": []}, "asks for nothing"),
        ({"texts": []}, "texts is empty"),
        ({"texts": 3}, "expected texts or token ids"),
        ({"texts": [[3]]}, "single token|more than one token"),
        ({"texts": [[3, 4]], "gap": 2}, "gap is for repeats"),
        ({"gap": 16}, "gap=16 needs 33 tokens, but the model's context is 32|gap=16 .* 32"),
        ({"gap": 30, "length": 10}, "needs 41 tokens, but the model's context is 32"),
        ({"gap": 4, "length": 5}, "length=5 is more than gap=4"),
        ({"gap": 0}, "gap=0; expected a whole number"),
        ({"gap": []}, "asks for no repeats"),
        ({"gap": [3, 3]}, "names a gap twice"),
        ({"scores": 5}, "scores=5; expected names"),
        ({"seed": "a"}, "seed='a'; expected a whole number"),
        ({"seed": 1 << 70}, "at most 64 bits"),
        ({"progress": 5}, "heads: progress=5; expected True, False"),
        ({"model": "organism"}, "model= is for a cache"),
        ({"gap": 50}, "needs as many different tokens; this model has 39"),
        ({"n": 0}, "n=0; expected"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"weighted": "norms"}, "did you mean 'norm'"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, Any], said: str) -> None:
    if options.get("gap") == 16:
        options = options | {"length": 16}
    with pytest.raises(AnalysisError, match=said):
        heads(random_model(), **(QUIET | options))


def test_bad_questions_of_a_result_are_refused(measured: HeadScores) -> None:
    with pytest.raises(AnalysisError, match="did you mean 'induction'"):
        measured.top("inductions")
    with pytest.raises(AnalysisError, match="k=0"):
        measured.top("induction", 0)
    few = heads(random_model(), scores="entropy", **QUIET)
    with pytest.raises(AnalysisError, match="'induction' was not measured"):
        few.top("induction")


def test_no_local_layer_has_no_beyond() -> None:
    model = random_model(attention_layers=("global", "global"))
    with pytest.raises(AnalysisError, match="all layers of this model are global"):
        heads(model, scores="induction_beyond", **QUIET)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(AnalysisError, match="takes a model or a cache; found str"):
        heads("organism")


def test_an_empty_text_is_refused_by_number() -> None:
    with pytest.raises(TokenizationError, match="text 1 is empty"):
        heads(ns.load("organism"), texts=["the keys", ""], **QUIET)


def test_a_model_without_a_first_token_cannot_be_given_one() -> None:
    with pytest.raises(AnalysisError, match="no beginning-of-text token"):
        heads(random_model(bos_token_id=None), prepend_bos=True, **QUIET)


def test_a_cache_must_hold_what_is_read() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites=["z"])
    with pytest.raises(AnalysisError, match="sites='pattern'"):
        heads(cache)
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern"])
    with pytest.raises(AnalysisError, match=r"sites=\['pattern', 'v'\]"):
        heads(cache, weighted="norm")
    with pytest.raises(AnalysisError, match="measured on random tokens"):
        heads(cache, scores="position_share")
    with pytest.raises(AnalysisError, match="a cache has texts of its own"):
        heads(cache, texts=["x"])
    with pytest.raises(AnalysisError, match="single token"):
        heads(model.run_with_cache([[3]], sites=["pattern"])[1])
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern"], positions=-1)
    with pytest.raises(AnalysisError, match="needs every position"):
        heads(cache)


def test_a_cache_from_a_file_needs_the_model_for_weights(tmp_path: Path) -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXTS[0]], sites=["pattern", "v"])
    cache.save(tmp_path / "run.safetensors")
    loaded = ns.ActivationCache.load(tmp_path / "run.safetensors")
    with pytest.raises(AnalysisError, match="model=model"):
        heads(loaded, weighted="norm")
    found = heads(loaded, weighted="norm", scores=["copying", "entropy"], model=model)
    again = heads(cache, weighted="norm", scores=["copying", "entropy"])
    assert np.array_equal(found.score, again.score)
    other = HookedGPTNeo.from_config(model.config, seed=99)
    asked: list[dict[str, Any]] = [
        {"weighted": "norm"},
        {"scores": "copying"},
        {"scores": "entropy"},
    ]
    for options in asked:
        for one in (cache, loaded):
            with pytest.raises(AnalysisError, match="heads: the cache was made by another model"):
                heads(one, **options, model=other)
