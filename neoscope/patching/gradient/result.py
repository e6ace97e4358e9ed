"""AttributionResult: the scores of an attribution, with their statistics and their audit."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from neoscope.errors import PatchingError
from neoscope.patching.engine.progress import Report
from neoscope.patching.gradient.audit import Audit, ExactEffects, audit
from neoscope.patching.gradient.problem import Problem
from neoscope.patching.gradient.sums import Sums
from neoscope.patching.results import statistics
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.table import axis_columns, largest

if TYPE_CHECKING:
    from pandas import DataFrame

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class AttributionResult:
    """Scores of cells: guesses at metric(patched run) - metric(base run), pair by pair."""

    values: Float[Array, "pairs *cells"]
    """Scores, in the metric's unit; NaN where a pair has no such token."""
    clean: Float[Array, "pairs"]
    """The metric in the clean runs."""
    corrupted: Float[Array, "pairs"]
    """The metric in the corrupted runs."""
    components: Mapping[str, Mapping[str, Float[Array, "pairs"]]]
    """Logits behind the baselines: name, then ``"clean"`` or ``"corrupted"``."""
    axes: tuple[Axis, ...]
    ran: Bool[Array, "*cells"]
    """False where a cell cannot move in any pair: its score is exactly zero."""
    site: str
    direction: str
    method: str
    """``"attribution patching"``, ``"integrated gradients (...)"`` or ``"AtP* (...)"``."""
    magnitudes: bool
    """Whether scores are magnitudes, never negative (GradDrop)."""
    metric: str
    unit: str
    model: str
    """The model's name."""
    clean_strings: tuple[tuple[str, ...], ...]
    """Tokens of each clean prompt."""
    corrupted_strings: tuple[tuple[str, ...], ...]
    """Tokens of each corrupted prompt."""
    complete: bool = True
    """False: it was interrupted, and pairs that were not done are NaN."""
    problem: Problem | None = None
    """What was asked; None for a result that was read from a file."""
    sums: Sums | None = None
    """Its cells; None for a result that was read from a file."""

    @property
    def n_pairs(self) -> int:
        """Pairs of prompts."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(self.values.shape[1:])

    @property
    def base_name(self) -> str:
        """Whose run was differentiated: ``"clean"`` or ``"corrupted"``."""
        return "corrupted" if self.direction == "denoise" else "clean"

    # ---- statistics --------------------------------------------------------------------------

    @functools.cached_property
    def mean(self) -> Float[Array, "*cells"]:
        """Mean over pairs, one axis for each swept dimension."""
        return statistics.mean(self.values)

    @functools.cached_property
    def stderr(self) -> Float[Array, "*cells"]:
        """Standard error over pairs; NaN for one pair."""
        return statistics.stderr(self.values)

    @functools.cached_property
    def interval(self) -> Float[Array, "two *cells"]:
        """Bootstrap interval of the mean over pairs, 95 %: lower and upper ends."""
        return statistics.bootstrap(self.values)

    @functools.cached_property
    def p_value(self) -> Float[Array, "*cells"]:
        """Two-sided sign-flip p-values, corrected over cells; NaN for magnitudes.

        They speak of the scores, which are guesses: see :meth:`audit`.
        """
        if self.magnitudes:
            return np.full(self.mean.shape, np.nan)
        return statistics.sign_flip(self.values, tested=self.ran)

    # ---- tables ------------------------------------------------------------------------------

    def to_dataframe(self) -> DataFrame:
        """Return one row a cell: labels, score, its standard error, interval and p, and ``ran``."""
        import pandas as pd

        low, high = self.interval
        numbers = {
            "score": self.mean,
            "stderr": self.stderr,
            "low": low,
            "high": high,
            "p": self.p_value,
            "ran": self.ran,
        }
        flat = {name: x.reshape(-1) for name, x in numbers.items()}
        return pd.DataFrame({**axis_columns(self.axes), **flat})

    def top(self, k: int = 10, by: str = "magnitude") -> DataFrame:
        """Return the table of the ``k`` cells of largest mean score.

        Args:
            k: How many rows at most.
            by: ``"magnitude"``, ``"positive"`` or ``"negative"``.

        Raises:
            PatchingError: ``k`` is no positive number, or ``by`` none of these.
        """
        return self.to_dataframe().iloc[largest(self.mean, k, by)].reset_index(drop=True)

    def label(self, flat: int) -> str:
        """Return what a cell is called, by its flat index."""
        at = np.unravel_index(flat, self.mean.shape)
        named = (f"{a.name} {a.labels[int(i)]}" for a, i in zip(self.axes, at, strict=True))
        return ", ".join(named) or self.site

    # ---- trust -------------------------------------------------------------------------------

    def audit(
        self,
        k: int = 20,
        seed: int = 0,
        *,
        exact: ExactEffects | None = None,
        batch_tokens: int | None = None,
        progress: bool | Report = True,
    ) -> Audit:
        """Compute the exact effects of the k best-ranked cells and of k drawn at random.

        Args:
            k: How many of each.
            seed: Of the draw.
            exact: Computes the exact effects ``[pairs, cells]`` of flat indices; None for exact
                patching of each cell.
            batch_tokens: Of exact patching.
            progress: Of exact patching: True for a bar after two seconds, False for none, or a
                function. A keyboard interrupt leaves out the cells that are not done.

        Raises:
            PatchingError: The result was read from a file, so that there is no model to run, or no
                cell can move.
        """
        return audit(
            self.values,
            exact or functools.partial(self._exact, batch_tokens=batch_tokens, progress=progress),
            self.label,
            k=k,
            seed=seed,
            movable=self.ran,
            magnitudes=self.magnitudes,
            method=f"{self.method} of {self.site}",
            unit=self.unit,
        )

    def _exact(
        self, flat: Sequence[int], batch_tokens: int | None, progress: bool | Report
    ) -> Float[Array, "pairs chosen"]:
        from neoscope.patching.engine.exact import exact_effects

        if self.problem is None or self.sums is None:
            raise PatchingError(
                "a result that was read from a file has no model to audit it with; compute it "
                "anew, or give exact="
            )
        sums, problem = self.sums, self.problem
        found = exact_effects(
            problem.model,
            problem.prompts,
            problem.given,
            [sums.cell(index) for index in flat],
            direction=self.direction,
            metric_positions=problem.metric_positions,
            batch_tokens=batch_tokens,
            progress=progress,
        )
        effects = found.effects
        effects[np.isnan(self.clean)] = np.nan  # pairs that an interrupted attribution left out
        return effects

    # ---- files -------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all but the model as one ``.safetensors`` file, whole or not at all.

        Args:
            path: An older attribution there is replaced; any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        from neoscope.patching.gradient.result_file import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttributionResult:
        """Read what :meth:`save` wrote.

        Args:
            path: A ``.safetensors`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        from neoscope.patching.gradient.result_file import load

        return load(path)

    def __repr__(self) -> str:
        """Return what it is, its baselines and its three largest cells."""
        sizes = ", ".join(f"{len(axis)} {axis.name}" for axis in self.axes)
        asked = f"{self.method} of {self.site}, {self.direction}, {len(self.values)} pair(s)"
        clean, corrupted = np.nanmean(self.clean), np.nanmean(self.corrupted)
        sides = f"clean {clean:.4g}, corrupted {corrupted:.4g}"
        sides += "" if self.complete else " (interrupted: pairs that were not done are NaN)"
        lines = [
            f"AttributionResult: {asked}, {self.metric} in {self.unit or '?'}",
            f"  cells [{sizes}]; {sides}",
        ]
        mean = self.mean.reshape(-1)
        lines += [f"  {self.label(int(i))}: {mean[i]:+.4g}" for i in largest(self.mean, 3)]
        return "\n".join(lines)
