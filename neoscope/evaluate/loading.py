"""Tasks by name, from files and from configurations; found and loaded before anything runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoscope.errors import ArgumentError, EvaluationError
from neoscope.evaluate.finding import is_file, manager_of, matches, unknown
from neoscope.evaluate.reach import Reach
from neoscope.evaluate.suites import Suite

Wanted = str | Path | dict[str, Any]
# The names by which ``datasets`` reads local files.
_READERS = ("json", "csv", "text", "parquet", "arrow", "pandas", "xml")


@dataclass(frozen=True)
class Loaded:
    """One thing that was asked for: a task, a group of tasks, or several by one tag."""

    name: str
    tasks: dict[str, Any]
    """lm_eval's ``TaskDict``."""

    @property
    def leaves(self) -> dict[str, Any]:
        """Its tasks by name."""
        found: dict[str, Any] = self.tasks["tasks"]
        return found


def load_all(
    wanted: Sequence[Wanted],
    include: Sequence[Path],
    shots: Sequence[int | None],
    seed: int,
) -> list[Loaded]:
    """Load everything that is to run; a task that cannot run is found out before any does.

    Args:
        wanted: Names, paths of YAML files, patterns such as ``"blimp_*"``, or configurations.
        include: Folders of YAML files.
        shots: For each, how many examples; None for what the task says.
        seed: Fixes which examples are drawn.

    Raises:
        EvaluationError: A task is unknown, its data is not there, or it has too few examples.
    """
    local = [_name(spec) for spec in wanted if isinstance(spec, dict)]
    manager = manager_of([name for name in wanted if isinstance(name, str)], include, local)
    found: list[Loaded] = []
    reach = Reach()
    asked = [n for n in shots if n]
    for spec, n in zip(wanted, shots, strict=True):
        for one in _resolved(spec, manager):
            loaded = Loaded(_name(one), _load(one, manager, reach))
            for name, task in loaded.leaves.items():
                _set_shots(name, task, n)
                task.set_fewshot_seed(seed=seed)
            found.append(loaded)
    names = [name for loaded in found for name in loaded.leaves]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluationError(
            f"task {twice!r} is asked for twice; leave one out, or give a local task another name"
        )
    if asked and not any(
        task.get_config("num_fewshot") for loaded in found for task in loaded.leaves.values()
    ):
        raise ArgumentError(
            f"no task that is asked for takes solved examples (num_fewshot, {asked[0]}): "
            f"{', '.join(names[:5])}"
        )
    return found


def _name(spec: Wanted) -> str:
    if isinstance(spec, dict):
        return str(spec.get("task", spec.get("group", "task")))
    return Path(spec).stem if is_file(str(spec)) else str(spec)


def _resolved(spec: Wanted, manager: Any) -> list[Wanted]:
    if isinstance(spec, dict):
        return [spec]
    name = str(spec)
    if is_file(name):
        return [name]
    if found := matches(name, manager):
        return list(found)
    raise EvaluationError(unknown(name, manager.all_tasks))


def _load(spec: Wanted, manager: Any, reach: Reach) -> dict[str, Any]:
    """Build a task or group, which loads its data.

    Raises:
        EvaluationError: That failed.
    """
    try:
        with contextlib.nullcontext() if _is_local(spec, manager) else reach.needed():
            loaded: dict[str, Any] = manager.load([spec])
    except EvaluationError:
        raise
    except OSError as error:  # what datasets and the hub raise, with a network and without
        said = " ".join(str(error).split())
        path = _dataset_path(spec, manager)
        if path in _READERS:
            raise EvaluationError(
                f"task {_name(spec)!r} cannot read its data file: {said[:200]}"
            ) from error
        named = re.search(r"'([\w.-]+/[\w.-]+)'", said)
        path = path or (named and named[1])
        why = f"{reach.missing} does not answer" if reach.missing else said[:160]
        raise EvaluationError(
            f"task {_name(spec)!r} needs the dataset {repr(path) if path else 'of the hub'}, which "
            f"is neither here nor within reach ({why}). With a network it is downloaded once. "
            "Without one, evaluate a local file: local_task (on the command line --file file.jsonl)"
        ) from error
    except Exception as error:
        said = " ".join(str(error).split())
        if _dataset_path(spec, manager) in _READERS and error.__cause__ is not None:
            said = f"{said} ({' '.join(str(error.__cause__).split())[:120]})"
            said += "; dataset_kwargs must name its data_files, and these must be of that format"
        raise EvaluationError(
            f"task {_name(spec)!r} cannot be built: {type(error).__name__}: {said[:300]}"
        ) from error
    return loaded


def _dataset_path(spec: Wanted, manager: Any) -> str | None:
    """Name the dataset of a task, as its file or configuration does; None of a group."""
    found = _config(spec, manager).get("dataset_path")
    return None if found is None else str(found)


def _is_local(spec: Wanted, manager: Any) -> bool:
    """Whether a task's data come from no hub, as far as that is known before it is built."""
    config = _config(spec, manager)
    path = str(config.get("dataset_path", ""))
    return "custom_dataset" in config or path in _READERS or bool(path and Path(path).exists())


def _config(spec: Wanted, manager: Any) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    if isinstance(spec, dict):
        return spec
    entry = manager.task_index.get(str(spec))
    path = Path(str(spec)) if entry is None else entry.yaml_path
    return {} if path is None else dict(load_yaml(path, resolve_func=False))


def _set_shots(name: str, task: Any, n: int | None) -> None:
    """Set the number of examples; a task that says 0 itself keeps to it, as in lm_eval."""
    own = task.get_config("num_fewshot")
    if n is None:
        n = 0 if own is None else own
    if own != 0:
        task.set_config(key="num_fewshot", value=n)
    n = task.get_config("num_fewshot")
    pool = len(getattr(getattr(task, "sampler", None), "df", ()))
    split = getattr(getattr(task, "fewshot_cfg", None), "split", None)
    shared = split is not None and split == task.get_config("test_split")
    if n and n + shared > pool:
        raise EvaluationError(
            f"task {name!r} has {pool} examples to draw from, and {n} shots need {n + shared}"
        )


def suite_tasks(suite: Suite) -> tuple[list[Wanted], list[int | None]]:
    """Return the tasks of a suite, each once, and their shots."""
    shots = {entry.task: entry.num_fewshot for entry in suite.entries}
    return list(shots), list(shots.values())
