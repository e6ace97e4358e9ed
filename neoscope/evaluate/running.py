"""evaluate: run tasks on a model, and say what was published of it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.errors import ArgumentError, EvaluationError, NeoscopeError, missing_extra
from neoscope.evaluate.arguments import (
    check_limit,
    check_model,
    check_number,
    check_text,
    read_edits,
    read_folders,
    read_tasks,
)
from neoscope.evaluate.building import evaluation_of
from neoscope.evaluate.loading import Loaded, Wanted, load_all, suite_tasks
from neoscope.evaluate.local_options import LocalRows
from neoscope.evaluate.origins import RequestError
from neoscope.evaluate.result import Evaluation
from neoscope.evaluate.rows import Row, rows_of
from neoscope.evaluate.samples import samples_of
from neoscope.evaluate.suites import suite_of
from neoscope.indices import whole

if TYPE_CHECKING:
    import os

    from neoscope.edit import Edit
    from neoscope.model import HookedGPTNeo

    Tasks = Wanted | Sequence[Wanted] | None
    Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    Edits = Edit | Sequence[Edit]
    Limit = int | float | None
    Whole = int | None
    Text = str | None
else:
    # Checked where they are read, with an error that says what was found instead.
    Tasks = Folders = Edits = Limit = Whole = Text = Any

_SEED = 1234
_BOOTSTRAPPED = 1000


def evaluate(
    model: HookedGPTNeo,
    tasks: Tasks = None,
    *,
    suite: Text = None,
    include: Folders = (),
    num_fewshot: Whole = None,
    limit: Limit = None,
    edits: Edits = (),
    batch_tokens: Whole = None,
    published: Text = None,
    samples: bool = False,
    seed: Whole = _SEED,
    progress: bool | Callable[[int, int], None] = True,
) -> Evaluation:
    """Run tasks of lm-evaluation-harness on a model.

    The numbers are those of its own ``hf`` model on the same checkpoint, to 1e-4; an accuracy may
    differ by an example whose choices tie to the last digits of float32. A text longer than the
    context is scored in windows; the ``hf`` model of lm_eval 0.4 mixes up windows of periodic text
    that read the same tokens, and this one does not.

    A context with more than the model's tokens loses its beginning, as there; the result counts
    these (``shortened``).

    Args:
        model: The model; edits and hooks that are in force on it count.
        tasks: Names of lm-evaluation-harness's tasks (``"hellaswag"``), groups, patterns
            (``"blimp_*"``), paths of its YAML files, or configurations as :func:`local_task` makes
            of local files. One or several.
        suite: ``"leaderboard-v1"`` or ``"gpt-neo-readme"``: a published table, with its shots.
        include: Folders with YAML files of further tasks.
        num_fewshot: Solved examples before each; None for what task or suite says. A task that
            says 0 keeps to it.
        limit: Run the first examples of each task only: so many, or below 1 such a share.
        edits: Edits in force while the tasks run.
        batch_tokens: About how many tokens are run at once; None for what suits the device.
        published: Whose published figures stand beside a suite's: ``"125m"``, ``"350m"``,
            ``"1.3b"`` or ``"2.7b"``; None to tell by the model's name and shape.
        samples: Also keep what was asked and answered, example by example.
        seed: Fixes the examples that are drawn, as ``fewshot_random_seed`` does in lm_eval.
        progress: True for a bar after two seconds, False for nothing, or a function of the number
            of requests answered and of all requests.

    Returns:
        A row for each task and metric. Interrupted, it holds the tasks that were done, if any.

    Raises:
        EvaluationError: A task or suite is unknown, or its data is not there.
        ArgumentError: There is nothing to run, or an argument means nothing.
        MissingExtraError: lm_eval is not installed.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> import neoscope as ns
        >>> pairs = [{"sentence_good": "The dogs run in the garden.",
        ...           "sentence_bad": "The dogs runs in the garden."}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "agreement.jsonl"
        ...     _ = path.write_text(json.dumps(pairs))
        ...     task = ns.evaluate.local_task(path)
        >>> found = ns.evaluate.evaluate(ns.load("organism"), task, progress=False)
        >>> found.task, found.metric, found.n.tolist()
        (('agreement',), ('acc',), [1])
    """
    wanted, shots = _wanted(tasks, suite, num_fewshot)
    _check(limit, published, suite)
    check_model(model)
    flat, folders = read_edits(edits), read_folders(include)
    number = whole(seed)
    if number is None:
        raise ArgumentError(f"seed={seed!r:.60} is no whole number")
    harness = _harness()(model, batch_tokens=batch_tokens, progress=progress)
    from neoscope.evaluate.quiet import quiet

    done: list[Row] = []
    kept: list[dict[str, Any]] = []
    left: list[str] = []
    state = random.getstate()
    with quiet(), model.edits(*flat):
        in_force = tuple(map(repr, model._edits))
        random.seed(number)
        try:
            loaded = load_all(wanted, folders, shots, number)
            left = [one.name for one in loaded]
            for one in loaded:
                found = _run(harness, one, limit, samples=samples)
                done += rows_of(one, found, harness.shortened)
                kept += samples_of(found) if samples else []
                left.pop(0)
        except KeyboardInterrupt:
            if not done:
                raise
            warnings.warn(f"interrupted: without {', '.join(left)}", stacklevel=2)
        finally:
            random.setstate(state)
    return evaluation_of(
        model, suite, done, in_force, limit, number, tuple(left), published, tuple(kept)
    )


def _wanted(tasks: Tasks, suite: Text, num_fewshot: Whole) -> tuple[list[Wanted], list[int | None]]:
    check_number(num_fewshot, "num_fewshot", 0)
    check_text(suite, "suite")
    if suite is not None and tasks is not None:
        raise ArgumentError("give either tasks or a suite, not both")
    if suite is not None:
        names, shots = suite_tasks(suite_of(suite))
        return names, [num_fewshot] * len(names) if num_fewshot is not None else shots
    given: list[Wanted] = list(read_tasks(tasks))
    return given, [num_fewshot] * len(given)


def _check(limit: Limit, published: Text, suite: Text) -> None:
    check_limit(limit)
    check_text(published, "published")
    if published is not None:
        known = suite_of(suite).published if suite is not None else {}
        if published.lower() not in known:
            have = f"it has those of {', '.join(known)}" if suite else "there is no suite"
            raise EvaluationError(f"no figures are published as {published!r}: {have}")


def _harness() -> Any:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise missing_extra("lm_eval", "eval") from error
    from neoscope.evaluate.harness import Harness

    return Harness


def _run(
    harness: Any, one: Loaded, limit: int | float | None, *, samples: bool = False
) -> dict[str, Any]:
    from lm_eval.evaluator import evaluate as run

    try:
        found: dict[str, Any] = run(
            lm=harness,
            task_dict=one.tasks,
            limit=limit,
            bootstrap_iters=_BOOTSTRAPPED,
            log_samples=samples,
        )
    except RequestError as error:
        task = one.leaves.get(str(error.origin.task))
        rows = None if task is None else task.get_config("custom_dataset")
        if not isinstance(rows, LocalRows) or error.origin.example is None:
            raise
        raise EvaluationError(f"{rows.where(error.origin.example)}: {error.said}") from error
    except NeoscopeError:
        raise
    except (ValueError, AssertionError) as error:  # such as a task that runs generated code
        said = " ".join(str(error).split())
        raise EvaluationError(f"task {one.name!r} cannot be run: {said[:200]}") from error
    return found
