"""top_activations finds what was planted, equals brute force, and loses nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.analysis.neuron import corpus as neuron_corpus
from neoscope.edits import ablate
from neoscope.errors import AnalysisError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled import (
    gate_prompts,
)
from tests.neoscope.analysis.neuron_runs import TEXTS, everything, find, same_places, spelled


@pytest.mark.parametrize("site", ["post", "pre", "z", "resid_post"])
def test_top_and_bottom_equal_a_sort_over_all_activations(model: HookedGPTNeo, site: str) -> None:
    values, places = everything(model, site, 2)
    found = find(model, site=site, layer=2, k=7, batch_tokens=60)
    assert len(found.units) == values.shape[1]
    numbered = dataclasses.replace(found, units=tuple(map(str, range(len(found.units)))))
    same_places(numbered, values, places, 7, 1)
    same_places(numbered, values, places, 7, -1)
    np.testing.assert_allclose(found.mean, values.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.sd, values.std(0), atol=1e-5)
    np.testing.assert_allclose(found.share_positive, (values > 0).mean(0), atol=2e-3)
    assert (found.counts.sum(1) == len(values)).all()
    assert found.n_tokens == len(values)
    assert found.n_texts == len(TEXTS)
    assert found.complete


def test_batches_padding_and_edits_change_nothing(model: HookedGPTNeo) -> None:
    alone = find(model, layer=1, unit=range(40), k=5, batch_tokens=1)
    with model.edits(ablate("z", layer=3, head=0)):  # edits are run in padded batches
        padded = find(model, layer=1, unit=range(40), k=5)
    for other in (find(model, layer=1, unit=range(40), k=5, batch_tokens=200), padded):
        np.testing.assert_allclose(other.top_value, alone.top_value, atol=1e-5)
        np.testing.assert_allclose(other.bottom_value, alone.bottom_value, atol=1e-5)
        np.testing.assert_allclose(other.sd, alone.sd, atol=1e-5)


@pytest.mark.parametrize("unique", [None, "token", "context"])
def test_ties_stand_in_the_order_of_the_corpus_whatever_the_batches(unique: str | None) -> None:
    model = ns.load("gates")
    prompts = spelled(model, torch.cat([gate_prompts("or"), gate_prompts("and")]))
    texts = [*prompts, prompts[0].rsplit(" ", 1)[0], *prompts]
    results = [
        find(model, texts, layer=0, k=40, unique=unique, batch_tokens=size)
        for size in (1, 8, 13, 1000)
    ]
    for found in results:
        for field in dataclasses.fields(found):
            a, b = getattr(found, field.name), getattr(results[0], field.name)
            if isinstance(a, np.ndarray) and a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, atol=1e-5, err_msg=field.name)
            else:
                np.testing.assert_array_equal(a, b, err_msg=field.name)
    table = results[0].places(3)  # a dead neuron: all places tie
    where = list(zip(table.text, table.position, strict=True))
    assert where == sorted(where)
    if unique is None:
        assert (
            where == [(i, p) for i, text in enumerate(texts) for p in range(len(text.split()))][:40]
        )
    if unique == "token":
        assert sorted(table.token) == sorted({word for text in texts for word in text.split()})
    if unique == "context":
        seen = {" ".join(text.split()[: p + 1]) for text in texts for p in range(4)}
        assert len(where) == len(seen)


def test_a_unit_seen_alone_or_among_all_is_the_same(model: HookedGPTNeo) -> None:
    among, alone = find(model, layer=2), find(model, layer=-2, unit=17)
    assert alone.units == ("17",)
    np.testing.assert_array_equal(alone.top_value[0], among.top_value[17])
    assert alone.places().equals(among.places(17))
    assert alone.histogram()["tokens"].sum() == among.n_tokens


def test_corpora_of_every_kind_are_read_alike(model: HookedGPTNeo, tmp_path: Path) -> None:
    import pandas as pd

    expected = find(model, layer=0, unit=[3, 5])
    (tmp_path / "corpus.txt").write_text("\n".join(TEXTS) + "\n")
    rows = [json.dumps({"id": f"t{i}", "said": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
    named = tmp_path / "corpus.jsonl"
    for texts, options in (
        (tmp_path / "corpus.txt", {}),
        (str(named), {"text_column": "said"}),
        (pd.DataFrame({"said": TEXTS}), {"text_column": "said"}),
        ((text for text in TEXTS), {}),
    ):
        found = find(model, texts, layer=0, unit=[3, 5], **options)
        np.testing.assert_array_equal(found.top_value, expected.top_value)
        assert found.before == expected.before
    assert find(model, named, layer=0, unit=3, text_column="said").text[0].startswith("t")


def test_parts_of_a_corpus_are_one_corpus(
    model: HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = find(model, layer=1, unit=[0, 9], unique="context")
    monkeypatch.setattr(neuron_corpus, "_TEXTS_AT_ONCE", 5)
    found = find(model, layer=1, unit=[0, 9], unique="context")
    np.testing.assert_allclose(found.top_value, expected.top_value, atol=1e-5)
    assert found.piece == expected.piece
    assert found.after == expected.after
    assert found.text == expected.text


def test_the_token_is_marked_in_its_context(model: HookedGPTNeo) -> None:
    texts = ["The keys to the cabinet are on the table."]
    found = find(model, texts, layer=0, unit=0, k=50, context=2)
    contexts = dict(zip(*(found.places()[x] for x in ("position", "context")), strict=True))
    assert contexts[0] == "«The» keys to"
    assert contexts[4] == "to the «cabinet» are on"
    assert contexts[9] == "the table«.»"
    none = find(model, texts, layer=0, unit=0, context=0).places().context
    words = ["The", "keys", "to", "the", "cabinet", "are", "on", "table", "."]
    assert set(none) == {f"«{word}»" for word in words}


def test_an_added_first_token_counts_and_shows(model: HookedGPTNeo) -> None:
    found = find(model, ["The keys"], layer=0, unit=0, prepend_bos=True, k=5)
    contexts = dict(zip(*(found.places()[x] for x in ("position", "context")), strict=True))
    assert contexts == {
        0: "«<|endoftext|>»The keys",
        1: "<|endoftext|>«The» keys",
        2: "<|endoftext|>The «keys»",
    }


def test_long_texts_are_read_in_windows_each_token_once(model: HookedGPTNeo) -> None:
    text = " ".join(["The keys to the cabinet are on the table."] * 60)
    n = 10 * 60
    assert n > model.config.n_ctx
    found = find(model, [text], layer=0, unit=0, k=3)
    assert found.n_tokens == n
    assert find(model, [text], layer=0, unit=0, truncation="truncate").n_tokens < n
    with pytest.raises(AnalysisError, match=f"row 0: the text has {n} tokens"):
        find(model, [text], layer=0, unit=0, truncation="error")


def test_result_is_a_table_is_kept_and_is_escaped(model: HookedGPTNeo, tmp_path: Path) -> None:
    texts = [*TEXTS, "<b>The keys</b>"]
    with pytest.warns(UserWarning, match="outside the vocabulary"):
        found = find(model, texts, layer=2, unit=[17, 4], k=200)
    assert len(found.to_dataframe()) == 2 * 2 * 200
    shown = find(model, TEXTS[:1], layer=2, unit=4)._repr_html_()
    assert "<mark>" in shown
    assert "<b>" not in found._repr_html_()
    assert "17" in str(found)
    assert list(found.statistics().unit) == ["17", "4"]
    for suffix in ("json", "safetensors"):
        again: Any = analysis.load(found.save(tmp_path / f"x.{suffix}"))
        for field in dataclasses.fields(found):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))
        assert again.to_dataframe().equals(found.to_dataframe())
    with pytest.raises(AnalysisError, match="unit 18 was not asked for"):
        found.places(18)
    with pytest.raises(AnalysisError, match="there are 2 units: say which"):
        found.histogram()
    with pytest.raises(AnalysisError, match="end='middle'"):
        found.places(17, "middle")


def test_fixed_bins_are_the_callers(model: HookedGPTNeo) -> None:
    found = find(model, layer=2, unit=17, bins=[0, 1])
    table = found.histogram()
    assert table.low.tolist() == [-np.inf, 0, 1]
    assert table.tokens.sum() == found.n_tokens
    assert table.tokens.iloc[1:].sum() >= round(found.share_positive[0] * found.n_tokens)


def test_half_precision_is_read(model: HookedGPTNeo) -> None:
    half = ns.load("organism", dtype=torch.bfloat16)
    found, full = (find(m, layer=2, unit=17, k=3) for m in (half, model))
    np.testing.assert_allclose(found.top_value, full.top_value, rtol=0.1, atol=0.1)
