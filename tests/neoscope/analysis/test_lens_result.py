"""What a lens prints and keeps, and what it cannot answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoscope import analysis
from neoscope.analysis.lens.result import LensResult
from neoscope.analysis.lens.words import cell, grid
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, CacheError, SiteError
from neoscope.model import HookedGPTNeo
from tests.neoscope.analysis.lens_runs import TEXTS, assert_same, cached


@pytest.fixture(scope="module")
def cache(model: HookedGPTNeo) -> ActivationCache:
    return cached(model, TEXTS[0])


def test_it_prints_its_calibration_and_its_caveat(cache: ActivationCache) -> None:
    lens = analysis.logit_lens(cache)
    said = str(lens)
    assert "bias_bits" in said
    assert "GPT-Neo the plain logit lens is known to fail" in said
    table = lens.calibration()
    assert list(table.layer) == list(lens.labels)
    np.testing.assert_allclose(table.kl, lens.kl.mean(1))
    np.testing.assert_allclose(table.cross_entropy, np.nanmean(lens.cross_entropy, 1))
    assert lens.caveat in lens._repr_html_()
    frame = lens.to_dataframe()
    assert len(frame) == len(lens.labels) * len(lens.tokens)
    assert frame.iloc[-1]["top_1"] == " Mary"


@pytest.mark.parametrize("options", [{}, {"mean_corrected": True}, {"site": "components"}])
def test_it_prints_words_in_80_columns(model: HookedGPTNeo, options: dict[str, Any]) -> None:
    """Layers down, positions across, the last position always among them."""
    for texts in (TEXTS[0], list(TEXTS), " ".join([TEXTS[0]] * 3)):
        lens = analysis.logit_lens(cached(model, texts), **options)
        lines = str(lens).splitlines()
        assert max(map(len, lines)) <= 80
        assert len(repr(lens)) <= 90
        words = lines[[line.split()[:1] for line in lines].index(["layer"], 4) :]
        last = [i for i, text in enumerate(lens.text) if text == 0][-1]
        assert words[0].split()[-1] == str(lens.position[last])
        shown = words[2 + lens.row(lens.labels[-1])]
        assert shown.startswith(lens.labels[-1])
        assert shown.endswith(cell(lens.top_tokens[-1, last, 0], 10))
        assert "every row and token: to_dataframe()" in " ".join(lines)
        assert f"<td>{lens.labels[-1]}</td>" in lens._repr_html_()


def test_very_many_rows_are_not_printed_word_by_word(cache: ActivationCache) -> None:
    lens = analysis.logit_lens(cache, site="heads")
    many = dataclasses.replace(lens, labels=tuple(map(str, range(41))))
    assert grid(lens)[1]
    assert grid(many) == ("", [])


def test_tokens_are_shown_on_one_line() -> None:
    assert (cell(" Wednesday", 6), cell("\n", 6), cell(" ", 6)) == ("Wedne…", "\\n", " ")


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_it_is_kept(cache: ActivationCache, tmp_path: Path, suffix: str) -> None:
    lens = analysis.logit_lens(cache, targets=" Mary")
    again = analysis.load(lens.save(tmp_path / f"lens.{suffix}"))
    assert isinstance(again, LensResult)
    assert_same(again, lens, 0)
    assert again.words == lens.words
    assert str(again) == str(lens)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"site": "resid_pots"}, "did you mean 'resid_post'"),
        ({"k": 0}, "k=0; expected a whole number from 1 to"),
        ({"k": 10_000}, "k=10000; expected a whole number from 1 to"),
        ({"targets": " Mary and John"}, "Mary and John"),
        ({"targets": [99_999]}, "99999"),
        ({"site": "heads", "mean_corrected": True}, "mean_corrected=True is for the stream"),
    ],
)
def test_arguments_that_mean_nothing(
    cache: ActivationCache, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(AnalysisError, match=said):
        analysis.logit_lens(cache, **options)


def test_what_was_not_cached_is_named(model: HookedGPTNeo, cache: ActivationCache) -> None:
    with pytest.raises(AnalysisError, match=r"needs \('resid_post', 3\)"):
        analysis.logit_lens(cached(model, TEXTS[0], sites="resid_pre"))
    only = cached(model, TEXTS[0], sites="resid_post", layers=[1, 3])
    assert analysis.logit_lens(only).labels == ("1", "3")
    with pytest.raises(CacheError, match="was not cached"):
        analysis.logit_lens(only, layers=[2])
    with pytest.raises(AnalysisError, match="needs z, which this cache does not hold"):
        analysis.logit_lens(only, site="heads")
    with pytest.raises(AnalysisError, match=r"layers=\[\] asks for no layer"):
        analysis.logit_lens(cache, layers=[])
    with pytest.raises(SiteError, match="layer 9 does not exist"):
        analysis.logit_lens(cache, layers=9)
    with pytest.raises(SiteError, match="out of range"):
        analysis.logit_lens(cache, positions=99)
    kept = cached(model, TEXTS[0], positions=[0, 1])
    with pytest.raises(AnalysisError, match=r"this cache kept positions=\[0, 1\] alone"):
        analysis.logit_lens(kept, positions=-1)
    with pytest.raises(AnalysisError, match="not in this result"):
        analysis.logit_lens(cache).word(-5)
    with pytest.raises(AnalysisError, match="no row '7'"):
        analysis.logit_lens(cache).row(7)


def test_what_is_no_cache_or_no_model(model: HookedGPTNeo, cache: ActivationCache) -> None:
    for wrong in ("The keys", model, None):
        with pytest.raises(AnalysisError, match="logit_lens takes a cache"):
            analysis.logit_lens(wrong)
    with pytest.raises(AnalysisError, match=r"takes a model, as neoscope.load\('organism'\)"):
        analysis.logit_lens(cache, "organism")
