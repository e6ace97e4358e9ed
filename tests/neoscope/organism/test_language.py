"""No test sentence's combination is ever trained on, and the words bear out every gold label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch

from neoscope.organism.language import (
    Sentence,
    sentences,
    tasks,
)
from neoscope.organism.language import lexicon as lex

torch.set_num_threads(1)
PLAIN = ["ioi", "agreement", "sentiment", "facts", "pronoun", "tense"]
MANY = 4_000


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
