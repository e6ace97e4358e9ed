"""What training reads: weights, distances of copies, ends of documents, shares of tasks."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from neoscope.organism.language import TASKS
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.grammar import END
from neoscope.organism.language.vocabulary import encode
from neoscope.organism.training import rows


def test_weight_marks_the_words_that_the_earlier_copy_tells() -> None:
    ids, weight = rows.repeated(random.Random("rows"), 400, 128, range(97))
    assert ids.shape == weight.shape == (400, 128)
    assert weight.unique().tolist() == pytest.approx([rows.UNTOLD, 1.0])
    for row, marks in zip(ids.tolist(), weight.tolist(), strict=True):
        assert max(Counter(row).values()) <= 2
        for k, mark in enumerate(marks):
            before = row[: k - 1].index(row[k - 1]) if k and row[k - 1] in row[: k - 1] else None
            assert (before is not None and row[before + 1] == row[k]) == (mark == 1.0)
    # The weights leave no doubt of where copies stand: any other repeat begins one.
    assert 0.1 < (weight == 1.0).float().mean() < 0.5


def test_distances_of_copies_are_those_asked_for() -> None:
    for distances in ((0,), (5, 6), (50,)):
        ids, weight = rows.repeated(random.Random("rows"), 60, 128, distances)
        for row, marks in zip(ids.tolist(), weight.tolist(), strict=True):
            for k in range(128):
                if marks[k] == 1.0:
                    apart = k - row.index(row[k])
                    assert any(4 <= apart - d <= 20 for d in distances)


def test_documents_stand_between_ends() -> None:
    (end, stop) = encode([END, "."])
    ids = rows.language(random.Random("documents"), 200, 128)
    assert ids.shape == (200, 128)
    assert (ids[1::2, 0] == end).all() and (ids[::2, 0] != end).all()
    capitals = set(encode(w for w in lex.parts_of_speech() if w[0].isupper()))
    for row in ids.tolist():
        for k, token in enumerate(row):
            if token == end and k:
                assert row[k - 1] == stop
            if k and row[k - 1] == end:
                assert token in capitals


def test_shares_are_of_all_documents() -> None:
    assert sum(rows.SHARES.values()) == pytest.approx(1.0)
    assert set(rows.SHARES) == set(TASKS) - {"induction", "far-induction"}
