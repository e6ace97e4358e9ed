"""Find tasks by name: among lm-evaluation-harness's own and in folders of YAML files."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from neoscope.errors import EvaluationError
from neoscope.evaluate.suites import SUITES

# Names less alike than this are no misspelling of each other.
_ALIKE = 0.75


def manager_of(names: Sequence[str], include: Sequence[Path], local: Sequence[str] = ()) -> Any:
    """Index task files: only the folders that are needed where that is known, for speed.

    Args:
        names: Of tasks, or paths of YAML files.
        include: Folders of YAML files.
        local: Names of the configurations that run beside.

    Raises:
        EvaluationError: A name is a local task's, or a file of an included folder is no task.
    """
    from lm_eval import tasks

    mine = tasks.TaskManager(include_defaults=False, include_path=list(include))
    _check_folders(include, mine)
    home = Path(tasks.__file__).parent
    known = {e.task: e.folder for suite in SUITES.values() for e in suite.entries}
    others = [name for name in names if not is_file(name) and not matches(name, mine)]
    twice = next((name for name in others if name in local), None)
    if twice is not None:
        raise EvaluationError(
            f"{twice!r} is the local task that is given beside it and runs by itself; "
            "leave the name out"
        )
    if not others:
        return mine
    near = {home / known.get(name, name.split("_")[0]) for name in others}
    some = sorted(folder for folder in near if folder.is_dir())
    narrow = tasks.TaskManager(include_defaults=False, include_path=[*some, *include])
    # A group or tag may have members elsewhere; those of the suites are known not to.
    if all(name in known or matches(name, narrow, leaf=True) for name in others):
        return narrow
    every = tasks.TaskManager(include_path=list(include))
    for name in others:
        if not matches(name, every):
            # A misspelled name is likelier that of a task of one's own.
            own = alike(name, mine.all_tasks, 0.6) is not None
            known_names = mine.all_tasks if own else every.all_tasks
            raise EvaluationError(unknown(name, known_names, 0.6 if own else _ALIKE))
    return every


def _check_folders(include: Sequence[Path], manager: Any) -> None:
    """Say which file lm_eval leaves out without a word, and why."""
    import yaml
    from lm_eval.tasks._yaml_loader import load_yaml

    for folder in include:
        files = sorted(path for path in folder.glob("**/*.yaml") if "__pycache__" not in path.parts)
        for path in files:
            try:
                load_yaml(path, resolve_func=False)
            except (yaml.YAMLError, OSError, UnicodeError) as error:
                said = " ".join(str(error).split())
                raise EvaluationError(f"the task file {path} is broken: {said[:200]}") from error
        entries = [entry.yaml_path for entry in manager.task_index.values()]
        if not any(path is not None and Path(path).is_relative_to(folder) for path in entries):
            what = f"none of its {len(files)} .yaml files is one" if files else "it has no .yaml"
            raise EvaluationError(f"the folder {folder} holds no task: {what}")


def unknown(name: str, known: Iterable[str], at_least: float = _ALIKE) -> str:
    """Return what is said of a name that is none, with the nearest that is near."""
    hint = alike(name, known, at_least)
    return f"there is no task {name!r} in lm-evaluation-harness or the included folders" + (
        f"; did you mean {hint!r}?" if hint else ""
    )


def alike(name: str, known: Iterable[str], at_least: float) -> str | None:
    """Return the name that is most like one, if it is at least so much like it."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=at_least)
    return found[0] if found else None


def matches(name: str, manager: Any, *, leaf: bool = False) -> list[str]:
    """Return the tasks that a name or pattern means; with ``leaf`` no groups and tags."""
    names = manager.all_subtasks if leaf or "*" in name else manager.all_tasks
    return fnmatch.filter(names, name) if "*" in name else [x for x in names if x == name]


def is_file(name: str) -> bool:
    """Whether a name is the path of a YAML file that is there."""
    return Path(name).suffix in (".yaml", ".yml") and Path(name).is_file()
