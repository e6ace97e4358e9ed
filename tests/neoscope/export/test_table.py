"""A chunk and its features as one table: rows skipped, null or refused, tokens, lists, names."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import neoscope as ns
from neoscope.errors import ExportError
from neoscope.export.extractor import Extractor
from neoscope.export.reading import Chunk, read_chunks
from neoscope.export.spec import FeatureSpec
from neoscope.export.table import (
    ShardTable,
    _starts,
    check_names,
    refuse_problems,
    shard_table,
)
from tests.neoscope.export.oracle import OUTSIDE, close, ids_of, run, tiny, tokenizer

MODEL = tiny()
ROWS = [
    {"id": "p", "text": "the film", "label": 1},
    {"id": "q", "text": None, "label": 2},
    {"id": "r", "text": "é a", "label": None},
    {"id": "s", "text": OUTSIDE, "label": 4},
    {"id": "t", "text": "a", "label": 5},
]
GOOD = ["the film", "é a", "a"]
REASONS = {1: "the text is null", 3: "token id 270 is outside the model's vocabulary of 270"}


def chunk_of(rows: Any, **options: Any) -> Chunk:
    return next(read_chunks(rows, **options))


def shard(
    spec: FeatureSpec, rows: Any = ROWS, on_error: Any = "null", **options: Any
) -> ShardTable:
    chunk = chunk_of(rows, positions_column=spec.column, **options)
    extractor = Extractor(MODEL, spec)
    encoded = extractor.encode(chunk.texts, where=chunk.where, problems=chunk.problems)
    return shard_table(chunk, extractor.run(encoded), extractor, on_error, "text")


def test_null_keeps_every_row_and_leaves_bad_ones_without_features() -> None:
    made = shard(FeatureSpec(["resid_post", "loss"], layers=1, pool=["mean", "last"]))
    table = made.table
    assert table.column_names == [
        "id",
        "text",
        "label",
        "resid_post_1_mean",
        "resid_post_1_last",
        "loss_mean",
        "loss_last",
    ]
    assert table["id"].to_pylist() == list("pqrst")
    assert table["label"].to_pylist() == [1, 2, None, 4, 5]
    vectors = table["resid_post_1_mean"]
    assert vectors.type == pa.list_(pa.float32(), MODEL.config.d_model)
    assert vectors.is_null().to_pylist() == [False, True, False, True, False]
    assert table["loss_mean"].type == pa.float32()
    # A single token has no loss; the row is as good as any.
    assert table["loss_mean"].is_null().to_pylist() == [False, True, False, True, True]
    table.validate(full=True)
    assert not made.facts["skipped"]
    assert [bad["row"] for bad in made.facts["nulled"]] == [1, 3]


def test_features_stand_beside_their_rows() -> None:
    spec = FeatureSpec(["resid_post", "entropy"], layers=1)
    alone = {text: run(MODEL, spec, [text]).features for text in GOOD}
    for on_error in ("null", "skip"):
        for row in shard(spec, on_error=on_error).table.to_pylist():
            if row["text"] in GOOD:
                close(row["resid_post_1_mean"], alone[row["text"]]["resid_post_1_mean"][0])
                close(row["entropy_mean"], alone[row["text"]]["entropy_mean"][0, 0])
            else:
                assert row["resid_post_1_mean"] is None


def test_skip_leaves_bad_rows_out_and_lists_them() -> None:
    made = shard(FeatureSpec(layers=1), on_error="skip")
    assert made.table["id"].to_pylist() == ["p", "r", "t"]
    assert made.table["text"].to_pylist() == GOOD
    assert made.table["resid_post_1_mean"].null_count == 0
    assert (made.index, made.start, made.stop) == (0, 0, 5)
    assert made.facts["nulled"] == []
    assert made.facts["skipped"] == [
        {"row": 1, "id": "q", "reason": REASONS[1]},
        {"row": 3, "id": "s", "reason": REASONS[3]},
    ]


def test_facts_count_tokens_and_cuts_and_are_json() -> None:
    rows = [*ROWS, {"id": "u", "text": "a" * 60, "label": 6}]
    made = shard(FeatureSpec(layers=1), rows)
    n = sum(len(ids_of(text, FeatureSpec())) for text in GOOD) + 48
    assert made.facts == {
        "tokens": n,
        "truncated": 1,
        "cut_tokens": 12,
        "skipped": [],
        "nulled": [{"row": i, "id": "pqrst"[i], "reason": why} for i, why in REASONS.items()],
        "input_sha256": chunk_of(rows).sha256,
    }
    assert json.loads(json.dumps(made.facts)) == made.facts


def test_the_rows_of_a_later_chunk_are_counted_from_the_first() -> None:
    chunks = list(read_chunks(ROWS, rows=3))
    extractor = Extractor(MODEL, FeatureSpec(layers=0))
    encoded = extractor.encode(chunks[1].texts, problems=chunks[1].problems)
    made = shard_table(chunks[1], extractor.run(encoded), extractor, "skip", "text")
    assert (made.index, made.start, made.stop) == (1, 3, 5)
    assert made.facts["skipped"][0]["row"] == 3
    with pytest.raises(ExportError, match=r"^row 3 \(id 's'\): token id 270"):
        refuse_problems(chunks[1], encoded)


def test_fail_names_the_first_row_and_how_many_more() -> None:
    chunk = chunk_of(ROWS)
    encoded = Extractor(MODEL, FeatureSpec()).encode(chunk.texts, problems=chunk.problems)
    with pytest.raises(ExportError) as caught:
        refuse_problems(chunk, encoded)
    assert str(caught.value) == (
        "row 1 (id 'q'): the text is null (1 more in rows 0 to 4); on_error='skip' leaves such "
        "rows out, 'null' keeps them without features"
    )
    chunk = chunk_of(ROWS[:3])
    encoded = Extractor(MODEL, FeatureSpec()).encode(chunk.texts, problems=chunk.problems)
    with pytest.raises(ExportError, match=r"^row 1 \(id 'q'\): the text is null; on_error="):
        refuse_problems(chunk, encoded)
    chunk = chunk_of(ROWS[:1])
    refuse_problems(chunk, Extractor(MODEL, FeatureSpec()).encode(chunk.texts))


@pytest.mark.parametrize("on_error", ["skip", "null"])
@pytest.mark.parametrize("pool", ["mean", "max", "none"])
def test_a_shard_of_nothing_but_bad_rows(on_error: str, pool: str) -> None:
    rows = [{"id": 0, "text": None}, {"id": 1, "text": ""}]
    made = shard(FeatureSpec(["resid_post", "loss"], layers=1, pool=pool), rows, on_error)
    full = shard(FeatureSpec(["resid_post", "loss"], layers=1, pool=pool), on_error=on_error)
    assert made.table.num_rows == (2 if on_error == "null" and pool != "none" else 0)
    names = [name for name in made.table.column_names if name.startswith(("resid", "loss", "tok"))]
    assert made.table.select(names).schema == full.table.select(names).schema
    made.table.validate(full=True)


# ---- a row a token ---------------------------------------------------------------------------


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


# ---- spans -----------------------------------------------------------------------------------


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


# ---- names and types -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embed_mean", "loss_mean"])
def test_a_column_of_the_input_is_never_overwritten(name: str) -> None:
    said = f"the input has a column {name!r}, which is what a new column would be called"
    with pytest.raises(ExportError, match=re.escape(said)):
        shard(FeatureSpec(["embed", "loss"]), [{"text": "a", name: 1}])
    assert shard(FeatureSpec("embed", pool="last"), [{"text": "a", name: 1}])
    kept = shard(FeatureSpec(["embed", "loss"]), [{"text": "a", name: 1}], keep=["text"])
    assert kept.table.column_names == ["id", "text", "embed_mean", "loss_mean"]


@pytest.mark.parametrize("name", ["token", "token_id", "token_index", "token_start", "token_stop"])
def test_columns_of_tokens_clash_only_where_rows_are_tokens(name: str) -> None:
    row = [{"text": "a", name: 1}]
    with pytest.raises(ExportError, match=f"column '{name}'"):
        shard(FeatureSpec("embed", pool="none"), row)
    assert name in shard(FeatureSpec("embed"), row).table.column_names


def test_names_are_checked_before_anything_is_run() -> None:
    features = FeatureSpec("embed").features(MODEL.config)
    check_names(["id", "text", "token"], features, by_token=False)
    with pytest.raises(ExportError, match="keep= lists the columns"):
        check_names(["id", "embed_mean"], features, by_token=False)


def test_half_precision_is_kept_as_such() -> None:
    spec = FeatureSpec(["resid_post", "loss", "ln2.scale"], layers=0, dtype="float16")
    table = shard(spec).table
    assert table["resid_post_0_mean"].type == pa.list_(pa.float16(), MODEL.config.d_model)
    assert table["loss_mean"].type == table["ln2_scale_0_mean"].type == pa.float16()
    exact = shard(FeatureSpec(["loss"], layers=0)).table["loss_mean"].to_pylist()
    for found, reference in zip(table["loss_mean"].to_pylist(), exact, strict=True):
        assert (found is None) == (reference is None)
        if reference is not None:
            assert float(found) == pytest.approx(reference, rel=1e-3)


def test_no_value_is_nan_where_it_is_not_null() -> None:
    spec = FeatureSpec(["resid_post", "loss", "attn_to_previous"], pool=["mean", "max", "last"])
    table = shard(spec).table
    for name in table.column_names[3:]:
        values = table[name].combine_chunks().drop_null()
        flat = values.flatten() if pa.types.is_nested(values.type) else values
        assert np.isfinite(flat.to_numpy(zero_copy_only=False)).all()


def test_the_tokenizer_of_these_tests_knows_a_word_that_the_model_does_not() -> None:
    assert tokenizer()(OUTSIDE)["input_ids"] == [MODEL.config.d_vocab]
