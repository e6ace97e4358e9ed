"""The draws of a causal trace: noised runs, one after another, each with the same cells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from neoscope.edit import Edit
from neoscope.edits import transform
from neoscope.errors import PatchingError
from neoscope.patching.engine.base import Base
from neoscope.patching.engine.exact import Exact, exact_effects
from neoscope.patching.engine.progress import Progress, Reporting
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sources.source import Source
from neoscope.patching.sources.values import Kept, Recorded, Values, run_kept
from neoscope.patching.sweeps.grid import Grid
from neoscope.patching.sweeps.measured import as_result
from neoscope.patching.tracing.noising import unit_noise
from neoscope.patching.tracing.result import TraceResult

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


@dataclass(frozen=True, eq=False)
class CleanRun(Source):
    """The run of the same tokens without noise."""

    noised: Bool[Tensor, "pairs pos"]
    """Which tokens of all prompts have noise."""
    label: str = "clean run"

    def bind(self, base: Base, prompts: Prompts, rows: slice, direction: str, kept: Kept) -> Values:
        """Run them."""
        cache = run_kept(base.model, prompts.clean, base.mask, kept)
        return Recorded(cache, self.noised[rows, : base.n_columns].to(base.device))


class Tracing:
    """Draws of noise, one after another, each with the same cells."""

    def __init__(
        self,
        model: HookedGPTNeo,
        prompts: Prompts,
        subject: Bool[Tensor, "pairs pos"],
        grid: Grid,
        seed: int,
        settings: dict[str, Any],
    ) -> None:
        """Begin without a draw.

        Args:
            model: The model.
            prompts: Their clean side.
            subject: Which tokens get noise.
            grid: What is restored.
            seed: Of the noise.
            settings: Further fields of the result.
        """
        # The noised run is the corrupted one: of the same tokens.
        self.prompts = replace(
            prompts, corrupted=prompts.clean, corrupted_strings=prompts.clean_strings
        )
        self.model, self.subject, self.grid, self.seed = model, subject, grid, seed
        self.settings = settings
        self.done: list[Exact] = []

    def run(
        self,
        draws: int,
        metric: Any,
        progress: bool | Callable[[Progress], None],
        **options: Any,
    ) -> TraceResult:
        """Measure draw by draw; a keyboard interrupt ends with the draws that are done.

        Args:
            draws: How many.
            metric: What is measured.
            progress: As for ``trace``, like all options.
            options: For ``exact_effects``.
        """
        cells, total = self.grid.cells, len(self.grid.cells) * len(self.prompts) * draws
        with Reporting(progress, total, lambda: self._result(self.done, draws)) as report:
            for draw in range(draws):
                told = _Ticks(report)
                try:
                    exact = exact_effects(
                        self.model,
                        self.prompts,
                        metric,
                        cells,
                        source=CleanRun(self.subject),
                        progress=told,
                        base_edits=lambda rows, draw=draw: self._noise(rows, draw),  # type: ignore[misc]
                        **options,
                    )
                except KeyboardInterrupt:
                    if not self.done:
                        raise
                    warnings.warn(f"interrupted: {draw} of {draws} draws are done", stacklevel=3)
                    break
                if not exact.complete:
                    self.done = self.done or [exact]
                    break
                self.done.append(exact)
                if told.interrupted:
                    break
        return self._result(self.done, draws)

    def _noise(self, rows: slice, draw: int) -> Sequence[Edit]:
        width = self.model.config.d_model
        some = self.prompts.take(rows)
        noise = unit_noise(some, self.subject[rows], width, seed=self.seed, draw=draw)
        noise = noise * (self.settings["noise"] * self.settings["sigma"])

        def noised(x: Tensor) -> Tensor:
            step: Tensor = noise[:, : x.shape[1]].to(x.device, x.dtype)
            return x + step

        return [transform("embed", None, noised)]

    def _result(self, exacts: Sequence[Exact], draws: int) -> TraceResult:
        """Average over draws."""
        if not exacts:
            raise PatchingError("no draw is done yet")
        label = CleanRun.label
        parts = [
            as_result(
                exact, self.model, self.prompts, self.grid,
                direction="denoise", source=label, seed=self.seed,
            )
            for exact in exacts
        ]  # fmt: skip
        first = parts[0]
        own = {f.name: getattr(first, f.name) for f in fields(PatchingResult)}
        noised = np.stack([part.base for part in parts])
        return TraceResult(
            **own
            | {
                "patched": np.mean([part.patched for part in parts], axis=0),
                "corrupted": noised.mean(0),
                "corrupted_strings": (),
                "components": {
                    name: np.mean([part.components[name] for part in parts], axis=0)
                    for name in first.components
                },
                "base_components": {
                    name: {
                        side: np.mean([part.base_components[name][side] for part in parts], axis=0)
                        for side in sides
                    }
                    for name, sides in first.base_components.items()
                },
                "ran": np.any([exact.ran for exact in exacts], axis=0).reshape(self.grid.shape),
                "complete": first.complete and len(parts) == draws,
            },
            drawn=np.stack([part.patched for part in parts]),
            noised=noised,
            **self.settings,
        )


class _Ticks:
    """Tells the progress of one draw to the progress of all."""

    def __init__(self, report: Reporting) -> None:
        self._report, self._seen, self.interrupted = report, 0, False

    def __call__(self, now: Progress) -> None:
        try:
            self._report.update(now.done - self._seen)
        except KeyboardInterrupt:  # which ends this draw alone
            self.interrupted = True
            raise
        finally:
            self._seen = now.done
