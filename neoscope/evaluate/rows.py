"""Rows of an evaluation: what lm-evaluation-harness measured, and which of it a suite means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from neoscope.evaluate.loading import Loaded
from neoscope.evaluate.origins import Shortened
from neoscope.evaluate.suites import Entry, Suite

_NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One metric of one task."""

    task: str
    label: str
    metric: str
    filter: str
    value: float
    stderr: float
    n: int
    num_fewshot: int
    higher_is_better: bool
    part_of: str
    """The name that was asked for: a group's, or the task's own."""
    published: float = _NAN
    main: bool = True
    shortened: int = 0
    """Examples whose context was too long and lost its beginning."""


def rows_of(loaded: Loaded, found: dict[str, Any], shortened: Shortened) -> list[Row]:
    """Read the answer of ``lm_eval.evaluator.evaluate``: groups first, then their tasks."""
    rows = []
    groups = loaded.tasks.get("groups") or {}
    for task in sorted(found["results"], key=lambda name: name not in groups):
        measured = found["results"][task]
        better = found["higher_is_better"].get(task) or {}
        for key, value in measured.items():
            metric, comma, filtered = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            shots = found["n-shot"].get(task, 0)
            rows.append(
                Row(
                    task=task,
                    label=task,
                    metric=metric,
                    filter=filtered,
                    value=float(value),
                    stderr=_number(measured.get(f"{metric}_stderr,{filtered}")),
                    n=int(measured.get("sample_len", 0)),
                    num_fewshot=int(shots) if isinstance(shots, int) else 0,
                    higher_is_better=better.get(metric) is not False,
                    part_of=loaded.name,
                    main=not groups or task in groups,
                    shortened=sum(map(shortened.of, _parts(task, found))),
                )
            )
    return rows


def _parts(name: str, found: dict[str, Any]) -> set[str]:
    """The tasks of a group and of its subgroups; a task is its own only part."""
    parts = (found.get("group_subtasks") or {}).get(name)
    return {name} if not parts else set().union(*(_parts(part, found) for part in parts))


def _number(value: Any) -> float:
    """A number, or NaN for lm_eval's "N/A"."""
    return float(value) if isinstance(value, int | float) else _NAN


def suite_rows(suite: Suite, rows: Sequence[Row], known_as: str | None) -> list[Row]:
    """Return the rows of a suite in its table's order, then all others that were measured."""
    figures = suite.published.get(known_as, {}) if known_as is not None else {}
    found: list[Row] = []
    kept: set[int] = set()
    for entry in suite.entries:
        row, at = _entry(entry, rows)
        if row is None:
            continue
        kept |= at
        published = figures.get((entry.task, entry.metric), _NAN)
        found.append(replace(row, label=entry.label, published=published, main=True))
    if suite.averaged and len(found) == len(suite.entries):
        found.append(_average(found, figures.get(("average", "score"), _NAN)))
    rest = [replace(row, main=False) for i, row in enumerate(rows) if i not in kept]
    return found + rest


def _entry(entry: Entry, rows: Sequence[Row]) -> tuple[Row | None, set[int]]:
    """The row that an entry means, and the rows that it replaces."""
    fits = [
        i for i, row in enumerate(rows)
        if row.part_of == entry.task and (row.metric, row.filter) == (entry.metric, entry.filter)
    ]  # fmt: skip
    if not fits:
        return None, set()
    if not entry.mean_of_parts:
        return rows[fits[0]], {fits[0]}
    # Of a group's rows, those of single tasks: a subgroup has the sum of its tasks' examples.
    parts = [rows[i] for i in fits if not rows[i].main]
    value = sum(row.value for row in parts) / len(parts)
    spread = math.sqrt(sum(row.stderr**2 for row in parts)) / len(parts)
    sums = {key: sum(getattr(row, key) for row in parts) for key in ("n", "shortened")}
    return replace(parts[0], task=entry.task, value=value, stderr=spread, **sums), set()


def _average(rows: Sequence[Row], published: float) -> Row:
    """The mean of a suite's rows, and its standard error if they are independent."""
    return Row(
        task="average",
        label="Average",
        metric="score",
        filter="none",
        value=sum(row.value for row in rows) / len(rows),
        stderr=math.sqrt(sum(row.stderr**2 for row in rows)) / len(rows),
        n=sum(row.n for row in rows),
        num_fewshot=0,
        higher_is_better=True,
        part_of="average",
        published=published,
        shortened=sum(row.shortened for row in rows),
    )
