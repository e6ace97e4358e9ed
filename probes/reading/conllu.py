"""CoNLL-U files: sentences with their words, heads and features, and where in the text each is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoscope.errors import ProbeError, nearest

FIELDS = ("lemma", "upos", "xpos", "deprel")
_COLUMNS = 10
_ID = re.compile(r"(\d+)(?:(-|\.)(\d+))?")


@dataclass(frozen=True)
class ConlluWord:
    """One syntactic word of a sentence."""

    form: str
    """As it is written, or as it is analysed where several words are written as one."""
    lemma: str | None
    upos: str | None
    """Universal part of speech, such as ``NOUN``."""
    xpos: str | None
    """The treebank's own tag."""
    feats: Mapping[str, str]
    """Features such as ``Number``."""
    head: int | None
    """Number of its head, from 1; 0 for the root."""
    deprel: str | None
    """Relation to its head, such as ``nsubj``."""
    misc: Mapping[str, str]
    """Whatever else the file says, such as ``SpaceAfter``."""
    span: tuple[int, int]
    """Characters [start, stop) of the sentence's text; words written as one may share theirs."""

    def label(self, name: str) -> str | None:
        """Return a field (``upos``, ``xpos``, ``deprel``, ``lemma``) or a feature; None if none.

        Args:
            name: Which.
        """
        value = getattr(self, name) if name in FIELDS else self.feats.get(name)
        return None if value is None else str(value)


@dataclass(frozen=True)
class ConlluSentence:
    """One sentence of a treebank."""

    words: tuple[ConlluWord, ...]
    """Without empty nodes."""
    text: str
    """As it is written."""
    sent_id: str | None
    """Its name."""
    doc_id: str | None
    """The document's name; None where the file names none."""

    @property
    def heads(self) -> list[int]:
        """The head of each word, from 1, 0 for the root, as `probes.root_paths` takes them.

        Raises:
            ProbeError: A word has none.
        """
        for number, word in enumerate(self.words, 1):
            if word.head is None:
                raise ProbeError(f"sentence {self.sent_id}, word {number} has no head")
        return [int(word.head or 0) for word in self.words]

    def labels(self, name: str) -> list[Any]:
        """Return one label a word, None where there is none.

        Args:
            name: ``upos``, ``xpos``, ``deprel``, ``lemma``, ``depth``, or a feature.
        """
        if name == "depth":
            from probes.structural.trees import tree_depths

            return [int(depth) for depth in tree_depths(self.heads)]
        return [word.label(name) for word in self.words]


def read_conllu(path: str | os.PathLike[str]) -> list[ConlluSentence]:
    """Read a CoNLL-U file.

    Args:
        path: The file, in UTF-8.

    Raises:
        ProbeError: It cannot be read, or is damaged: the line is named.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(f"{path} cannot be read: {error}") from error
    return parse_conllu(text, str(path))


def parse_conllu(text: str, where: str = "CoNLL-U") -> list[ConlluSentence]:
    """Read CoNLL-U out of a string.

    Args:
        text: Sentences, an empty line after each.
        where: Named in errors.

    Raises:
        ProbeError: It is damaged (the line is named), or holds no sentence.
    """
    sentences = list(_sentences(text, where))
    if not sentences:
        raise ProbeError(f"{where} holds no sentence")
    return sentences


def _sentences(text: str, where: str) -> Iterator[ConlluSentence]:
    comments: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    document: str | None = None
    n_documents = 0
    # Only these end lines: str.splitlines would cut at characters that stand in words.
    for number, line in enumerate([*re.split(r"\r?\n", text), ""], 1):
        if line.startswith("#") and not rows:
            key, _, value = line[1:].partition("=")
            comments[key.strip()] = value.strip()
            if key.strip() in ("newdoc id", "newdoc"):
                n_documents += 1
                document = value.strip() or f"document {n_documents}"
        elif line.strip():
            fields = line.split("\t")
            if len(fields) != _COLUMNS:
                raise ProbeError(
                    f"{where}, line {number}: {len(fields)} columns with tabs between them; "
                    f"CoNLL-U has {_COLUMNS}"
                )
            rows.append((number, fields))
        elif rows:
            yield _sentence(rows, comments, document, where)
            comments, rows = {}, []


def _sentence(
    rows: Sequence[tuple[int, list[str]]],
    comments: Mapping[str, str],
    document: str | None,
    where: str,
) -> ConlluSentence:
    words: list[tuple[int, list[str]]] = []
    written: list[tuple[int, str, int, bool]] = []  # line, form, words, space after
    inside = 0
    for number, fields in rows:
        found = _ID.fullmatch(fields[0])
        if found is None:
            raise ProbeError(
                f"{where}, line {number}: id {fields[0]!r} is none; expected 3, 3-4 or 3.1"
            )
        if found[2] == ".":
            continue
        spaced = "SpaceAfter=No" not in fields[9].split("|")
        if found[2] == "-":
            size = int(found[3]) - int(found[1]) + 1
            if size < 2 or inside or int(found[1]) != len(words) + 1:
                raise ProbeError(f"{where}, line {number}: range {fields[0]} is out of place")
            written.append((number, fields[1], size, spaced))
            inside = size
            continue
        if int(found[1]) != len(words) + 1:
            raise ProbeError(
                f"{where}, line {number}: id {fields[0]} after {len(words)} words; expected "
                f"{len(words) + 1}"
            )
        words.append((number, fields))
        if inside:
            inside -= 1
        else:
            written.append((number, fields[1], 1, spaced))
    if inside or not words:
        raise ProbeError(f"{where}, line {rows[-1][0]}: the sentence ends before its words do")
    text = comments.get("text") or _joined(written)
    spans = _spans(text, written, words, where)
    parsed = [_word(row, span, len(words), where) for row, span in zip(words, spans, strict=True)]
    return ConlluSentence(tuple(parsed), text, comments.get("sent_id"), document)


def _joined(written: Sequence[tuple[int, str, int, bool]]) -> str:
    return "".join(form + " " * spaced for _, form, _, spaced in written).rstrip(" ")


def _spans(
    text: str,
    written: Sequence[tuple[int, str, int, bool]],
    words: Sequence[tuple[int, list[str]]],
    where: str,
) -> list[tuple[int, int]]:
    """Return the characters of each word; those of words that are written as one, in it."""
    spans: list[tuple[int, int]] = []
    at = 0
    for number, form, size, _ in written:
        while not text.startswith(form, at) and text[at : at + 1].isspace():
            at += 1
        if not text.startswith(form, at):
            raise ProbeError(
                f"{where}, line {number}: {form!r} does not stand at character {at} of the text, "
                f"which goes on {text[at : at + 20]!r}"
            )
        parts = [fields[1] for _, fields in words[len(spans) : len(spans) + size]]
        start = at
        at += len(form)
        if size > 1 and "".join(parts) == form:
            for part in parts:
                spans.append((start, start + len(part)))
                start += len(part)
        else:
            spans += [(start, at)] * size
    return spans


def _word(
    row: tuple[int, list[str]], span: tuple[int, int], n_words: int, where: str
) -> ConlluWord:
    number, fields = row
    _, form, lemma, upos, xpos, feats, head, deprel, _, misc = fields
    if head != "_" and not (head.isascii() and head.isdigit() and int(head) <= n_words):
        raise ProbeError(
            f"{where}, line {number}: head {head!r} is no word of the sentence, which has {n_words}"
        )
    return ConlluWord(
        form=form,
        # A lemma may be an underscore, of the form that is one.
        lemma=None if lemma == "_" and form != "_" else lemma,
        upos=_given(upos),
        xpos=_given(xpos),
        feats=_pairs(feats, number, where, strict=True),
        head=None if head == "_" else int(head),
        deprel=_given(deprel),
        misc=_pairs(misc, number, where, strict=False),
        span=span,
    )


def _given(field: str) -> str | None:
    return None if field == "_" else field


def _pairs(field: str, number: int, where: str, *, strict: bool) -> dict[str, str]:
    if field == "_":
        return {}
    pairs = {}
    for item in field.split("|"):
        name, equals, value = item.partition("=")
        if strict and not (name and equals and value):
            raise ProbeError(f"{where}, line {number}: feature {item!r} is not Name=Value")
        pairs[name] = value
    return pairs


def check_label(sentences: Sequence[ConlluSentence], label: str) -> None:
    """See that some word has a label.

    Raises:
        ProbeError: None has; the nearest that words have is named.
    """
    feats = sorted({name for s in sentences for word in s.words for name in word.feats})
    known = [*FIELDS, "depth", *feats]
    if label not in known:
        raise ProbeError(
            f"no word has a label {label!r}{nearest(str(label), known)}; there are "
            f"{', '.join(known)}"
        )
