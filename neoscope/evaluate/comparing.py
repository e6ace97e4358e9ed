"""compare: the same tasks on a model as it is and with edits, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.errors import ArgumentError, EvaluationError
from neoscope.evaluate.arguments import read_edits
from neoscope.evaluate.kept import Kept
from neoscope.evaluate.result import Evaluation
from neoscope.evaluate.running import evaluate

if TYPE_CHECKING:
    import pandas as pd

    from neoscope.edit import Edit
    from neoscope.evaluate.loading import Wanted
    from neoscope.model import HookedGPTNeo

    Tasks = Wanted | Sequence[Wanted] | None
    Edits = Edit | Sequence[Edit]
else:
    # Checked where they are read, with an error that says what was found instead.
    Tasks = Edits = Any


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Kept):
    """Scores of a model with and without edits; accuracies are shares of 1."""

    model: str
    suite: str | None
    edits: tuple[str, ...]
    """Edits in force in the second run; any that were on the model before are in both."""
    task: tuple[str, ...]
    label: tuple[str, ...]
    metric: tuple[str, ...]
    filter: tuple[str, ...]
    n: Int[np.ndarray, " row"]
    """Examples, the same in both runs."""
    num_fewshot: Int[np.ndarray, " row"]
    clean: Float[np.ndarray, " row"]
    edited: Float[np.ndarray, " row"]
    stderr: Float[np.ndarray, " row"]
    """Standard error of the difference, example by example; NaN where the metric is no mean."""
    shortened: Int[np.ndarray, " row"]
    """Examples whose context was too long and lost its beginning."""
    main: Bool[np.ndarray, " row"]
    left: tuple[str, ...]
    """Tasks that an interruption left out."""

    def heading(self) -> str:
        """Return what is compared."""
        parts = [f"evaluation of {self.model}, clean and with {', '.join(self.edits)}"]
        cut = [task for task, k in zip(self.task, self.shortened, strict=True) if k]
        if cut:
            names = ", ".join(dict.fromkeys(cut))
            parts.append(f"contexts that were too long lost their beginning: {names}")
        if self.left:
            parts.append(f"interrupted before {', '.join(self.left)}")
        return "; ".join(parts)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each task and metric.

        Columns: ``task``, ``label``, ``metric``, ``filter``, ``num_fewshot``, ``n``, ``clean``,
        ``edited``, ``difference`` (edited less clean), ``stderr``, ``shortened`` and ``main``.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "task": self.task,
                "label": self.label,
                "metric": self.metric,
                "filter": self.filter,
                "num_fewshot": self.num_fewshot,
                "n": self.n,
                "clean": self.clean,
                "edited": self.edited,
                "difference": self.edited - self.clean,
                "stderr": self.stderr,
                "shortened": self.shortened,
                "main": self.main,
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return the suite's own rows, or all."""
        table = self.to_dataframe()
        columns = ["label", "metric", "n", "clean", "edited", "difference", "stderr"]
        return table[table["main"]][columns].rename(columns={"label": "task"})


def compare(
    model: HookedGPTNeo, tasks: Tasks = None, *, edits: Edits, **options: Any
) -> Comparison:
    """Run tasks on a model as it is, then with edits, and set the scores side by side.

    Args:
        model: The model.
        tasks: As :func:`evaluate` takes them.
        edits: What the second run has and the first has not.
        options: The other arguments of :func:`evaluate`.

    Returns:
        A row for each task and metric. Interrupted in the second run, it holds the tasks that were
        done in both.

    Raises:
        ArgumentError: There are no edits.
        EvaluationError: As of :func:`evaluate`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import neoscope as ns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "story.txt"
        ...     _ = path.write_text(ns.organism.sentences("ioi", 1)[0].text)
        ...     task = ns.evaluate.local_task(path)
        >>> edit = ns.edits.ablate("mlp_out", layer=0)
        >>> found = ns.evaluate.compare(ns.load("organism"), task, edits=edit, progress=False)
        >>> bool((found.edited > found.clean).all())
        True
    """
    flat = read_edits(edits)
    if not flat:
        raise ArgumentError("there is nothing to compare: give edits")
    if "samples" in options:
        raise ArgumentError("compare keeps no samples; evaluate does")
    clean = evaluate(model, tasks, samples=True, **options)
    if clean.left:
        raise KeyboardInterrupt(f"interrupted before {', '.join(clean.left)}, without edits")
    edited = evaluate(model, tasks, edits=flat, samples=True, **options)
    return _beside(clean, edited, tuple(map(repr, flat)))


def _beside(clean: Evaluation, edited: Evaluation, edits: tuple[str, ...]) -> Comparison:
    keys = [_keys(one) for one in (clean, edited)]
    at = [(i, keys[1].index(key)) for i, key in enumerate(keys[0]) if key in keys[1]]
    before, after = (_by_metric(one) for one in (clean, edited))
    if any(clean.n[i] != edited.n[j] for i, j in at):
        raise EvaluationError("the two runs had unlike numbers of examples")
    rows = [i for i, _ in at]
    errors = [_paired(before.get(keys[0][i]), after.get(keys[0][i])) for i in rows]
    return Comparison(
        model=clean.model,
        suite=clean.suite,
        edits=edits,
        task=tuple(clean.task[i] for i in rows),
        label=tuple(clean.label[i] for i in rows),
        metric=tuple(clean.metric[i] for i in rows),
        filter=tuple(clean.filter[i] for i in rows),
        n=clean.n[rows],
        num_fewshot=clean.num_fewshot[rows],
        clean=clean.value[rows],
        edited=edited.value[[j for _, j in at]],
        stderr=np.array(errors, dtype=float),
        shortened=clean.shortened[rows],
        main=clean.main[rows],
        left=edited.left,
    )


Key = tuple[str, str, str]


def _keys(found: Evaluation) -> list[Key]:
    return list(zip(found.task, found.metric, found.filter, strict=True))


def _by_metric(found: Evaluation) -> dict[Key, list[float]]:
    """Values of every metric, example by example, where they are numbers with the mean shown."""
    values: dict[Key, list[Any]] = {}
    for sample in found.samples:
        for metric, value in sample["metrics"].items():
            values.setdefault((sample["task"], metric, sample["filter"]), []).append(value)
    shown = dict(zip(_keys(found), found.value, strict=True))
    numbers = {
        key: some for key, some in values.items() if all(isinstance(x, int | float) for x in some)
    }
    return {
        key: some for key, some in numbers.items()
        if key in shown and np.isclose(np.mean(some), shown[key])
    }  # fmt: skip


def _paired(before: list[float] | None, after: list[float] | None) -> float:
    """Standard error of the mean of the differences."""
    if before is None or after is None or len(before) < 2:
        return float("nan")
    difference = np.subtract(after, before)
    return float(difference.std(ddof=1) / len(difference) ** 0.5)
