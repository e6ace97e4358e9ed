"""Arguments of evaluation, checked before anything is read or run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neoscope.edit import Edit
from neoscope.errors import ArgumentError, EvaluationError
from neoscope.indices import whole

_DATA = (".jsonl", ".json", ".txt")


def check_model(model: Any) -> None:
    """Check that a model is one.

    Raises:
        ArgumentError: It is something else, such as its name.
    """
    from neoscope.model import HookedGPTNeo

    if not isinstance(model, HookedGPTNeo):
        how = f": load it with neoscope.load({model!r:.60})" if isinstance(model, str) else ""
        raise ArgumentError(
            f"model must be a HookedGPTNeo, not {type(model).__name__} {model!r:.60}{how}"
        )


def check_text(value: Any, name: str) -> None:
    """Check that an argument is a text or None.

    Raises:
        ArgumentError: It is something else.
    """
    if value is not None and not isinstance(value, str):
        raise ArgumentError(f"{name}={value!r:.60} must be a text")


def check_number(value: Any, name: str, least: int) -> None:
    """Check that an argument is None or a whole number.

    Raises:
        ArgumentError: It is something else, or below ``least``.
    """
    found = whole(value)
    if value is not None and (found is None or found < least):
        raise ArgumentError(f"{name}={value!r:.60} is no whole number from {least}")


def check_limit(limit: Any) -> None:
    """Check how many examples are to run.

    Raises:
        ArgumentError: It is neither a whole number above 0 nor a share below 1.
    """
    if limit is None:
        return
    number = isinstance(limit, float) or whole(limit) is not None
    if not number or not math.isfinite(limit) or not limit > 0 or (limit > 1 and limit % 1):
        raise ArgumentError(
            f"limit={limit!r:.60} is neither a number of examples (100) nor a share of them (0.1)"
        )


def read_edits(edits: Any) -> list[Edit]:
    """Return one edit or several as a list.

    Raises:
        ArgumentError: Something in it is no edit.
    """
    flat = list(edits) if isinstance(edits, Iterable) and not isinstance(edits, str) else [edits]
    wrong = next((edit for edit in flat if not isinstance(edit, Edit)), None)
    if wrong is not None or None in flat:
        raise ArgumentError(f"edits must be edits, as neoscope.edits makes them, not {wrong!r:.60}")
    return flat


def read_tasks(tasks: Any) -> list[str | dict[str, Any]]:
    """Return one task or several as a list, paths as texts.

    Raises:
        ArgumentError: There is none, or one is neither a name, a path nor a configuration.
        EvaluationError: One is a file of data, or a file that is not there.
    """
    one = isinstance(tasks, str | os.PathLike | dict)
    several = tasks if isinstance(tasks, Iterable) else () if tasks is None else [tasks]
    given: list[Any] = [tasks] if one else list(several)
    if not given:
        raise ArgumentError("there is nothing to run: give tasks, a local task or a suite")
    return [_task(task) for task in given]


def _task(task: Any) -> str | dict[str, Any]:
    if isinstance(task, dict):
        return task
    if not isinstance(task, str | os.PathLike):
        raise ArgumentError(
            "a task is a name, the path of a YAML file or what local_task returns, not "
            f"{task!r:.60}"
        )
    name = os.fspath(task)
    if not isinstance(name, str):
        raise ArgumentError(f"a task's path must be a text, not {name!r:.60}")
    suffix = Path(name).suffix.lower()
    if suffix in _DATA:
        raise EvaluationError(
            f"{name!r} is a file of data, no task by name: make a task of it with local_task "
            f"(on the command line --file {name})"
        )
    if suffix in (".yaml", ".yml") and not Path(name).expanduser().is_file():
        raise EvaluationError(f"the task file {name!r} cannot be read: no such file")
    return str(Path(name).expanduser()) if suffix in (".yaml", ".yml") else name


def read_folders(include: Any) -> list[Path]:
    """Return folders of task files, each of which is there.

    Raises:
        ArgumentError: It is no path.
        EvaluationError: One is not there.
    """
    one = isinstance(include, str | os.PathLike)
    if not one and not isinstance(include, Iterable):
        raise ArgumentError(f"include={include!r:.60} must be a folder or several")
    given = [include] if one else list(include)
    for folder in given:
        if not isinstance(folder, str | os.PathLike):
            raise ArgumentError(f"include must name folders, not {folder!r:.60}")
    found = [Path(folder).expanduser() for folder in given]
    for path in found:
        if not path.is_dir():
            raise EvaluationError(f"{str(path)!r} is no folder of task files (.yaml)")
    return found
