"""Evaluation: what each task measured, beside what was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from neoscope.errors import AnalysisError
from neoscope.evaluate.kept import Kept

if TYPE_CHECKING:
    import pandas as pd

# Tasks whose cut contexts the heading counts.
_NAMED = 3


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Kept):
    """Scores of a model on tasks of lm-evaluation-harness; accuracies are shares of 1."""

    model: str
    suite: str | None
    task: tuple[str, ...]
    label: tuple[str, ...]
    """What the suite's table calls it; else the task's name."""
    metric: tuple[str, ...]
    filter: tuple[str, ...]
    """Which reading of a generated answer the metric is of; ``"none"`` where there is but one."""
    value: Float[np.ndarray, " row"]
    stderr: Float[np.ndarray, " row"]
    """Standard error over the examples; NaN where the metric has none."""
    n: Int[np.ndarray, " row"]
    """Examples."""
    num_fewshot: Int[np.ndarray, " row"]
    """Solved examples before each."""
    higher_is_better: Bool[np.ndarray, " row"]
    shortened: Int[np.ndarray, " row"]
    """Examples whose context was longer than the model's and lost its beginning, shots first."""
    published: Float[np.ndarray, " row"]
    """The suite's published figure for this model, NaN where there is none."""
    main: Bool[np.ndarray, " row"]
    """Whether the row is one of the suite's own; without a suite all are."""
    published_as: str | None
    """The model whose figures stand beside."""
    source: str | None
    """Where they were published."""
    edits: tuple[str, ...]
    """Edits in force while the tasks ran."""
    limit: float | None
    """Examples of each task that were run (a share below 1); None for all."""
    seed: int
    left: tuple[str, ...]
    """Tasks that an interruption left out."""
    samples: tuple[dict[str, Any], ...] = ()
    """With ``samples=True`` what was asked and answered, example by example; see
    :func:`~neoscope.evaluate.samples.samples_of`."""

    def heading(self) -> str:
        """Return whose scores these are, and under what conditions."""
        parts = [f"evaluation of {self.model}"]
        if self.suite is not None:
            parts.append(f"suite {self.suite}")
        if self.limit is not None:
            few = f"the first {100 * self.limit:.3g}%"
            each = few if self.limit < 1 else f"at most the first {self.limit:.0f}"
            parts.append(f"{each} of each task's examples")
        if self.edits:
            parts.append(f"with {', '.join(self.edits)}")
        if self.left:
            parts.append(f"interrupted before {', '.join(self.left)}")
        cut = {
            task: (int(k), int(n))
            for task, k, n in zip(self.task, self.shortened, self.n, strict=True)
            if k and task != "average"
        }
        parts += [
            f"{k} of {n} contexts of {task} were too long and lost their beginning"
            for task, (k, n) in list(cut.items())[:_NAMED]
        ]
        if len(cut) > _NAMED:
            parts.append(f"and so in {len(cut) - _NAMED} more tasks")
        return "; ".join(parts)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each task and metric.

        Columns: ``task``, ``label``, ``metric``, ``filter``, ``num_fewshot``, ``n``, ``value``,
        ``stderr``, ``higher_is_better``, ``shortened``, ``published``, ``difference`` (value less
        published) and ``main``.
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
                "value": self.value,
                "stderr": self.stderr,
                "higher_is_better": self.higher_is_better,
                "shortened": self.shortened,
                "published": self.published,
                "difference": self.value - self.published,
                "main": self.main,
            }
        )

    def summary(self) -> pd.DataFrame:
        """Return the suite's own rows, or all, with what was published where it was."""
        table = self.to_dataframe()
        table = table[table["main"]]
        columns = ["label", "metric", "num_fewshot", "n", "value", "stderr"]
        if (table["shortened"] > 0).any():
            columns.insert(4, "shortened")
        if table["published"].notna().any():
            columns += ["published", "difference"]
        return table[columns].rename(columns={"label": "task", "num_fewshot": "shots"})

    def __getitem__(self, key: str | tuple[str, str]) -> float:
        """Return a task's value: of its first metric, or of ``evaluation[task, metric]``.

        Raises:
            AnalysisError: There is no such row.
        """
        task, metric = (key, None) if isinstance(key, str) else key
        rows = zip(self.task, self.metric, self.value, strict=True)
        for name, measured, value in rows:
            if name == task and metric in (None, measured):
                return float(value)
        have = ", ".join(dict.fromkeys(self.task))
        raise AnalysisError(f"no row {key!r}; tasks: {have or 'none'}")
