"""Sentence: words with gold labels, and where in them a question is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from neoscope.organism.language.lexicon import PUNCTUATION, parts_of_speech

Split = Literal["train", "test"]


def join(words: Sequence[str]) -> str:
    """Return the words as text: a space before each but the first and punctuation.

    Example:
        >>> join(("Then", "Mary", "smiled", "."))
        'Then Mary smiled.'
    """
    return "".join(
        word if i == 0 or word in PUNCTUATION else f" {word}" for i, word in enumerate(words)
    )


@dataclasses.dataclass(frozen=True)
class Sentence:
    """One or more sentences of the language, of which everything is known."""

    task: str
    """What it was made for, one of ``TASKS``."""
    split: str
    """``"train"`` or ``"test"``; the combination of words in a test is never trained on."""
    words: tuple[str, ...]
    """One a token, punctuation apart."""
    labels: Mapping[str, tuple[Any, ...]]
    """By kind, one label a word: ``pos`` always; ``role``; ``head`` and ``depth`` in filler."""
    attributes: Mapping[str, Any]
    """Labels of the whole: template, number, sentiment, gender, tense, relation, ..."""
    answer_at: int | None = None
    """The word that the words before it determine."""
    wrong: str | None = None
    """What might stand there instead, and must not."""

    @property
    def text(self) -> str:
        """The sentence as one writes it."""
        return join(self.words)

    @property
    def answer(self) -> str | None:
        """The word that is right at ``answer_at``."""
        return None if self.answer_at is None else self.words[self.answer_at]

    @property
    def prompt(self) -> str:
        """The text up to the answer; all of it where nothing is asked."""
        return join(self.words[: self.answer_at])

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Characters ``[start, stop)`` of each word in ``text``."""
        spans, end = [], 0
        for i, word in enumerate(self.words):
            start = end + (i > 0 and word not in PUNCTUATION)
            end = start + len(word)
            spans.append((start, end))
        return tuple(spans)

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, one row of a table."""
        return {
            "task": self.task,
            "split": self.split,
            "text": self.text,
            "prompt": self.prompt,
            "answer": self.answer,
            "wrong": self.wrong,
            "answer_at": self.answer_at,
            "words": list(self.words),
            "offsets": [list(span) for span in self.offsets],
            **{f"token_{kind}": list(values) for kind, values in self.labels.items()},
            **self.attributes,
        }


def build(
    task: str,
    split: str,
    pieces: Sequence[str | tuple[str, str]],
    *,
    answer: str | None = None,
    wrong: str | None = None,
    **attributes: Any,
) -> Sentence:
    """Make a sentence of words, and of (words, role) pairs.

    Args:
        task: Name of the task.
        split: ``"train"`` or ``"test"``.
        pieces: Text to be split at white space; a pair gives its words a role. ``word/TAG`` is a
            word with another part of speech than it usually has.
        answer: The role of the word that is asked for.
        wrong: The word that must not stand there.
        attributes: Labels of the whole sentence.
    """
    words: list[str] = []
    tags: list[str] = []
    roles: list[str] = []
    for piece in pieces:
        text, role = (piece, "") if isinstance(piece, str) else piece
        for token in text.split():
            word, _, tag = token.partition("/")
            words.append(word)
            tags.append(tag or parts_of_speech()[word])
            roles.append(role)
    return Sentence(
        task=task,
        split=split,
        words=tuple(words),
        labels={"pos": tuple(tags), "role": tuple(roles)},
        attributes=attributes,
        answer_at=None if answer is None else roles.index(answer),
        wrong=wrong,
    )
