"""Texts with labels that any model can be asked: of the organism's language, or plain English."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neoscope.views.report import english
from neoscope.views.report.parts import Unavailable

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

DEFAULT_TEXT = "When Mary and John went to the store, John gave a drink to"
_NO_TOKENIZER = "the model came without a tokenizer, so it cannot be given texts"
_FEWEST_NAMES = 4


@dataclass(frozen=True)
class Prompts:
    """Clean and corrupted prompts of one length, and what is asked after them."""

    title: str
    clean: tuple[str, ...]
    corrupted: tuple[str, ...]
    answer: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """Texts with one label each."""

    title: str
    """What labels say."""
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    types: tuple[str, ...]
    """Of each text what a control task labels."""


def need_tokenizer(model: HookedGPTNeo) -> Any:
    """Return the tokenizer.

    Raises:
        Unavailable: There is none.
    """
    if model.tokenizer is None:
        raise Unavailable(_NO_TOKENIZER)
    return model.tokenizer


def speaks_organism(model: HookedGPTNeo) -> bool:
    """Whether the model's vocabulary is that of the organism's language.

    Args:
        model: Any model.
    """
    if model.tokenizer is None:
        return False
    from neoscope.organism.language.vocabulary import words

    known = model.tokenizer.get_vocab()
    return len(model.tokenizer(f" {words()[0]}")["input_ids"]) == 1 and all(
        f"Ġ{word}" in known or word in known or f" {word}" in known for word in words()
    )


def reads(model: HookedGPTNeo, text: str) -> bool:
    """Whether a tokenizer gives a text back as it was.

    Args:
        model: With a tokenizer.
        text: Any.
    """
    tokenizer = need_tokenizer(model)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    back = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    return back.strip() == text.strip()


def default_text(model: HookedGPTNeo) -> str:
    """Return a text that the model can read.

    Args:
        model: With a tokenizer.
    """
    if reads(model, DEFAULT_TEXT):
        return DEFAULT_TEXT
    tokenizer = need_tokenizer(model)
    special = set(tokenizer.all_special_tokens)
    known = sorted(word for word in tokenizer.get_vocab() if word not in special)
    plain = [word for word in known if word.isalpha()] or known
    return " ".join(plain[:6] * 2)


def prompts(model: HookedGPTNeo, n: int, seed: int) -> Prompts:
    """Return indirect-object prompts: of the organism's language, or made for the tokenizer.

    Args:
        model: Who is asked.
        n: How many pairs.
        seed: Of the choices.

    Raises:
        Unavailable: The tokenizer knows too few names as single tokens.
    """
    if speaks_organism(model):
        from neoscope import organism

        made = organism.pairs("ioi", n, seed=seed)
        return Prompts(
            "who is given something (organism.pairs('ioi'))",
            *(
                tuple(map(str, one))
                for one in (made.clean, made.corrupted, made.answer, made.wrong)
            ),
        )
    names = singles(model, english.NAMES)
    places, things = singles(model, english.PLACES), singles(model, english.THINGS)
    if len(names) < _FEWEST_NAMES or not places or not things:
        raise Unavailable(
            f"prompts need {_FEWEST_NAMES} names, a place and a thing that are single tokens; the "
            f"tokenizer knows {len(names)} names, {len(places)} places and {len(things)} things of "
            "the report's list so"
        )
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        one, other = rng.sample(names, 2)
        about = {
            "one": one,
            "other": other,
            "place": rng.choice(places),
            "thing": rng.choice(things),
        }
        clean = english.GIVING.format(**about, giver=other)
        corrupted = english.GIVING.format(**about, giver=one)
        rows.append((clean, corrupted, f" {one}", f" {other}"))
    title = f"who is given something ({len(names)} names that are single tokens)"
    return Prompts(title, *(tuple(column) for column in zip(*rows, strict=True)))


def singles(model: HookedGPTNeo, words: Sequence[str]) -> list[str]:
    """Return those of some words which the tokenizer writes, after a space, as one token.

    Args:
        model: With a tokenizer.
        words: Any.
    """
    tokenizer = need_tokenizer(model)
    found = []
    for word in words:
        ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and str(tokenizer.decode(ids)).strip() == word:
            found.append(word)
    return found


def numbers(model: HookedGPTNeo, n: int, seed: int) -> Labelled:
    """Return beginnings of sentences, labelled by their subject's number.

    Args:
        model: Who reads them.
        n: How many.
        seed: Of the choices.

    Raises:
        Unavailable: The tokenizer cannot write them.
    """
    title = "number of the subject"
    if speaks_organism(model):
        from neoscope import organism

        made = organism.sentences("agreement", n, seed=seed)
        texts = tuple(one.prompt for one in made)
        labels = tuple(str(one.attributes["number"]) for one in made)
        return Labelled(title, texts, labels, tuple(map(_subject, made)))
    rng = random.Random(seed)
    found = [english.subject(rng) for _ in range(n)]
    _check_english(model, found[0][0])
    return Labelled(title, *(tuple(column) for column in zip(*found, strict=True)))


def _subject(sentence: Any) -> str:
    return next(
        str(word).lower()
        for word, role in zip(sentence.words, sentence.labels["role"], strict=True)
        if role == "subject"
    )


def _check_english(model: HookedGPTNeo, text: str) -> None:
    if not reads(model, text):
        raise Unavailable(f"the tokenizer cannot write English such as {text!r}")


def reviews(model: HookedGPTNeo, n: int, seed: int) -> Labelled:
    """Return short reviews, some with a "not", labelled positive or negative.

    Args:
        model: Who reads them.
        n: How many.
        seed: Of the choices.

    Raises:
        Unavailable: The tokenizer cannot write them.
    """
    if speaks_organism(model):
        from neoscope import organism

        made = organism.sentences("sentiment", n, seed=seed)
        texts = tuple(one.prompt for one in made)
        labels = tuple(str(one.attributes["sentiment"]) for one in made)
        return Labelled("verdict", texts, labels, texts)
    rng = random.Random(seed)
    found = [english.review(rng) for _ in range(n)]
    _check_english(model, found[0][0])
    texts, labels = (tuple(column) for column in zip(*found, strict=True))
    return Labelled("verdict", texts, labels, texts)


def kinds(model: HookedGPTNeo, n: int, seed: int) -> Labelled:
    """Return sentences of several kinds, labelled by the kind.

    Args:
        model: Who reads them.
        n: How many in all.
        seed: Of the choices.

    Raises:
        Unavailable: The tokenizer cannot write them.
    """
    if speaks_organism(model):
        from neoscope import organism

        tasks = ("ioi", "agreement", "sentiment", "facts")
        made = [
            (one.prompt, task)
            for task in tasks
            for one in organism.sentences(task, max(1, n // len(tasks)), seed=seed)
        ]
        title = "task of the organism's language"
    else:
        rng = random.Random(seed)
        each = max(1, n // 3)
        made = [(english.giving(rng), "giving") for _ in range(each)]
        made += [(english.subject(rng)[0], "subject") for _ in range(each)]
        made += [(english.review(rng)[0], "review") for _ in range(each)]
        _check_english(model, made[0][0])
        title = "kind of sentence"
    texts, labels = (tuple(column) for column in zip(*made, strict=True))
    return Labelled(title, texts, labels, labels)
