"""Clean and corrupted prompts of equal length that differ in what decides the answer."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError
from neoscope.organism.compiled.truth import check_count
from neoscope.organism.language import lexicon as lex
from neoscope.organism.language import tasks
from neoscope.organism.language.corpus import TASKS, check_seed, check_task
from neoscope.organism.language.options import checked
from neoscope.organism.language.sentence import Sentence, join
from neoscope.organism.language.vocabulary import encode

if TYPE_CHECKING:
    import torch

_Corrupted = tuple[list[str], str]
"""The words of the prompt, and the answer that they have now."""


def _roles(sentence: Sentence, role: str) -> list[int]:
    return [i for i, label in enumerate(sentence.labels["role"]) if label == role]


def _swap(sentence: Sentence, role: str, *words: str) -> list[str]:
    out = list(sentence.words)
    for place, word in zip(_roles(sentence, role), words, strict=True):
        out[place] = word
    return out


def _word(sentence: Sentence, role: str) -> str:
    return sentence.words[_roles(sentence, role)[0]]


def _ioi(rng: random.Random, clean: Sentence) -> _Corrupted:
    """The other one gives."""
    return _swap(clean, "S2", _word(clean, "IO")), _word(clean, "S1")


def _agreement(rng: random.Random, clean: Sentence) -> _Corrupted:
    """The subject has the other number."""
    (pair,) = (pair for pair in lex.NOUNS if _word(clean, "subject") in pair)
    other = pair[_word(clean, "subject") == pair[0]]
    return _swap(clean, "subject", other), str(clean.wrong)


def _sentiment(rng: random.Random, clean: Sentence) -> _Corrupted | None:
    """The adjective that counts has the other sign."""
    positive = _word(clean, "valence") in lex.POSITIVE
    item = _word(clean, "item")
    others = [
        other for other in (lex.NEGATIVE if positive else lex.POSITIVE) if lex.held_out(item, other)
    ]
    if not others:
        return None
    return _swap(clean, "valence", rng.choice(others)), str(clean.wrong)


def _facts(rng: random.Random, clean: Sentence) -> _Corrupted:
    """It is about somebody else, of whom something else is true."""
    entity, relation = clean.attributes["entity"], clean.attributes["relation"]
    others = [
        other
        for other in lex.ENTITIES
        if len(other.split()) == len(entity.split())
        and tasks.fact(other, relation) != clean.answer
        and other not in tasks.SHY
    ]
    other = rng.choice(others)
    return _swap(clean, "subject", *other.split()), tasks.fact(other, relation)


def _pronoun(rng: random.Random, clean: Sentence) -> _Corrupted | None:
    """It is about somebody of the other gender."""
    female = clean.attributes["gender"] == "female"
    if clean.attributes["antecedent_is_name"]:
        others = lex.MALE if female else lex.FEMALE
    else:
        others = lex.MALE_NOUNS if female else lex.FEMALE_NOUNS
    thing, template = _word(clean, "object"), str(clean.attributes["template"])
    others = tuple(other for other in others if lex.held_out(other, thing, template))
    if not others:
        return None
    return _swap(clean, "antecedent", rng.choice(others)), str(clean.wrong)


def _tense(rng: random.Random, clean: Sentence) -> _Corrupted:
    """It was last week, or is every week."""
    other = "Every" if clean.attributes["tense"] == "past" else "Last"
    return _swap(clean, "time", other), str(clean.wrong)


def _induction(rng: random.Random, clean: Sentence) -> _Corrupted:
    """Another word came after the first occurrence."""
    out = list(clean.words)
    out[len(out) - 1 - clean.attributes["distance"]] = str(clean.wrong)
    return out, str(clean.wrong)


# None: among the words that would do, there is none of which training did not see the combination.
_CORRUPT: Mapping[str, Callable[[random.Random, Sentence], _Corrupted | None]] = {
    "ioi": _ioi,
    "agreement": _agreement,
    "sentiment": _sentiment,
    "facts": _facts,
    "pronoun": _pronoun,
    "tense": _tense,
    "induction": _induction,
    "far-induction": _induction,
}
PAIRED = tuple(_CORRUPT)
"""Tasks that ``pairs`` knows."""
_ALWAYS: Mapping[str, Mapping[str, Any]] = {
    "ioi": {"control": False},
    "facts": {"paraphrase": "seen"},
}
# The far distance is beyond what two local layers can bridge: only the third layer can answer.
_ALIGNED: Mapping[str, Mapping[str, Any]] = {
    "ioi": {"template": 0, "order": "ABBA"},
    "agreement": {"attractors": 1},
    "sentiment": {"negated": False, "mixed": False, "template": 0, "intensified": False},
    "facts": {"relation": "city", "template": 0},
    "pronoun": {"template": 0, "noun": False},
    "induction": {"distance": (16, 16), "length": (12, 12), "lead": (4, 4)},
    "far-induction": {"distance": (80, 80), "length": (12, 12), "lead": (4, 4)},
}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Prompts in twos: the same length, other words in a place or two, another answer."""

    task: str
    clean: tuple[str, ...]
    """Prompts; what comes next is ``answer``."""
    corrupted: tuple[str, ...]
    """The same with the decisive word replaced; what comes next is ``wrong``."""
    answer: tuple[str, ...]
    """With a space before, as GPT-2's tokenizer and the organism's want it."""
    wrong: tuple[str, ...]
    roles: tuple[tuple[str, ...], ...]
    """What each word of each prompt is to its task; "" for most."""
    changed: tuple[tuple[int, ...], ...]
    """Words in which clean and corrupted differ."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.clean)

    def __repr__(self) -> str:
        """Return the task, how many pairs there are, and the first three."""
        lines = [
            f"  {clean!r} ->{answer}; {corrupted!r} ->{wrong}"
            for clean, answer, corrupted, wrong in list(
                zip(self.clean, self.answer, self.corrupted, self.wrong, strict=True)
            )[:3]
        ]
        if len(self) > 3:
            lines.append(f"  ... and {len(self) - 3} more")
        count = "1 pair" if len(self) == 1 else f"{len(self)} pairs"
        return "\n".join([f"Pairs({self.task!r}, {count})", *lines])

    def records(self) -> list[dict[str, Any]]:
        """Return plain JSON values, one row of a table for each pair.

        Example:
            >>> list(pairs("tense", 1).records()[0])
            ['task', 'clean', 'corrupted', 'answer', 'wrong', 'roles', 'changed']
        """
        return [
            {
                "task": self.task,
                "clean": self.clean[k],
                "corrupted": self.corrupted[k],
                "answer": self.answer[k],
                "wrong": self.wrong[k],
                "roles": list(self.roles[k]),
                "changed": list(self.changed[k]),
            }
            for k in range(len(self))
        ]

    def ids(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the organism's token ids of clean and corrupted prompts, answers and wrongs.

        Returns:
            int64 ``[pair, pos]`` twice and ``[pair]`` twice.

        Raises:
            ArgumentError: The pairs have not all the same length (``aligned=False``).
        """
        import torch

        rows = [[encode(_split(text)) for text in texts] for texts in (self.clean, self.corrupted)]
        lengths = sorted({len(row) for row in rows[0]})
        if len(lengths) > 1:
            raise ArgumentError(
                f"the prompts have {lengths[0]} to {lengths[-1]} tokens; expected one length "
                "(aligned=True)"
            )
        clean, corrupted = (torch.tensor(side) for side in rows)
        answer, wrong = (
            torch.tensor(encode(word.strip() for word in words))
            for words in (self.answer, self.wrong)
        )
        return clean, corrupted, answer, wrong


def _split(text: str) -> list[str]:
    for mark in lex.PUNCTUATION:
        text = text.replace(mark, f" {mark}")
    return text.split()


def pairs(task: str, n: int = 64, *, seed: int = 0, aligned: bool = True, **options: Any) -> Pairs:
    """Return clean and corrupted prompts for patching, from combinations training never saw.

    Only facts are asked in words that training used: no model can know them otherwise. In
    ``tense`` it is the subject with the verb asked for that training never saw; the prompt, which
    has no verb, stands in training too. A prompt of ``agreement`` with one attractor may be how a
    longer sentence of training begins. Random words, as in ``induction``, have no combinations to
    hold out; nor has ``filler``, which asks for nothing and has no pairs.

    The corrupted prompt of ``ioi`` lets the other person give; of ``agreement`` turns the number
    of the subject; of ``sentiment`` the sign of the adjective; ``facts`` and ``pronoun`` speak of
    somebody else; ``tense`` of another time; in ``induction`` another word came after the first
    occurrence. These are symmetric token replacements, which keep the prompt one of the language
    (Zhang and Nanda 2023, arXiv:2309.16042).

    Args:
        task: One of ``PAIRED``.
        n: How many, at least 1.
        seed: Of the choices.
        aligned: All prompts have one length and each role at one place, so that effects can be
            averaged by position. False mixes templates and lengths. One layout has only so many
            prompts: among many pairs some come again (of 256, ``tense`` has some 85 different
            ones, ``sentiment`` some 115, ``pronoun`` some 200).
        options: What the task's own generator takes; by default what makes prompts alike. Not the
            three-name control of ``ioi``, which has no wrong answer.

    Raises:
        ArgumentError: An unknown task or option, a choice that the task does not offer or that has
            no corrupted side, a seed that is no whole number, or ``n`` below 1.

    Example:
        >>> two = pairs("tense", 2)
        >>> len(two), two.changed[0]
        (2, (0,))
    """
    check_task(task, PAIRED)
    check_count(n)
    rng = random.Random(f"pairs {task} {check_seed(seed)}")
    options = checked(task, TASKS[task], options, unlisted=("control",))
    if options.get("control"):
        raise ArgumentError(
            "control is True; the three-name control has no corrupted side, since either name may "
            "be right (sentences('ioi', n, control=True) gives its sentences)"
        )
    usual = _ALIGNED.get(task, {}) if aligned else {}
    options = {**usual, **_ALWAYS.get(task, {}), **options}
    layout = None
    rows: list[tuple[Any, ...]] = []
    while len(rows) < n:
        clean = TASKS[task](rng, "test", **options)
        roles = clean.labels["role"][: clean.answer_at]
        layout = roles if layout is None else layout
        if aligned and roles != layout:
            continue
        corrupted = _CORRUPT[task](rng, clean)
        if corrupted is None:
            continue
        words, other = corrupted
        cut = clean.answer_at
        changed = tuple(i for i in range(cut or 0) if words[i] != clean.words[i])
        rows.append(
            (clean.prompt, join(words[:cut]), f" {clean.answer}", f" {other}", roles, changed)
        )
    return Pairs(task, *(tuple(column) for column in zip(*rows, strict=True)))
