"""The prompts of ``neoscope patch``: one pair of the options, a file of pairs, or a task's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from neoscope.errors import PatchingError, nearest

_FIELDS = ("clean", "corrupted", "answer", "wrong")
_COUNT = 64
_OF_WORDS = re.compile(r"does not align|are the same|is \d+ tokens|is no word|tokenizer")
_NUMBERED = re.compile(r"\b(pairs?|prompt|text|entry) (\d+(?:, \d+)*)")


@dataclass(frozen=True)
class Given:
    """Pairs of prompts, with what is asked of them."""

    clean: Sequence[Any]
    corrupted: Sequence[Any] | None
    answer: Sequence[Any] | None
    wrong: Sequence[Any] | None
    file: Path | None = None
    lines: Sequence[int] = field(default=())
    """Of a file: where each pair stands, counted from 1."""
    task: str | None = None

    def placed(self, message: str) -> str:
        """Return a message about pairs that also says where in the file they stand."""
        if self.task is not None and _OF_WORDS.search(message):
            return f"{message}; --task is in the bundled model's words: give --pairs of your own"
        if self.file is None:
            return message
        said = _NUMBERED.sub(self._with_lines, message)
        if said == message and (match := re.match(r"(answer|wrong)=('.*?'|\".*?\")", message)):
            words = getattr(self, match[1]) or ()
            lines = [n for n, x in zip(self.lines, words, strict=False) if repr(x) == match[2]]
            said = f"line {lines[0]}: {message}" if lines else message
        return said if said == message else f"{self.file}: {said}"

    def _with_lines(self, match: re.Match[str]) -> str:
        numbers = [int(number) for number in match[2].split(", ")]
        if max(numbers) >= len(self.lines):
            return match[0]
        found = ", ".join(str(self.lines[number]) for number in numbers)
        return f"{match[0]} (line{'s' * (len(numbers) > 1)} {found})"


def check_usage(
    model: str,
    one: Mapping[str, str | None],
    file: Path | None,
    task: str | None,
    n: int | None,
    *,
    needed: Sequence[str],
    alone: bool,
) -> str | None:
    """Return the task that is asked for; the organism's own where nothing is.

    Args:
        model: As named.
        one: Options of a single pair.
        file: Of pairs.
        task: One of the organism's.
        n: Pairs of it.
        needed: What the metric needs.
        alone: Whether clean prompts can do without corrupted ones.

    Raises:
        typer.BadParameter: Prompts are missing, or come from two places.
    """
    named = [f"--{name}" for name, value in one.items() if value is not None]
    ways = named[:1] + ["--pairs"] * (file is not None) + ["--task"] * (task is not None)
    if len(ways) > 1:
        raise typer.BadParameter(
            f"{' and '.join(ways)}: a pair (--clean, --corrupted, --answer, --wrong), --pairs or "
            "--task, but one of them"
        )
    if not ways and model == "organism":
        task = "ioi"
    elif not ways:
        raise typer.BadParameter(
            "give --clean and --corrupted, or --pairs (or --task, with 'organism', the one model "
            "that has prompts of its own)"
        )
    if n is not None and task is None:
        raise typer.BadParameter("--n is for --task")
    if named:
        wanted = ["clean", *([] if alone else ["corrupted"]), *needed]
        missing = [f"--{name}" for name in wanted if one[name] is None]
        if missing:
            hint = " (or --source zero)" if missing == ["--corrupted"] else ""
            raise typer.BadParameter(f"{' and '.join(missing)} {_is(missing)} missing{hint}")
    return task


def _is(things: Sequence[str]) -> str:
    return "is" if len(things) == 1 else "are"


def of_options(one: Mapping[str, str | None]) -> Given:
    """Return the one pair that the options are."""
    return Given(*(None if one[name] is None else [one[name]] for name in _FIELDS))  # type: ignore[arg-type]


def of_task(task: str, n: int | None, seed: int) -> Given:
    """Return pairs of one of the organism's tasks.

    Raises:
        ArgumentError: There is no such task.
    """
    from neoscope.organism.language import pairs

    found = pairs(task, _COUNT if n is None else n, seed=seed)
    return Given(found.clean, found.corrupted, found.answer, found.wrong, task=task)


def read_file(file: Path, *, needed: Sequence[str], alone: bool) -> Given:
    """Read a file of pairs.

    Args:
        file: JSON Lines.
        needed: Fields that the metric needs.
        alone: Whether pairs can do without ``corrupted``.

    Raises:
        PatchingError: It cannot be read; a bad line is named with its number.
    """
    try:
        whole = file.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PatchingError(f"cannot read {file}: it is no UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise PatchingError(f"cannot read {file}: {error.strerror or error}") from error
    lines = [(i, line) for i, line in enumerate(whole.split("\n"), 1) if line.strip()]
    if not lines:
        raise PatchingError(f"{file} holds no pairs: every line is blank")
    first = _record(file, *lines[0])
    wanted = ["clean", *needed]
    if not alone or "corrupted" in first:
        wanted.insert(1, "corrupted")
    rows = [_checked(file, i, _record(file, i, line), wanted) for i, line in lines]
    columns = {name: [row[name] for row in rows] if name in wanted else None for name in _FIELDS}
    return Given(**columns, file=file, lines=[i for i, _ in lines])  # type: ignore[arg-type]


def _record(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise PatchingError(
            f"{file}, line {number} is no JSON: {error.msg} at column {error.colno}; expected a "
            'line such as {"clean": "...", "corrupted": "...", "answer": " Mary", "wrong": " John"}'
        ) from error
    if not isinstance(record, dict):
        raise PatchingError(
            f"{file}, line {number} is a {type(record).__name__}; expected an object with the "
            f"fields {', '.join(_FIELDS)}"
        )
    return record


def _checked(file: Path, number: int, row: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    for name in wanted:
        if name not in row:
            others = [other for other in row if other not in _FIELDS]
            has = ", ".join(map(repr, row)) or "nothing"
            raise PatchingError(
                f"{file}, line {number} has no field {name!r}{nearest(name, others)}; it has {has}"
            )
        value, is_prompt = row[name], name in ("clean", "corrupted")
        numbers = value if is_prompt and isinstance(value, list) else [value]
        ids = bool(numbers) and all(type(x) is int for x in numbers)
        if not isinstance(value, str) and (not ids or (is_prompt and value is numbers[0])):
            kind = "a list of token ids" if is_prompt else "a token id"
            raise PatchingError(
                f"{file}, line {number}: {name} is {value!r}; expected a text or {kind}"
            )
    return row
