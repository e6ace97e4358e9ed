"""extract: its numbers against those that a cache of the same run gives, one text at a time."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neoscope as ns
from neoscope import organism
from neoscope.edits import ablate
from neoscope.errors import ArgumentError, ExportError, SiteError
from neoscope.export import TruncationWarning
from neoscope.export.features import Features
from neoscope.export.memory import extract
from neoscope.export.progress import Progress
from neoscope.export.spec import FeatureSpec
from neoscope.export.text_input import texts_of

POOLS = ("mean", "weighted_mean", "last", "first", "max")
TEXTS = [s.text for task in ("sentiment", "ioi", "agreement") for s in organism.sentences(task, 4)]


@functools.cache
def model() -> Any:
    return ns.load("organism")


def quiet(texts: Any, spec: FeatureSpec | None = None, **options: Any) -> Features:
    return extract(model(), texts, spec, progress=False, **options)


def pooled(rows: np.ndarray, pool: str) -> np.ndarray:
    if pool == "weighted_mean":
        weight = np.arange(1, len(rows) + 1)[:, None]
        return (rows * weight).sum(0) / weight.sum()
    return {"mean": rows.mean(0), "last": rows[-1], "first": rows[0], "max": rows.max(0)}[pool]


def test_features_are_those_of_a_cache_of_the_same_text() -> None:
    features = quiet(TEXTS, FeatureSpec(["resid_post", "z"], layers=[1, 3], pool=POOLS))
    assert len(features) == len(TEXTS)
    for i, text in enumerate(TEXTS):
        _, cache = model().run_with_cache(text)
        for site in ("resid_post", "z"):
            for layer in (1, 3):
                rows = cache[site, layer][0].flatten(1).numpy()
                for pool in POOLS:
                    found = features[f"{site}_{layer}_{pool}"][i]
                    np.testing.assert_allclose(found, pooled(rows, pool), atol=1e-5, rtol=1e-5)


def test_one_number_a_text_is_a_plain_column() -> None:
    losses = quiet(TEXTS, FeatureSpec("loss"))["loss_mean"]
    assert losses.shape == (len(TEXTS),)
    expected = [model()(text, return_type="loss").item() for text in TEXTS]
    np.testing.assert_allclose(losses, expected, atol=1e-5)


@settings(max_examples=15)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8), st.integers(1, 60))
def test_a_text_is_the_same_in_any_batch(texts: list[str], batch_tokens: int) -> None:
    spec = FeatureSpec(layers=-1, pool=POOLS)
    together = quiet(texts, spec, batch_tokens=batch_tokens)
    for i, text in enumerate(texts):
        alone = quiet(text, spec)
        for name in alone.names:
            np.testing.assert_allclose(together[name][i], alone[name][0], atol=1e-5, rtol=1e-5)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [
        (FeatureSpec(["hidden", "loss"], pool=["mean", "max"]), None),
        (FeatureSpec(["resid_post", "pattern"], layers=0, pool="none"), None),
        (FeatureSpec(layers=0, pool=["token", "spans"], positions="at"), [[0, 5]] * len(TEXTS)),
    ]
    for spec, where in specs:
        whole = quiet(TEXTS, spec, where=where)
        with monkeypatch.context() as patch:
            patch.setattr("neoscope.export.memory._TEXTS_AT_ONCE", 5)
            parts = quiet(TEXTS, spec, where=where)
        pd.testing.assert_frame_equal(whole.to_dataframe(), parts.to_dataframe(), atol=1e-5)
        assert (len(whole), whole.n_tokens) == (len(parts), parts.n_tokens)


def test_edits_in_force_are_edits_of_the_features() -> None:
    edit = ablate("z", layer=2, head=1)
    spec = FeatureSpec("hidden", pool="last")
    before = quiet(TEXTS, spec)["hidden_last"]
    with model().edits(edit):
        edited = quiet(TEXTS, spec)["hidden_last"]
    for i, text in enumerate(TEXTS):
        hidden = model().run_with_edits(text, [edit], return_type="hidden")
        np.testing.assert_allclose(edited[i], hidden[0, -1].detach().numpy(), atol=1e-5, rtol=1e-5)
    assert np.abs(edited - before).max() > 0.01
    np.testing.assert_array_equal(quiet(TEXTS, spec)["hidden_last"], before)


def test_hooks_are_run_on_every_text() -> None:
    def double(x: torch.Tensor, hook: Any) -> torch.Tensor:
        return 2 * x

    spec = FeatureSpec(layers=1, pool="mean")
    plain = quiet(TEXTS, spec)["resid_post_1_mean"]
    with model().hooks(fwd_hooks=[("blocks.1.hook_resid_post", double)]):
        hooked = quiet(TEXTS, spec)["resid_post_1_mean"]
    np.testing.assert_allclose(hooked, 2 * plain, rtol=1e-5, atol=1e-5)


def test_every_token_says_which_it_is() -> None:
    texts = ["The food was lovely.", "I liked it."]
    features = quiet(texts, FeatureSpec(["resid_post", "surprisal"], layers=2, pool="none"))
    assert features.tokens is not None
    assert len(features) == features.n_tokens == len(features.tokens["token"])
    at = 0
    for i, text in enumerate(texts):
        _, cache = model().run_with_cache(text)
        n = cache.tokens.ids.shape[1]
        rows = slice(at, at + n)
        np.testing.assert_array_equal(features.tokens["text"][rows], i)
        np.testing.assert_array_equal(features.tokens["token_index"][rows], np.arange(n))
        np.testing.assert_array_equal(features.tokens["token_id"][rows], cache.tokens.ids[0])
        for k in range(at, at + n):
            start, stop = features.tokens["token_start"][k], features.tokens["token_stop"][k]
            assert text[start:stop] == features.tokens["token"][k]
        found = features["resid_post_2"][rows]
        np.testing.assert_allclose(found, cache["resid_post", 2][0], atol=1e-5, rtol=1e-5)
        assert np.isnan(features["surprisal"][at])
        at += n
    assert list(features.to_dataframe().columns[:2]) == ["text", "token_index"]


def test_token_and_spans_stand_where_each_row_says() -> None:
    texts = ["The food was lovely.", "I liked it."]
    spec = FeatureSpec(layers=1, pool=["token", "spans"], positions="where")
    features = quiet(texts, spec, where=[[4, 12], [2, 7]])
    rows = [model().run_with_cache(text)[1]["resid_post", 1][0].numpy() for text in texts]
    np.testing.assert_allclose(features["resid_post_1_token"][0], rows[0][2], atol=1e-5)
    spans = features["resid_post_1_spans"]
    assert spans.dtype == object
    np.testing.assert_allclose(spans[0], rows[0][1:3].mean(0)[None], atol=1e-5)
    np.testing.assert_allclose(spans[1], rows[1][1:2], atol=1e-5)


def test_a_text_alone_is_one_row() -> None:
    assert quiet(TEXTS[0], FeatureSpec(layers=0))["resid_post_0_mean"].shape == (1, 128)
    spec = FeatureSpec(layers=0, pool="token", positions="where")
    assert quiet(TEXTS[0], spec, where=1)["resid_post_0_token"].shape == (1, 128)


def test_no_texts_are_no_rows() -> None:
    features = quiet([], FeatureSpec(["resid_post", "loss"], layers=0))
    assert features["resid_post_0_mean"].shape == (0, 128)
    assert features["loss_mean"].shape == (0,)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (None, "row 2: the text is null"),
        (7, "row 2: the text is int, not a string: 7"),
        ("", "row 2: the text is empty"),
        ("\ud800", "row 2: the text is not valid Unicode"),
    ],
)
def test_a_bad_row_is_named_or_left_without_features(bad: Any, said: str) -> None:
    texts = [*TEXTS[:2], bad, *TEXTS[2:4]]
    with pytest.raises(ExportError, match=said):
        quiet(texts)
    features = quiet(texts, FeatureSpec(["hidden", "loss"]), on_error="null")
    assert said.endswith(features.problems[2][: len(said) - len("row 2: ")])
    without = np.isnan(features["hidden_mean"]).all(1)
    assert without.tolist() == [False, False, True, False, False]
    assert np.isnan(features["loss_mean"]).tolist() == without.tolist()
    others = quiet(TEXTS[2:4], FeatureSpec("loss"))["loss_mean"]
    np.testing.assert_allclose(features["loss_mean"][3:], others, atol=1e-5)


def test_a_bad_row_is_found_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neoscope.export.memory._TEXTS_AT_ONCE", 2)
    monkeypatch.setattr("neoscope.export.extractor.Extractor.run", None)
    with pytest.raises(ExportError, match=r"row 5: .*\(1 more rows"):
        quiet([*TEXTS[:5], None, ""])


def test_long_texts_are_cut_with_one_warning() -> None:
    spec = FeatureSpec(layers=0, max_length=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features = quiet(TEXTS[:3], spec)
    (warning,) = caught
    assert warning.category is TruncationWarning
    assert warning.filename == __file__
    assert set(features.cut) == {0, 1, 2}
    short = " ".join(TEXTS[0].split()[:3])
    alone = quiet(short, FeatureSpec(layers=0))
    np.testing.assert_allclose(
        features["resid_post_0_mean"][0], alone["resid_post_0_mean"][0], atol=1e-5
    )
    with pytest.raises(ExportError, match=r"row 0: the text has \d+ tokens, more than 3"):
        quiet(TEXTS[:3], FeatureSpec(layers=0, max_length=3, truncation="error"))


def test_progress_counts_texts_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neoscope.export.memory._TEXTS_AT_ONCE", 4)
    told: list[Progress] = []
    features = extract(model(), TEXTS, FeatureSpec(layers=0), progress=told.append)
    assert len(told) >= len(TEXTS) / 4
    assert (told[-1].rows, told[-1].total_rows) == (len(TEXTS), len(TEXTS))
    assert told[-1].tokens == features.n_tokens


@pytest.mark.parametrize(
    "column",
    [
        tuple(TEXTS),
        iter(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object)[:, None],
        pd.Series(TEXTS, index=range(5, 5 + len(TEXTS))),
        pd.Series(TEXTS, dtype="string"),
        pd.DataFrame({"text": TEXTS}),
        pl.Series(TEXTS),
        pl.DataFrame({"text": TEXTS}),
        pa.array(TEXTS),
        pa.table({"text": TEXTS}),
        pa.chunked_array([TEXTS[:2], TEXTS[2:]]),
    ],
    ids=lambda column: f"{type(column).__module__}.{type(column).__name__}",
)
def test_texts_come_from_any_column(column: Any) -> None:
    assert texts_of(column) == (TEXTS, {})


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_whatever_is_missing_is_null(missing: Any) -> None:
    assert texts_of(pd.Series(["a", missing], dtype=object))[1] == {1: "the text is null"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"bytes", "found bytes"),
        ({"text": ["a"]}, "found dict"),
        (5, "found int: 5"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"found 2 feature\(s\) .*frame\['text'\]"),
        (np.array("a"), r"shape=\(\)"),
        (np.zeros((1, 1, 1)), r"shape=\(1, 1, 1\)"),
    ],
)
def test_what_is_no_column_is_refused(source: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        texts_of(source)


def test_errors_name_what_is_near() -> None:
    features = quiet(TEXTS[0])
    with pytest.raises(ExportError, match="did you mean 'resid_post_3_mean'"):
        features["resid_post_3_meen"]
    with pytest.raises(SiteError, match="layer 9 does not exist"):
        quiet(TEXTS, FeatureSpec(layers=9))
    with pytest.raises(ArgumentError, match="where= is for pool='token'"):
        quiet(TEXTS, where=[1] * len(TEXTS))
    spec = FeatureSpec(pool="token", positions="at")
    with pytest.raises(ArgumentError, match=f"where has 1 values for {len(TEXTS)} texts"):
        quiet(TEXTS, spec, where=[1])


def test_features_print_and_mean_something() -> None:
    features = quiet(TEXTS[:2], FeatureSpec(["hidden", "loss"], normalize=True))
    tokens = features.n_tokens
    assert repr(features) == (
        f"Features(2 texts, {tokens} tokens, float32: hidden_mean [2, 128], loss_mean [2])"
    )
    assert features.meaning["loss_mean"] == (
        "-log p(next token), nats; mean of the tokens, divided by its norm"
    )
    assert "4 more" in repr(quiet(TEXTS[:2], FeatureSpec(pool=["mean", "last"])))
