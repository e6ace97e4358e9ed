"""Sentences as they are asked for: repeats, seeds, files, tables, and mistakes."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neoscope.errors import ArgumentError
from neoscope.organism.language import (
    TASKS,
    Sentence,
    repeats,
    sentences,
    to_dataframe,
    write_jsonl,
)

torch.set_num_threads(1)
ASKING = [task for task in TASKS if task != "filler"]
each_task = pytest.mark.parametrize("task", TASKS)


def both(task: str, n: int, **options: Any) -> Iterator[Sentence]:
    for split in ("train", "test"):
        yield from sentences(task, n, seed=5, split=split, **options)


# Repeats.


@settings(max_examples=80)
@given(
    st.integers(2, 100).flatmap(lambda d: st.tuples(st.just(d), st.integers(d, 110))),
    st.integers(2, 30).flatmap(lambda d: st.tuples(st.just(d), st.integers(d, 40))),
    st.integers(0, 20).flatmap(lambda d: st.tuples(st.just(d), st.integers(d, 30))),
    st.integers(0, 10**6),
)
def test_a_repeat_follows_its_first_copy(
    distance: tuple[int, int], length: tuple[int, int], lead: tuple[int, int], seed: int
) -> None:
    (item,) = sentences("induction", 1, seed=seed, distance=distance, length=length, lead=lead)
    apart, n, start = (item.attributes[name] for name in ("distance", "length", "start"))
    assert distance[0] <= apart <= distance[1]
    assert len(item.words) == start + n <= 128
    assert item.words[start:] == item.words[start - apart :][:n]
    assert len(set(item.words[:start])) == start
    assert item.answer == item.words[len(item.words) - 1 - apart]
    assert item.wrong not in item.words
    assert 2 <= n <= min(apart, length[1])
    kinds = [
        "second" if k >= start else "first" if 0 <= k - (start - apart) < n else ""
        for k in range(start + n)
    ]
    assert list(item.labels["role"]) == kinds


def test_near_sources_lie_within_the_window_and_far_ones_beyond() -> None:
    """A window of 32 shows a token itself and 31 before it; the source is the word after."""
    for item in both("induction", 400):
        assert item.attributes["distance"] - 1 < 32
    for item in both("far-induction", 400):
        assert item.attributes["distance"] - 1 >= 32
    reached = {item.attributes["distance"] for item in both("far-induction", 400)}
    assert max(reached) - 1 > repeats.BRIDGED == 2 * 31


# The same on every machine.
SNIPPET = """
import hashlib
from neoscope.organism.language import PAIRED, TASKS, pairs, sentences
said = [repr([s.record() for s in sentences(t, 20, seed=4)]) for t in TASKS]
said += [repr(pairs(t, 5, seed=4).records()) for t in PAIRED]
print(hashlib.sha256("".join(said).encode()).hexdigest())
"""


def test_a_seed_gives_the_same_sentences_in_every_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", SNIPPET],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


@each_task
def test_another_seed_or_split_gives_other_sentences(task: str) -> None:
    assert sentences(task, 20, seed=3) == sentences(task, 20, seed=3)
    assert sentences(task, 5, seed=3) == sentences(task, 20, seed=3)[:5]
    texts = [
        tuple(item.text for item in sentences(task, 20, seed=seed, split=split))
        for seed in (3, 4)
        for split in ("train", "test")
    ]
    assert len(set(texts)) == 4


# JSON lines and pandas.


@each_task
def test_json_lines_read_back_as_the_records(task: str, tmp_path: Path) -> None:
    items = sentences(task, 20)
    path = write_jsonl(items, str(tmp_path / "out.jsonl"))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [item.record() for item in items]


def test_json_lines_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("before")

    def broken() -> Iterator[Sentence]:
        yield from sentences("tense", 2)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_jsonl(broken(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_json_lines_are_readable_in_any_script(tmp_path: Path) -> None:
    item = Sentence("t", "test", ("Zoë", "мир"), {"pos": ("PROPN", "NOUN")}, {"note": "naïve"})
    line = write_jsonl([item], tmp_path / "o.jsonl").read_bytes().decode("utf-8")
    assert "Zoë мир" in line and "naïve" in line


def test_dataframe_has_a_row_a_sentence_and_a_column_a_label() -> None:
    items = sentences("agreement", 7, attractors=2)
    frame = to_dataframe(items)
    assert len(frame) == 7
    assert list(frame.columns) == list(items[0].record())
    assert {"text", "answer", "wrong", "token_pos", "token_role", "number"} <= set(frame.columns)
    assert frame.loc[3, "text"] == items[3].text


def test_language_needs_neither_pandas_nor_torch() -> None:
    code = (
        "import sys; from neoscope.organism.language import sentences; sentences('ioi', 3); "
        "bad = {'pandas', 'torch', 'transformers'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Mistakes.


def test_numpy_s_numbers_and_truths_are_welcome() -> None:
    untyped: Any = inspect.unwrap(sentences)
    assert untyped("tense", 3, seed=np.int64(1)) == sentences("tense", 3, seed=1)
    for yes in (True, False):
        found = untyped("sentiment", 9, negated=np.bool_(yes), template=np.int64(2))
        assert found == sentences("sentiment", 9, negated=yes, template=2)
        assert all(item.attributes["negated"] is yes for item in found)


def test_none_leaves_it_to_chance() -> None:
    assert sentences("sentiment", 9, negated=None, template=None) == sentences("sentiment", 9)


def test_a_number_is_a_range() -> None:
    options: dict[str, Any] = {"distance": 7, "length": 4, "lead": 3}
    ranges: dict[str, Any] = {name: (number, number) for name, number in options.items()}
    found = sentences("induction", 9, **options)
    assert found == sentences("induction", 9, **ranges)
    assert {tuple(item.attributes.values()) for item in found} == {(7, 4, 10)}


def test_seeds_give_what_the_organism_was_trained_on() -> None:
    said = repr([s.record() for t in ASKING for s in sentences(t, 20, seed=1, split="train")])
    assert (
        hashlib.sha256(said.encode()).hexdigest()
        == "c76deb00a35d9b7b49735b8e6cb1477600d43dc64c8523c0052bc1da4248dc22"
    )


def test_files_that_cannot_be_are_named(tmp_path: Path) -> None:
    for path, why in (
        (Path("nope/x.jsonl"), "there is no folder nope"),
        (tmp_path, "it is a folder"),
    ):
        with pytest.raises(ArgumentError, match=f"cannot write {re.escape(str(path))}: {why}"):
            write_jsonl(sentences("ioi", 1), path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("agrement", 1, {}), "no task 'agrement'.*did you mean 'agreement'"),
        (("ioi", 0, {}), "n is 0; expected a whole number, at least 1"),
        (("ioi", -2, {}), "n is -2"),
        (("ioi", True, {}), "n is True"),
        (("ioi", 2.0, {}), "n is 2.0"),
        (("ioi", 1, {"split": "valid"}), "split is 'valid'; expected 'train' or 'test'"),
        (("ioi", 1, {"ordr": "ABBA"}), "ioi has no option 'ordr'.*did you mean 'order'"),
        (("far-induction", 1, {"lenght": (2, 3)}), "far-induction has no option.*'length'"),
        (("ioi", 1, {"order": "AB"}), "order is 'AB'; expected one of 'ABBA', 'BABA'"),
        (("ioi", 1, {"template": 4}), "template is 4; expected a whole number from 0 to 3"),
        (("ioi", 1, {"template": -1}), "template is -1"),
        (("agreement", 1, {"attractors": 3}), "attractors is 3; expected .* 0 to 2"),
        (("agreement", 1, {"number": "dual"}), "number is 'dual'"),
        (("pronoun", 1, {"gender": "male "}), "gender is 'male '.*did you mean 'male'"),
        (("tense", 1, {"time": "future"}), "time is 'future'"),
        (("facts", 1, {"relation": "town"}), "relation is 'town'"),
        (("facts", 1, {"entity": "Abbot"}), "entity is 'Abbot'.*did you mean 'Abbott'"),
        (("facts", 1, {"paraphrase": "unseen"}), "paraphrase is 'unseen'"),
        (("facts", 1, {"entity": "Barlow"}), "about 'Barlow' in all ways"),
        (("facts", 1, {"template": 2}), "template 2 is in training for everybody"),
        (
            ("facts", 1, {"template": 5, "entity": "Abbott", "paraphrase": "seen"}),
            "template 5 is held out for 'Abbott'",
        ),
        (("induction", 1, {"distance": (1, 4)}), r"distance is \(1, 4\)"),
        (("induction", 1, {"distance": (9, 4)}), r"distance is \(9, 4\)"),
        (("induction", 1, {"distance": (9, 140)}), r"distance is \(9, 140\).* 2 and 126"),
        (("induction", 1, {"length": (1, 4)}), r"length is \(1, 4\)"),
        (("induction", 1, {"length": 1}), r"length is \(1, 1\)"),
        (("induction", 1, {"distance": 3.5}), r"distance is 3.5; .* whole number or \(low, high"),
        (("induction", 1, {"lead": "3"}), "lead is '3'; expected a whole number or"),
        (("induction", 1, {"lead": (1, 2, 3)}), "lead is .*; expected a whole number or"),
        (("induction", 1, {"lead": (1, 2.5)}), "lead is .*; expected a whole number or"),
        (("induction", 1, {"distance": None}), "distance is None; expected a whole number or"),
        (("induction", 1, {"limit": None}), "limit is None; expected a whole number$"),
        (("IOI", 1, {}), "no task 'IOI'.*did you mean 'ioi'"),
        ((["ioi"], 3, {}), r"task is \['ioi'\]; expected one of 'ioi', 'agreement'"),
        (("facts", 2, {"template": "yes"}), "template is 'yes'; expected a whole number"),
        (("ioi", 1, {"template": True}), "template is True; expected a whole number"),
        (("agreement", 1, {"attractors": 1.0}), "attractors is 1.0; expected a whole number"),
        (("filler", 1, {"first": None}), "first is None; expected True or False$"),
        *(
            ((task, 1, {option: value}), f"{option} is {value!r}; expected True or False, or None")
            for task, option in (
                ("sentiment", "negated"),
                ("sentiment", "mixed"),
                ("sentiment", "positive"),
                ("sentiment", "intensified"),
                ("pronoun", "noun"),
                ("ioi", "control"),
            )
            for value in ("no", 0, 1)
        ),
        *(
            (("ioi", 1, {"seed": seed}), f"seed is {seed!r}; expected a whole number")
            for seed in (True, "1", 1.0, None)
        ),
    ],
)
def test_mistakes_are_named(call: tuple[Any, Any, dict[str, Any]], message: str) -> None:
    task, n, options = call
    untyped: Any = inspect.unwrap(sentences)  # beartype would say it first
    with pytest.raises(ArgumentError, match=message):
        untyped(task, n, **options)
