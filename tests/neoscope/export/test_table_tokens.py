"""Tables whose rows are tokens, and columns of lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import neoscope as ns
from neoscope.errors import ExportError
from neoscope.export.extractor import Extractor
from neoscope.export.spec import FeatureSpec
from neoscope.export.table import (
    _starts,
    shard_table,
)
from tests.neoscope.export.oracle import close, ids_of, run
from tests.neoscope.export.tabling import GOOD, MODEL, ROWS, chunk_of, shard


def test_rows_of_tokens_say_which_they_are() -> None:
    spec = FeatureSpec(["resid_post", "surprisal"], layers=1, pool="none")
    table = shard(spec).table
    assert table.column_names == [
        "id",
        "label",
        "token_index",
        "token_id",
        "token_start",
        "token_stop",
        "token",
        "resid_post_1",
        "surprisal",
    ]
    rows = table.to_pylist()
    ids = [ids_of(text, spec) for text in GOOD]
    assert [row["token_id"] for row in rows] == [i for row in ids for i in row]
    assert [row["token_index"] for row in rows] == [t for row in ids for t in range(len(row))]
    assert [row["id"] for row in rows] == [
        k for k, row in zip("prt", ids, strict=True) for _ in row
    ]
    texts = dict(zip("prt", GOOD, strict=True))
    for row in rows:
        assert row["token"] == texts[row["id"]][row["token_start"] : row["token_stop"]]
        assert (row["surprisal"] is None) == (row["token_index"] == 0)
    assert [row["token"] for row in rows if row["id"] == "r"] == ["é", "é", " a"]
    values = run(MODEL, spec, GOOD).features["resid_post_1"]
    close([row["resid_post_1"] for row in rows], values)


def test_the_token_before_a_text_is_called_by_its_name() -> None:
    spec = FeatureSpec("embed", pool="none", prepend_bos=True)
    rows = shard(spec, [{"id": 0, "text": ""}, {"id": 1, "text": "a é"}]).table.to_pylist()
    assert [row["token"] for row in rows] == ["<eos>", "<eos>", "a", " ", "é", "é"]
    assert [row["token_start"] for row in rows] == [0, 0, 0, 1, 2, 2]


def test_tokens_without_characters_are_not_called_the_token_before_the_text() -> None:
    # Tokenizers that trim offsets give none to a token of nothing but space.
    model = ns.load("organism")
    extractor = Extractor(model, FeatureSpec("embed", pool="none", prepend_bos=True))
    chunk = chunk_of(["The  film"])
    with pytest.warns(ns.UnseenWordWarning):
        encoded = extractor.encode(chunk.texts)
    table = shard_table(chunk, extractor.run(encoded), extractor, "fail", "text").table
    tokens = table["token"].to_pylist()
    assert tokens[0] == model.tokenizer.bos_token
    assert "" in tokens[1:]
    assert model.tokenizer.bos_token not in tokens[1:]


def test_cut_texts_have_only_the_tokens_that_are_read() -> None:
    spec = FeatureSpec("embed", pool="none", max_length=3)
    table = shard(spec, ["abcdef", "gh"]).table
    assert table["token"].to_pylist() == ["a", "b", "c", "g", "h"]
    spec = FeatureSpec("embed", pool="none", max_length=3, truncation="stride")
    assert shard(spec, ["abcdef", "gh"]).table["token"].to_pylist() == list("abcdefgh")


def test_patterns_are_lists_of_every_head_and_token() -> None:
    table = shard(FeatureSpec(["pattern", "embed"], layers=0, pool="none")).table
    assert table["pattern_0"].type == pa.list_(pa.float32())
    ids = [ids_of(text, FeatureSpec()) for text in GOOD]
    _, cache = MODEL.run_with_cache([ids[1]])
    rows = [row for row in table.to_pylist() if row["id"] == "r"]
    for t, row in enumerate(rows):
        close(row["pattern_0"], cache["pattern", 0][0, :, t].flatten())
    n_values = [len(row) for row in table["pattern_0"].to_pylist()]
    assert n_values == [3 * len(row) for row in ids for _ in row]


def test_more_values_than_a_list_column_holds_are_refused() -> None:
    assert _starts(np.array([2**30, 2**30 - 1])).to_pylist() == [0, 2**30, 2**31 - 1]
    with pytest.raises(ExportError, match=r"2,147,483,648 values.* choose a smaller shard_rows"):
        _starts(np.array([2**30, 2**30]))


def test_spans_are_lists_of_vectors_and_null_where_the_row_is_bad() -> None:
    where = [[[0, 3], [4, 8]], [[0, 1]], [[9, 12]], [[0, 1]], []]
    rows = [{**row, "at": at} for row, at in zip(ROWS, where, strict=True)]
    spec = FeatureSpec(["resid_post", "surprisal"], layers=1, pool="spans", positions="at")
    for on_error, kept in (("null", "pqrst"), ("skip", "pt")):
        table = shard(spec, rows, on_error).table
        assert table["id"].to_pylist() == list(kept)
        vectors, numbers = table["resid_post_1_spans"], table["surprisal_spans"]
        assert vectors.type == pa.list_(pa.list_(pa.float32(), MODEL.config.d_model))
        assert numbers.type == pa.list_(pa.float32())
        found = dict(zip(kept, vectors.to_pylist(), strict=True))
        alone = run(MODEL, spec, ["the film"], where=[[[0, 3], [4, 8]]]).features
        close(found["p"], alone["resid_post_1_spans"])
        assert found["t"] == []
        assert all(found[key] is None for key in "qrs" if key in found)
        # The first token has no surprisal, and "the" is one token.
        first = dict(zip(kept, numbers.to_pylist(), strict=True))["p"]
        assert first[0] is None
        close(first[1], alone["surprisal_spans"][1, 0])
        table.validate(full=True)


def test_a_bad_place_is_skipped_with_its_reason() -> None:
    rows = [{"id": i, "text": "abc", "at": at} for i, at in enumerate(["1", "[0, 2]", "x", "7"])]
    spec = FeatureSpec("embed", pool="token", positions="at")
    made = shard(spec, rows, "skip")
    assert made.table["id"].to_pylist() == [0, 1]
    assert [bad["reason"].partition(":")[0] for bad in made.facts["skipped"]] == ["at='x'", "at=7"]


@pytest.mark.parametrize("name", ["token", "token_id", "token_index", "token_start", "token_stop"])
def test_columns_of_tokens_clash_only_where_rows_are_tokens(name: str) -> None:
    row = [{"text": "a", name: 1}]
    with pytest.raises(ExportError, match=f"column '{name}'"):
        shard(FeatureSpec("embed", pool="none"), row)
    assert name in shard(FeatureSpec("embed"), row).table.column_names
