"""A chunk and its features as one table: rows skipped, null or refused, tokens, lists, names."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pytest

from neoscope.errors import ExportError
from neoscope.export.extractor import Extractor
from neoscope.export.reading import read_chunks
from neoscope.export.spec import FeatureSpec
from neoscope.export.table import (
    check_names,
    refuse_problems,
    shard_table,
)
from tests.neoscope.export.oracle import OUTSIDE, close, ids_of, run, tokenizer
from tests.neoscope.export.tabling import GOOD, MODEL, REASONS, ROWS, chunk_of, shard


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


# ---- spans -----------------------------------------------------------------------------------


# ---- names and types -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embed_mean", "loss_mean"])
def test_a_column_of_the_input_is_never_overwritten(name: str) -> None:
    said = f"the input has a column {name!r}, which is what a new column would be called"
    with pytest.raises(ExportError, match=re.escape(said)):
        shard(FeatureSpec(["embed", "loss"]), [{"text": "a", name: 1}])
    assert shard(FeatureSpec("embed", pool="last"), [{"text": "a", name: 1}])
    kept = shard(FeatureSpec(["embed", "loss"]), [{"text": "a", name: 1}], keep=["text"])
    assert kept.table.column_names == ["id", "text", "embed_mean", "loss_mean"]


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
