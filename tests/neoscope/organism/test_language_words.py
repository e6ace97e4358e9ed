"""A word is a token, has its part of speech, and no other is ever said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from neoscope.organism.language import (
    TASKS,
    Sentence,
    repeats,
    sentences,
)
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language.grammar import END
from neoscope.organism.language.sentence import build, join
from neoscope.organism.language.vocabulary import (
    encode,
    tokenizer_json,
    unseen,
    vocabulary,
    words,
)
from neoscope.organism.training import rows

torch.set_num_threads(1)
ASKING = [task for task in TASKS if task != "filler"]
each_task = pytest.mark.parametrize("task", TASKS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json().decode())


def both(task: str, n: int, **options: Any) -> Iterator[Sentence]:
    for split in ("train", "test"):
        yield from sentences(task, n, seed=5, split=split, **options)


@each_task
def test_a_word_is_a_token(task: str, tokenizer: Tokenizer) -> None:
    for item in both(task, 200):
        encoding = tokenizer.encode(item.text)
        assert encoding.ids == encode(item.words)
        assert encoding.offsets == list(item.offsets)
        assert [item.text[a:b] for a, b in item.offsets] == list(item.words)
        assert tokenizer.decode(encoding.ids) == f" {item.text}"


@each_task
def test_labels_are_as_long_as_the_words(task: str) -> None:
    for item in both(task, 300):
        assert item.task == task
        assert all(len(values) == len(item.words) for values in item.labels.values()), item
        assert len(item.offsets) == len(item.words)
        assert len(item.words) <= 128


@pytest.mark.parametrize("task", ASKING)
def test_the_answer_stands_where_it_is_asked_for(task: str) -> None:
    for item in both(task, 300):
        assert item.answer_at is not None
        assert item.answer == item.words[item.answer_at]
        assert item.wrong != item.answer
        assert item.prompt == join(item.words[: item.answer_at])
        assert item.text.startswith(f"{item.prompt} {item.answer}")
        if item.wrong is None:
            assert item.attributes["order"] == "ABC"
        else:
            encode([item.wrong])
        if "answer" in item.labels["role"]:
            assert item.labels["role"].index("answer") == item.answer_at


def test_training_shows_every_word_and_no_other() -> None:
    ids = rows.language(random.Random("all words"), 1500, 128)
    seen = set(ids.unique().tolist())
    every = set(encode([*words(), *lex.PUNCTUATION, END]))
    assert every - seen == set()
    assert seen - every == set()
    assert every.isdisjoint(unseen())
    assert every | unseen() == set(range(len(vocabulary())))


def test_random_words_are_all_words() -> None:
    rng = random.Random("repeats")
    seen = {word for _ in range(200) for word in repeats.row(rng, range(13), 128)[0]}
    assert seen == set(words())


def test_no_word_is_two_tokens_of_one_spelling() -> None:
    assert len(set(words())) == len(words())
    assert sorted(vocabulary().values()) == list(range(len(vocabulary())))
    assert len(vocabulary()) <= 1024


def test_text_outside_the_language_comes_as_bytes(tokenizer: Tokenizer) -> None:
    text = "When Zoë sees 3 цветы 🐦, he smiled."
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == f" {text}"
    assert set(ids) & unseen()


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("{E} has a house in", {"has": "VERB"}),
        ("The home of {E} is in", {"home": "NOUN"}),
        ("To see {E} , travel to", {"To": "PART", "to": "ADP"}),
        ("The job of {E} is that of a", {"that": "PRON"}),
    ],
)
def test_words_have_the_part_of_speech_that_they_have_here(text: str, tags: dict[str, str]) -> None:
    wanted = text.replace("{E}", "Barlow").split()
    found = False
    for item in sentences("facts", 500, split="train", entity="Barlow"):
        if list(item.words[: item.answer_at]) == wanted:
            pos = dict(zip(item.words, item.labels["pos"], strict=True))
            assert {word: pos[word] for word in tags} == tags
            found = True
    assert found


def test_a_piece_can_name_its_part_of_speech() -> None:
    made = build("t", "train", ["home/NOUN", ("home", "answer")], answer="answer")
    assert made.words == ("home", "home")
    assert made.labels["pos"] == ("NOUN", "ADV")
    assert made.answer_at == 1
