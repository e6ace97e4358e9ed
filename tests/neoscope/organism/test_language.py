"""The language says what its labels say, and no test sentence's combination is ever trained on."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from neoscope.errors import ArgumentError
from neoscope.organism.language import (
    TASKS,
    Sentence,
    repeats,
    sentences,
    tasks,
    to_dataframe,
    write_jsonl,
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
PLAIN = ["ioi", "agreement", "sentiment", "facts", "pronoun", "tense"]
each_task = pytest.mark.parametrize("task", TASKS)
MANY = 8_000


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json().decode())


@pytest.fixture(scope="module")
def trained() -> dict[str, list[Sentence]]:
    """Return what training sees of each task that asks for a word in context."""
    return {task: list(sentences(task, MANY, seed=7, split="train")) for task in PLAIN}


@pytest.fixture(scope="module")
def tested() -> dict[str, list[Sentence]]:
    return {task: list(sentences(task, MANY, seed=8)) for task in PLAIN}


def both(task: str, n: int, **options: Any) -> Iterator[Sentence]:
    for split in ("train", "test"):
        yield from sentences(task, n, seed=5, split=split, **options)


def role(sentence: Sentence, name: str) -> list[str]:
    return [
        word
        for word, label in zip(sentence.words, sentence.labels["role"], strict=True)
        if label == name
    ]


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


# Training and test have no combination in common.


def ioi_pairs(item: Sentence) -> set[Any]:
    people = sorted({word for word in item.words if word in lex.NAMES})
    return {(a, b) for a in people for b in people if a < b}


def agreement_nouns(item: Sentence) -> set[Any]:
    lemma = {form: forms[0] for forms in lex.NOUNS for form in forms}
    nouns = tuple(lemma[word] for word in item.words if word in lemma)
    verb = {form: forms[0] for forms in lex.AUXILIARIES for form in forms}[str(item.answer)]
    return {(*nouns, verb) if len(nouns) == 1 else nouns}


def judgements(item: Sentence) -> Iterator[tuple[str, str]]:
    about = ""
    for word in item.words:
        if word in (*lex.REVIEWED, *lex.ASPECTS):
            about = word
        if word in (*lex.POSITIVE, *lex.NEGATIVE):
            yield about, word


def what_counts(item: Sentence) -> set[Any]:
    return {list(judgements(item))[-1]}


def pronoun_words(item: Sentence) -> set[Any]:
    people = (*lex.NAMES, *lex.FEMALE_NOUNS, *lex.MALE_NOUNS)
    (who,) = (word for word in item.words if word in people)
    (thing,) = (word for word in item.words if word in lex.OBJECTS)
    return {(who, thing, item.attributes["template"])}


def tense_words(item: Sentence) -> set[Any]:
    verb = {form: forms[0] for forms in lex.INTRANSITIVE for form in forms}
    (who,) = (pair[0] for pair in (*lex.PEOPLE, *lex.ANIMALS) if pair[0] in item.words)
    return {(who, verb[str(item.answer)])}


def stated(item: Sentence) -> set[Any]:
    return {item.words[: item.answer_at]}


@pytest.mark.parametrize(
    ("task", "in_training", "in_test"),
    [
        ("ioi", ioi_pairs, ioi_pairs),
        ("agreement", agreement_nouns, agreement_nouns),
        ("sentiment", lambda item: set(judgements(item)), what_counts),
        ("facts", stated, stated),
        ("pronoun", pronoun_words, pronoun_words),
        ("tense", tense_words, tense_words),
    ],
)
def test_what_a_test_combines_is_never_trained_on(
    task: str,
    in_training: Callable[[Sentence], set[Any]],
    in_test: Callable[[Sentence], set[Any]],
    trained: dict[str, list[Sentence]],
    tested: dict[str, list[Sentence]],
) -> None:
    seen = set().union(*map(in_training, trained[task]))
    asked = set().union(*map(in_test, tested[task]))
    assert len(asked) > 20
    assert seen.isdisjoint(asked)


@pytest.mark.parametrize("task", ["ioi", "sentiment", "facts", "pronoun"])
def test_no_prompt_of_a_test_is_trained_on(
    task: str, trained: dict[str, list[Sentence]], tested: dict[str, list[Sentence]]
) -> None:
    seen = {item.words[: k + 1] for item in trained[task] for k in range(len(item.words))}
    assert not {item.words[: item.answer_at] for item in tested[task]} & seen


def test_held_out_paraphrases_are_of_shy_entities_only(
    trained: dict[str, list[Sentence]], tested: dict[str, list[Sentence]]
) -> None:
    assert len(tasks.SHY) == len(lex.ENTITIES) // 8
    assert {item.attributes["entity"] for item in tested["facts"]} == set(tasks.SHY)
    assert all(item.attributes["paraphrase"] >= tasks.N_SEEN for item in tested["facts"])
    told = defaultdict(set)
    for item in trained["facts"]:
        told[item.attributes["entity"], item.attributes["relation"]].add(
            item.attributes["paraphrase"]
        )
    for shy, shown in ((True, tasks.N_SEEN), (False, 8)):
        mine = [told[key] for key in told if (key[0] in tasks.SHY) == shy]
        assert set().union(*mine) == set(range(shown))
    assert len(told) == len(lex.ENTITIES) * len(tasks.PARAPHRASES)
    for item in sentences("facts", 2000, paraphrase="seen"):
        assert item.attributes["entity"] not in tasks.SHY or item.attributes["paraphrase"] < 4
        assert not item.attributes["paraphrase_held_out"]


def test_each_answer_is_as_likely_as_the_other(tested: dict[str, list[Sentence]]) -> None:
    """No prior on the answers alone passes a gate."""
    for task in ("agreement", "pronoun", "tense", "sentiment"):
        kind = {"agreement": "number", "pronoun": "gender", "tense": "tense"}.get(task, task)
        counts = Counter(item.attributes[kind] for item in tested[task])
        assert max(counts.values()) < 0.55 * len(tested[task])


# Gold labels, computed once more from the words alone.


def test_ioi_answer_is_the_name_that_is_said_once(tested: dict[str, list[Sentence]]) -> None:
    for item in tested["ioi"]:
        prompt = item.words[: item.answer_at]
        counts = Counter(word for word in prompt if word in lex.NAMES)
        once = [name for name, n in counts.items() if n == 1]
        twice = [name for name, n in counts.items() if n == 2]
        assert once == [item.answer] and twice == [item.wrong]
        first = next(word for word in prompt if word in lex.NAMES)
        assert item.attributes["order"] == ("ABBA" if first == item.answer else "BABA")
        assert role(item, "IO") == once and role(item, "S1") == role(item, "S2") == twice


def test_ioi_control_names_three(trained: dict[str, list[Sentence]]) -> None:
    control = [item for item in trained["ioi"] if item.attributes["order"] == "ABC"]
    assert 0.07 < len(control) / len(trained["ioi"]) < 0.13
    said_first = 0
    for item in control:
        a, b, c, answer = (word for word in item.words if word in lex.NAMES)
        assert len({a, b, c}) == 3 and answer in (a, b) and item.wrong is None
        said_first += answer == a
    assert 0.4 < said_first / len(control) < 0.6


def test_verb_agrees_with_the_first_noun() -> None:
    for k in (0, 1, 2):
        for item in both("agreement", 400, attractors=k):
            forms = {form: i for pair in lex.NOUNS for i, form in enumerate(pair)}
            subject, *others = (forms[word] for word in item.words if word in forms)
            verb = next(
                word for word in item.words if word in ("is", "are", "was", "were", "has", "have")
            )
            plural = verb in ("are", "were", "have")
            assert verb == item.answer and plural == bool(subject)
            assert item.attributes["number"] == ("plural" if plural else "singular")
            assert len(others) == item.attributes["n_attractors"] == k
            assert item.attributes["misleading"] == sum(other != subject for other in others)
            assert item.attributes["distance"] == item.answer_at - item.words.index(
                role(item, "subject")[0]
            )


def sign(clause: Iterable[str]) -> int:
    """Return 1 for a clause that praises and -1 for one that blames, by its words."""
    clause = list(clause)
    (value,) = (1 if w in lex.POSITIVE else -1 for w in clause if w in lex.POSITIVE + lex.NEGATIVE)
    return -value if "not" in clause else value


def test_verdict_follows_the_last_clause(
    trained: dict[str, list[Sentence]], tested: dict[str, list[Sentence]]
) -> None:
    good = {"liked", "loved", "recommend"}
    for item in (*trained["sentiment"], *tested["sentiment"]):
        prompt = list(item.words[: item.answer_at])
        at = prompt.index("but") if "but" in prompt else 0
        counts = sign(prompt[at:])
        assert (item.answer in good) == (counts == 1) and (item.wrong in good) == (counts == -1)
        assert item.attributes["sentiment"] == ("positive" if counts == 1 else "negative")
        assert item.attributes["negated"] == ("not" in prompt[at:])
        assert item.attributes["mixed"] == bool(at)
        if at:
            assert sign(prompt[:at]) == -counts
    assert not set(lex.POSITIVE) & set(lex.NEGATIVE)


def test_facts_are_a_function(
    trained: dict[str, list[Sentence]], tested: dict[str, list[Sentence]]
) -> None:
    answers = defaultdict(set)
    for item in (*trained["facts"], *tested["facts"]):
        entity = " ".join(role(item, "subject"))
        assert entity == item.attributes["entity"]
        answers[entity, item.attributes["relation"]].add(item.answer)
        assert item.wrong in tasks.knowledge.OBJECTS[item.attributes["relation"]]
    assert len(answers) == len(lex.ENTITIES) * len(tasks.PARAPHRASES)
    assert all(
        values == {tasks.fact(entity, relation)} for (entity, relation), values in answers.items()
    )


def test_neither_word_of_an_entity_tells_who_it_is() -> None:
    two = [entity.split() for entity in lex.TWO_WORD_ENTITIES]
    for place in (0, 1):
        for word in {entity[place] for entity in two}:
            meant = [" ".join(entity) for entity in two if entity[place] == word]
            assert len(meant) == 4
            told = [tuple(tasks.fact(e, relation) for relation in tasks.PARAPHRASES) for e in meant]
            assert len(set(told)) == len(meant)
            # One word alone leaves the answer open in nearly every relation.
            open_ = sum(len(set(column)) > 1 for column in zip(*told, strict=True))
            assert open_ >= 3


def test_pronoun_has_the_gender_of_who_is_meant(tested: dict[str, list[Sentence]]) -> None:
    female = {*lex.FEMALE, "queen", "mother", "sister", "actress", "waitress", "princess"}
    for item in tested["pronoun"]:
        (who,) = role(item, "antecedent")
        assert item.answer == ("she" if who in female else "he")
        assert item.wrong == ("he" if who in female else "she")
        assert item.attributes["gender"] == ("female" if who in female else "male")
        assert item.attributes["antecedent_is_name"] == (who in lex.NAMES)


def test_tense_is_that_of_the_time(tested: dict[str, list[Sentence]]) -> None:
    for item in tested["tense"]:
        past = item.words[0] == "Last"
        assert past or item.words[0] == "Every"
        assert item.attributes["tense"] == ("past" if past else "present")
        (forms,) = (forms for forms in lex.INTRANSITIVE if item.answer in forms)
        assert (item.answer, item.wrong) == ((forms[2], forms[0]) if past else (forms[0], forms[2]))
        assert past != str(item.answer).endswith("s")


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
said += [repr(pairs(t, 5, seed=4)) for t in PAIRED]
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
