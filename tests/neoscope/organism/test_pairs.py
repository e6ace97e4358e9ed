"""Clean and corrupted prompts differ where they say, and both sides have the right answer."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from neoscope.errors import ArgumentError
from neoscope.organism.language import (
    PAIRED,
    TASKS,
    Pairs,
    pairs,
    sentences,
    tasks,
    to_dataframe,
    write_jsonl,
)
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.pairs import _split
from neoscope.organism.language.vocabulary import encode
from tests.neoscope.organism.language_oracle import ANSWERS, WAYS, expected

torch.set_num_threads(1)
N = 150
each_task = pytest.mark.parametrize("task", PAIRED)
each_layout = pytest.mark.parametrize("aligned", [True, False])


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, bool], Pairs]:
    return {
        (task, aligned): pairs(task, N, aligned=aligned)
        for task in PAIRED
        for aligned in (True, False)
    }


def right(task: str, prompt: list[str]) -> tuple[str, ...]:
    """Return the words that would be right."""
    answer = expected(task, prompt)
    return ANSWERS.get(answer, (answer,))


@each_task
@each_layout
def test_both_sides_have_the_right_answer(
    task: str, aligned: bool, made: dict[tuple[str, bool], Pairs]
) -> None:
    found = made[task, aligned]
    for k in range(len(found)):
        clean, corrupted = _split(found.clean[k]), _split(found.corrupted[k])
        assert found.answer[k].strip() in right(task, clean)
        assert found.wrong[k].strip() in right(task, corrupted)
        assert found.wrong[k].strip() not in right(task, clean)
        assert found.answer[k] != found.wrong[k]
        assert found.answer[k].startswith(" ") and found.wrong[k].startswith(" ")


@each_task
@each_layout
def test_sides_differ_exactly_where_they_say(
    task: str, aligned: bool, made: dict[tuple[str, bool], Pairs]
) -> None:
    found = made[task, aligned]
    assert len(found) == N
    for k in range(N):
        clean, corrupted = _split(found.clean[k]), _split(found.corrupted[k])
        assert len(clean) == len(corrupted) == len(found.roles[k])
        differ = tuple(
            i for i, two in enumerate(zip(clean, corrupted, strict=True)) if len(set(two)) > 1
        )
        assert differ == found.changed[k]
        assert 1 <= len(differ) <= (2 if task == "facts" else 1)
        encode(clean + corrupted)


@each_task
def test_aligned_pairs_have_one_layout(task: str, made: dict[tuple[str, bool], Pairs]) -> None:
    found = made[task, True]
    assert len(set(found.roles)) == 1
    clean, corrupted, answer, wrong = found.ids()
    assert clean.shape == corrupted.shape == (N, len(found.roles[0]))
    assert answer.shape == wrong.shape == (N,)
    for k in range(N):
        assert clean[k].tolist() == encode(_split(found.clean[k]))
        assert (clean[k] != corrupted[k]).nonzero()[:, 0].tolist() == list(found.changed[k])
        assert [int(answer[k]), int(wrong[k])] == encode([found.answer[k][1:], found.wrong[k][1:]])


@pytest.mark.parametrize("task", [task for task in PAIRED if task != "tense"])
def test_pairs_of_many_lengths_give_no_ids(task: str, made: dict[tuple[str, bool], Pairs]) -> None:
    found = made[task, False]
    assert len(set(found.roles)) > 1
    with pytest.raises(ArgumentError, match=r"prompts have \d+ to \d+ tokens; expected one length"):
        found.ids()


@each_layout
def test_neither_side_combines_what_training_does(
    aligned: bool, made: dict[tuple[str, bool], Pairs]
) -> None:
    for task in ("ioi", "sentiment", "pronoun", "tense", "agreement"):
        found = made[task, aligned]
        for text in (*found.clean, *found.corrupted):
            words = _split(text)
            if task == "ioi":
                key = tuple(sorted({word for word in words if word in lex.NAMES}))
                assert len(key) == 2
            elif task == "sentiment":
                item = [w for w in words if w in lex.REVIEWED + lex.ASPECTS][-1]
                key = (item, [w for w in words if w in lex.POSITIVE + lex.NEGATIVE][-1])
            elif task == "pronoun":
                people = lex.NAMES + lex.FEMALE_NOUNS + lex.MALE_NOUNS
                (who,) = (word for word in words if word in people)
                (thing,) = (word for word in words if word in lex.OBJECTS)
                marks = ("lost", "found", "dropped", "When", "opened")
                (template,) = (i for i, mark in enumerate(marks) if mark in words)
                key = (who, thing, str(template))
            elif task == "tense":
                continue  # The verb is not in the prompt.
            else:
                lemma = {form: pair[0] for pair in lex.NOUNS for form in pair}
                key = tuple(lemma[word] for word in words if word in lemma)
                if len(key) == 1:
                    continue
            assert lex.held_out(*key), text


def test_far_pairs_are_beyond_what_two_local_layers_bridge(
    made: dict[tuple[str, bool], Pairs],
) -> None:
    found = made["far-induction", True]
    for k in range(N):
        # The query is the last word, and the key the word that is to be copied.
        assert len(_split(found.clean[k])) - 1 - found.changed[k][0] > 62


def test_facts_are_asked_in_words_that_training_used(made: dict[tuple[str, bool], Pairs]) -> None:
    for aligned in (True, False):
        found = made["facts", aligned]
        for text in (*found.clean, *found.corrupted):
            shy = [entity for entity in tasks.SHY if f" {entity} " in f" {text} "]
            told = {
                way.replace("{E}", who) for who in shy for ways in WAYS.values() for way in ways[4:]
            }
            assert " ".join(_split(text)) not in told


@each_task
def test_a_seed_gives_the_same_pairs(task: str) -> None:
    assert pairs(task, 5, seed=1) == pairs(task, 5, seed=1)
    assert pairs(task, 5, seed=1) != pairs(task, 5, seed=2)
    assert pairs(task, 3, seed=1).clean == pairs(task, 5, seed=1).clean[:3]


def test_options_reach_the_task() -> None:
    two = pairs("agreement", 20, attractors=2, number="plural")
    assert all(answer in (" are", " were", " have") for answer in two.answer)
    assert {len(roles) for roles in two.roles} == {8}
    assert len(pairs("facts", 3, relation="job", template=1)) == 3


def test_two_names_may_be_asked_for() -> None:
    assert pairs("ioi", 3, control=False) == pairs("ioi", 3, control=None) == pairs("ioi", 3)


def test_docstring_tells_how_often_pairs_come_again() -> None:
    for task, some in (("tense", 85), ("sentiment", 115), ("pronoun", 200)):
        assert str(some) in str(pairs.__doc__)
        found = pairs(task, 256)
        assert len(set(zip(found.clean, found.corrupted, strict=True))) == pytest.approx(some, 0.05)


def test_prompts_of_tense_stand_in_training_too() -> None:
    trained = {item.prompt for item in sentences("tense", 4_000, split="train")}
    assert trained >= set(pairs("tense", 64).clean)


@each_task
def test_pairs_become_lines_and_rows(task: str, tmp_path: Path) -> None:
    found = pairs(task, 4)
    names = ["clean", "corrupted", "answer", "wrong", "roles", "changed"]
    path = write_jsonl(found, tmp_path / "pairs.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == found.records()
    frame = to_dataframe(found)
    assert list(frame.columns) == list(rows[0]) == ["task", *names]
    assert list(frame["task"]) == [task] * 4
    for name in names:
        want = [list(x) if isinstance(x, tuple) else x for x in getattr(found, name)]
        assert list(frame[name]) == [row[name] for row in rows] == want


def test_every_task_but_filler_is_paired() -> None:
    assert set(PAIRED) == set(TASKS) - {"filler"}


@pytest.mark.parametrize(
    ("task", "n", "options", "message"),
    [
        ("filler", 1, {}, "filler has no pairs; there are pairs of ioi, .*far-induction$"),
        ("IOI", 1, {}, "did you mean 'ioi'"),
        (["ioi"], 1, {}, r"task is \['ioi'\]; expected one of 'ioi'"),
        ("ioi", 1, {"seed": True}, "seed is True; expected a whole number"),
        ("ioi", 1, {"seed": "1"}, "seed is '1'; expected a whole number"),
        ("ioi", 1, {"control": True}, "control is True; the three-name control has no corrupted"),
        ("ioi", 1, {"ctrl": True}, "no option 'ctrl'; there are template, order$"),
        ("sentiment", 1, {"negated": "no"}, "negated is 'no'; expected True or False"),
        ("pronouns", 1, {}, "did you mean 'pronoun'"),
        ("ioi", 0, {}, "n is 0; expected a whole number, at least 1"),
        ("ioi", True, {}, "n is True"),
        ("ioi", 1.5, {}, "n is 1.5"),
        ("ioi", 1, {"tmplate": 1}, "ioi has no option 'tmplate'.*did you mean 'template'"),
        ("facts", 1, {"paraphrase": "held out"}, "template 0 is in training"),
    ],
)
def test_mistakes_are_named(task: Any, n: Any, options: dict[str, Any], message: str) -> None:
    untyped: Any = inspect.unwrap(pairs)  # beartype would say it first
    with pytest.raises(ArgumentError, match=message):
        untyped(task, n, **options)


def test_many_pairs_print_as_a_few_lines() -> None:
    lines = repr(pairs("tense", 64)).splitlines()
    assert (lines[0], len(lines), lines[-1]) == ("Pairs('tense', 64 pairs)", 5, "  ... and 61 more")
    assert repr(pairs("tense", 1)).startswith("Pairs('tense', 1 pair)\n")
