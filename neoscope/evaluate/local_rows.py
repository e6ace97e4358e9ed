"""Rows of local files, checked: each kind of task with the columns that it needs."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neoscope.errors import EvaluationError, nearest

Row = dict[str, Any]

KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "minimal_pairs": {"good": ("sentence_good", "good"), "bad": ("sentence_bad", "bad")},
    "multiple_choice": {
        "context": ("context", "query", "question", "prompt", "ctx"),
        "choices": ("choices", "endings", "options"),
        "label": ("label", "answer", "answerKey", "gold", "target"),
    },
    "perplexity": {"text": ("text", "page", "document")},
    "generate": {
        "prompt": ("prompt", "context", "question", "query"),
        "answer": ("answer", "target", "completion"),
    },
})  # fmt: skip
"""For each kind of task its columns, and the names that they go by."""


def kind_of(path: Path, columns: Mapping[str, str]) -> str:
    """Tell the kind of task by the columns of a file's first row.

    Raises:
        EvaluationError: It cannot be read, or no kind has these columns.
    """
    if path.suffix.lower() == ".txt":
        return "perplexity"
    number, row = _raw(path)[0]
    where = f"{path}, {place_word(path)} {number}"
    for kind, wanted in KINDS.items():
        if all(_named(row, name, others, columns) for name, others in wanted.items()):
            return kind
    kinds = "; ".join(
        f"{kind}: {', '.join(names[0] for names in wanted.values())}"
        for kind, wanted in KINDS.items()
    )
    raise EvaluationError(
        f"{where}: the columns {', '.join(map(repr, row))} are of no kind of task; expected "
        f"those of one ({kinds}), or say what they are called with columns"
    )


def read_rows(path: Path, kind: str, columns: Mapping[str, str]) -> tuple[list[Row], Sequence[int]]:
    """Read a file as rows of one kind of task, every column by its own name.

    Returns:
        The rows, and the line of each (the item of a JSON list), from 1.

    Raises:
        EvaluationError: It cannot be read, is empty, or a line is not of that kind.
    """
    if kind == "perplexity" and path.suffix.lower() == ".txt":
        text = _text(path)
        if not text.strip():
            raise EvaluationError(f"{path} is empty")
        return [{"text": text}], [1]
    stray = [name for name in columns if name not in KINDS[kind]]
    if stray:
        raise EvaluationError(
            f"columns: {kind} has no column {stray[0]!r}; it has "
            f"{', '.join(KINDS[kind])}{nearest(stray[0], KINDS[kind])}"
        )
    raws = _raw(path)
    word = place_word(path)
    rows = [_row(f"{path}, {word} {n}", raw, kind, columns) for n, raw in raws]
    if kind == "generate" and any(isinstance(row["answer"], list) for row in rows):
        # lm_eval looks at the first example whether answers are lists.
        several = [x if isinstance(x := row["answer"], list) else [x] for row in rows]
        rows = [row | {"answer": answer} for row, answer in zip(rows, several, strict=True)]
    return rows, [number for number, _ in raws]


def place_word(path: Path) -> str:
    """Return what a row of a file is called: a line, or an item of a JSON list."""
    return "item" if _is_list(_text(path)) else "line"


def _row(where: str, raw: Row, kind: str, columns: Mapping[str, str]) -> Row:
    found: Row = {}
    called: dict[str, str] = {}
    for name, others in KINDS[kind].items():
        column = _named(raw, name, others, columns)
        if column is None:
            wanted = columns.get(name, others[0])
            raise EvaluationError(
                f"{where}: {kind} needs a column {wanted!r}, and there is none; this row has "
                f"{', '.join(map(repr, raw)) or 'no column'}{_meant(wanted, name, raw)}"
            )
        found[name], called[name] = raw[column], column
    if kind == "multiple_choice":
        return _choice(found, called, where)
    if kind == "generate":
        found["answer"] = _answers(found["answer"], called["answer"], where)
    for name, value in found.items():
        if name == "answer":
            continue
        if not isinstance(value, str):
            raise EvaluationError(f"{where}: {called[name]} must be a text, not {value!r:.60}")
        if not value.strip():
            raise EvaluationError(f"{where}: {called[name]} is an empty text")
    if kind == "minimal_pairs":
        return {"choices": [found["good"], found["bad"]]}
    return found


def _meant(wanted: str, name: str, row: Row) -> str:
    """Ask whether a column that is there is the one, and say how to use it."""
    close = difflib.get_close_matches(wanted, list(row), n=1, cutoff=0.6)
    return f"; is it {close[0]!r}? Then say so with columns: {name} is {close[0]}" if close else ""


def _answers(value: Any, column: str, where: str) -> str | list[str]:
    """Read one accepted answer or several; a number as it is written."""
    if isinstance(value, list):
        if not value:
            raise EvaluationError(f"{where}: {column} is an empty list of answers")
        return [str(_answers(item, column, where)) for item in _flat(value, column, where)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise EvaluationError(
            f"{where}: {column} must be a text or a list of accepted ones, not {value!r:.60}"
        )
    return value


def _flat(values: list[Any], column: str, where: str) -> list[Any]:
    if any(isinstance(value, list) for value in values):
        raise EvaluationError(f"{where}: {column} must be a list of texts, not {values!r:.60}")
    return values


def _choice(found: Row, called: Mapping[str, str], where: str) -> Row:
    context, choices, label = found["context"], found["choices"], found["label"]
    column = called["choices"]
    named = isinstance(choices, dict)
    if isinstance(choices, dict):  # ARC's: {"text": [...], "label": ["A", "B"]}
        choices, label = _arc(choices, label, called, where)
    if not isinstance(context, str):
        raise EvaluationError(f"{where}: {called['context']} must be a text, not {context!r:.60}")
    if not isinstance(choices, list) or len(choices) < 2:
        raise EvaluationError(
            f"{where}: {column} must be a list of two texts or more, not {choices!r:.60}"
        )
    for i, choice in enumerate(choices):
        if not isinstance(choice, str):
            raise EvaluationError(
                f"{where}: choice {i} of {column} must be a text, not {choice!r:.60}"
            )
        if not choice:
            raise EvaluationError(f"{where}: choice {i} of {column} is an empty text")
    index = label if named else _index(label, choices, where)
    return {"context": context, "choices": choices, "label": index}


def _arc(
    choices: dict[str, Any], label: Any, called: Mapping[str, str], where: str
) -> tuple[Any, int]:
    """Read ARC's own layout, in which every choice has a name and the label is one of them.

    Raises:
        EvaluationError: Names and texts are not as many, or the label is none of the names.
    """
    texts, names = choices.get("text"), choices.get("label")
    if not isinstance(texts, list) or not isinstance(names, list) or len(texts) != len(names):
        raise EvaluationError(
            f"{where}: {called['choices']} must be a list of texts, or as in ARC an object with as "
            f"many 'label' as 'text', not {choices!r:.60}"
        )
    written = [str(name) for name in names]
    if written.count(str(label)) != 1:
        raise EvaluationError(
            f"{where}: {called['label']} {label!r:.60} is none of the choices' own names "
            f"({', '.join(written)})"
        )
    return texts, written.index(str(label))


def _index(label: Any, choices: list[str], where: str) -> int:
    """Read which choice is right: its number from 0, its letter from A, or itself."""
    index = None
    if isinstance(label, int) and not isinstance(label, bool):
        index = label
    elif label in choices:
        index = choices.index(label)
    elif isinstance(label, str) and re.fullmatch("[0-9]{1,9}", label.strip()):
        index = int(label)
    elif isinstance(label, str) and re.fullmatch("[A-Za-z]", label.strip()):
        index = ord(label.strip().upper()) - ord("A")
    if index is None or not 0 <= index < len(choices):
        raise EvaluationError(
            f"{where}: label {label!r:.60} is none of the {len(choices)} choices; write its number "
            "from 0, its letter from A, or the choice itself"
        )
    return index


def _named(row: Row, name: str, others: tuple[str, ...], columns: Mapping[str, str]) -> str | None:
    """Return what a column is called in a row."""
    wanted = (columns[name],) if name in columns else others
    return next((other for other in wanted if other in row), None)


def _raw(path: Path) -> list[tuple[int, Row]]:
    """Read JSON lines, or one JSON list, with the number of each line or item."""
    text = _text(path)
    if _is_list(text):
        try:
            items = list(enumerate(json.loads(text), 1))
        except (ValueError, RecursionError) as error:
            raise EvaluationError(f"{path} is not valid JSON: {error}") from error
    else:
        lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
        items = [(i, _parsed(path, i, line)) for i, line in lines]
    for number, item in items:
        if not isinstance(item, dict):
            raise EvaluationError(
                f"{path}, {place_word(path)} {number} is no JSON object: {item!r:.60}"
            )
    if not items:
        raise EvaluationError(f"{path} is empty")
    return items


def _is_list(text: str) -> bool:
    return text.lstrip().startswith("[")


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{path}, line {number} is not valid JSON: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not UTF-8: byte {error.start}") from error
