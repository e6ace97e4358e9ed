"""What a tuned lens cannot be trained on, read with or judged by."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.tuned import data as tuned_data
from neoscope.analysis.tuned.data import read_pieces
from neoscope.analysis.tuned.weights import TunedLens
from neoscope.cache import ActivationCache
from neoscope.edits import ablate
from neoscope.errors import AnalysisError, TokenizationError
from neoscope.model import HookedGPTNeo

TEXTS = [s.text for s in ns.organism.sentences("filler", 400, seed=0)]
HELD = [s.text for s in ns.organism.sentences("filler", 60, seed=99)]
SHORT: dict[str, Any] = {"steps": 6, "batch_tokens": 128, "progress": False, "held_out": 0}


@pytest.fixture(scope="module")
def lens(model: HookedGPTNeo) -> TunedLens:
    return TunedLens.train(model, TEXTS, **SHORT)


def test_another_model_is_refused_by_name(lens: TunedLens) -> None:
    other = ns.load("organism-random")
    cache = other.run_with_cache(HELD[0])[1]
    with pytest.raises(AnalysisError, match=r"trained for 'organism' .* not for 'organism-random'"):
        lens.lens(cache)
    with pytest.raises(AnalysisError, match=r"trained for 'organism' .* not for 'organism-random'"):
        lens.evaluate(other, HELD, progress=False)
    half = ns.load("organism", dtype="bfloat16")
    with pytest.raises(AnalysisError, match=r"float32\), not for 'organism' .*bfloat16\)"):
        lens.lens(half.run_with_cache(HELD[0])[1])


def test_components_have_no_translators(model: HookedGPTNeo, lens: TunedLens) -> None:
    cache = model.run_with_cache(HELD[0])[1]
    with pytest.raises(AnalysisError, match="'resid_pre', not 'attn_out'"):
        lens.lens(cache, site="attn_out")


@pytest.mark.parametrize(
    ("texts", "said"), [([], "no texts to train"), (["", ""], "no tokens"), ("", "no tokens")]
)
def test_empty_corpus(model: HookedGPTNeo, texts: Any, said: str) -> None:
    with pytest.raises(AnalysisError, match=f"the corpus is empty.*{said}"):
        TunedLens.train(model, texts, progress=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adamw"}, "did you mean 'adam'"),
        ({"precision": "bfloat32"}, "precision='bfloat32' is none of"),
        ({"steps": 0}, "steps=0; expected a whole number of at least 1"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"lr": -1.0}, "lr=-1.0; expected a number above 0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"clip": 0.0}, "clip=0.0"),
        ({"save_every": 0}, "save_every=0"),
        ({"lr": 1e30, "steps": 3, "clip": 1e30}, "choose a smaller lr"),
    ],
)
def test_options_that_mean_nothing(model: HookedGPTNeo, options: dict[str, Any], said: str) -> None:
    with pytest.raises(AnalysisError, match=said):
        TunedLens.train(model, TEXTS[:20], progress=False, **options)


def test_what_is_no_text_or_no_plain_model(model: HookedGPTNeo) -> None:
    with pytest.raises(TokenizationError, match="text 1 is int"):
        TunedLens.train(model, ["a", 3], progress=False)
    with model.edits(ablate("z", layer=2, head=1)), pytest.raises(AnalysisError, match="edits are"):
        TunedLens.train(model, TEXTS, progress=False)
    config = dataclasses.replace(model.config, n_layers=1, attention_layers=("global",))
    bare = ns.HookedGPTNeo.from_config(config)
    with pytest.raises(TokenizationError, match="no tokenizer"):
        TunedLens.train(bare, TEXTS, progress=False)


def test_blocks_of_texts_show_nowhere(model: HookedGPTNeo, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_pieces(model, TEXTS).digest()
    monkeypatch.setattr(tuned_data, "_BLOCK", 7)
    assert read_pieces(model, TEXTS).digest() == whole


def test_another_models_cache_is_refused_whatever_model_is_given(
    model: HookedGPTNeo, lens: TunedLens, tmp_path: Path
) -> None:
    other = ns.load("organism-random")
    cache = other.run_with_cache(HELD[0])[1]
    with pytest.raises(AnalysisError, match="made by another model than the one given"):
        analysis.tuned_lens(cache, lens, model)
    cache.save(tmp_path / "run.safetensors")
    loaded = ActivationCache.load(tmp_path / "run.safetensors")
    with pytest.raises(AnalysisError, match="made by another model than the one given"):
        lens.lens(loaded, model)


def test_what_is_no_lens_model_cache_or_corpus(model: HookedGPTNeo, lens: TunedLens) -> None:
    cache = model.run_with_cache(HELD[0])[1]
    with pytest.raises(AnalysisError, match=r"takes a lens, as TunedLens.load\('x'\) returns"):
        analysis.tuned_lens(cache, "x")
    with pytest.raises(AnalysisError, match=r"takes a lens, as .* found HookedGPTNeo"):
        lens.evaluate(model, HELD, debiased=model, progress=False)
    with pytest.raises(AnalysisError, match="tuned_lens takes a cache"):
        analysis.tuned_lens(HELD[0], lens)
    for call in (TunedLens.train, lens.evaluate):
        with pytest.raises(AnalysisError, match=r"takes a model, as neoscope\.load"):
            call("organism", TEXTS)
        for texts in (5, None, b"text", {"text": "a"}):
            with pytest.raises(AnalysisError, match=f"found {type(texts).__name__}"):
                call(model, texts)
        with pytest.raises(AnalysisError, match="progress='yes'"):
            call(model, TEXTS, progress="yes")
    with pytest.raises(AnalysisError, match=r"TunedLens\.check takes a model"):
        lens.check("organism")


def test_judging_says_that_it_judges(model: HookedGPTNeo, lens: TunedLens) -> None:
    with pytest.raises(AnalysisError, match="no texts to judge a lens by"):
        lens.evaluate(model, [], progress=False)
    with pytest.raises(AnalysisError, match="batch_tokens=0"):
        lens.evaluate(model, HELD, batch_tokens=0, progress=False)
