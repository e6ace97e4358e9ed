"""Cells: what a figure shows of a patching result, read once and cut to what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from neoscope.errors import ViewError, nearest
from neoscope.indices import whole
from neoscope.patching.gradient.result import AttributionResult
from neoscope.patching.results import statistics
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.results.span import check_span
from neoscope.patching.tracing.result import TraceResult
from neoscope.views.figures.patching.detail import Detail
from neoscope.views.figures.patching.names import Names, names_of
from neoscope.views.labels import cut, escaped, model_name

SHARE = "of the gap"
"""Unit of normalised effects; the subtitle says between what."""
STILL = "cannot move: exactly 0, not run"
_DIRECTIONS = {
    "denoise": "clean values put into the corrupted run",
    "noise": "corrupted values put into the clean run",
}


@dataclass(frozen=True)
class Cells:
    """Effects with all that is said of them, ``[*axes]``."""

    axes: tuple[Names, ...]
    effect: Any
    """In ``unit``; NaN: not measured."""
    ran: Any
    """False: nothing can move there."""
    p: Any
    """NaN where there are none."""
    details: tuple[Detail, ...]
    unit: str
    """Escaped."""
    what: str
    """The figure's title, not escaped, like what follows."""
    said: tuple[str, ...]
    """Parts of its subtitle."""
    n_pairs: int
    n_tested: int
    """Over how many cells p-values are corrected."""
    magnitudes: bool = False
    complete: bool = True
    still: str = STILL
    """What cells are called that cannot move."""
    missing: str = "not measured"
    """Why a cell may hold no number."""
    differs: str = "clean and corrupted tokens differ"
    """What a marked position is."""

    @property
    def names(self) -> list[str]:
        """Names of the axes."""
        return [one.axis.name for one in self.axes]

    @property
    def scale(self) -> str:
        """Which scale of colours its values want."""
        return "amount" if self.magnitudes else "signed"

    def place(self, name: str, argument: str) -> int:
        """Return the place of an axis.

        Args:
            name: As the result calls it.
            argument: Named in the error.

        Raises:
            ViewError: There is no such axis.
        """
        if name not in self.names:
            raise ViewError(
                f"{argument}: there is no axis {name!r}{nearest(str(name), self.names)}; the axes "
                f"are {self.names}"
            )
        return self.names.index(name)

    def select(self, where: Mapping[str, Any] | None) -> Cells:
        """Return a part; p-values stay what they are over all cells.

        Args:
            where: For each named axis a label or index (the axis goes), a list of them or a slice
                (it stays).

        Raises:
            ViewError: There is no such axis.
            PatchingError: There is no such label.
        """
        found = self
        for name, wanted in (where or {}).items():
            at = found.place(name, "select")
            axis = found.axes[at].axis
            if isinstance(wanted, slice):
                picked: Any = list(range(len(axis))[wanted])
            elif isinstance(wanted, str) or whole(wanted) is not None:
                picked = axis.index(wanted)
            else:
                picked = [axis.index(one) for one in wanted]
            found = found._taken(at, picked)
        return found

    def at(self, place: int, index: int) -> Cells:
        """Return one slice of an axis.

        Args:
            place: Of the axis.
            index: Along it.
        """
        return self._cut(place, index)

    def ordered(self, order: Sequence[int]) -> Cells:
        """Return the same with its axes in another order.

        Args:
            order: Old places of the axes.
        """
        moved = self._each(lambda x: np.transpose(x, order))
        return replace(moved, axes=tuple(self.axes[i] for i in order))

    def _taken(self, place: int, picked: Any) -> Cells:
        found = self._cut(place, picked)
        if isinstance(picked, list):
            return found
        one = self.axes[place]
        return replace(found, said=(*found.said, f"{one.title} {one.axis.labels[picked]}"))

    def _cut(self, place: int, picked: Any) -> Cells:
        found = self._each(lambda x: np.take(x, picked, axis=place))
        kept = [self.axes[place].take(picked)] if isinstance(picked, list) else []
        return replace(found, axes=(*self.axes[:place], *kept, *self.axes[place + 1 :]))

    def _each(self, change: Any) -> Cells:
        details = tuple(one.each(change) for one in self.details)
        return replace(self, effect=change(self.effect), ran=change(self.ran), p=change(self.p),
                       details=details)  # fmt: skip


def read_cells(result: Any, *, normalised: bool = False) -> Cells:
    """Return what there is to show of a result.

    Args:
        result: Of a sweep, an ablation, a trace, path patching or attribution patching.
        normalised: Effects as shares of the mean clean minus the mean corrupted baseline.

    Raises:
        ViewError: It is something else.
        PatchingError: The baselines hardly differ, or there is only one, and ``normalised``.
    """
    if not isinstance(result, PatchingResult | AttributionResult):
        raise ViewError(
            f"a patching result was expected (of patching.sweep, ablate, trace, path_patch or "
            f"attribution), not {type(result).__name__}{_hint(result)}"
        )
    effect, unit = np.asarray(result.mean), safe(result.unit) or "of the metric"
    interval: Callable[[], Any] = lambda: result.interval  # noqa: E731  # made when asked for
    if normalised:
        effect, ends = _normalised(result)
        interval, unit = (lambda: ends), SHARE
    n = len(result.values)
    details = []
    if n > 1:
        details.append(Detail("95 % interval {:.3g} to {:.3g}", lambda: tuple(interval())))
    p = np.asarray(result.p_value, float)
    tested = int(np.asarray(result.ran).sum())
    if n > 1 and np.isfinite(p).any():
        details.append(Detail(f"p {{:.2g}}, corrected over {tested:,} cells", lambda: (p,)))
    details += _more(result)
    strings = result.clean_strings, result.corrupted_strings
    assert result.ran is not None
    return Cells(
        axes=tuple(names_of(axis, *strings) for axis in result.axes),
        effect=effect,
        ran=np.asarray(result.ran),
        p=p,
        details=tuple(details),
        unit=unit,
        what=_what(result),
        said=(*_said(result), *(["1 is the whole gap from corrupted to clean"] * normalised)),
        n_pairs=n,
        n_tested=tested,
        magnitudes=getattr(result, "magnitudes", False),
        complete=getattr(result, "complete", True),
        missing=(
            "no prompt has such a token"
            if any(axis.name == "role" for axis in result.axes)
            else "not measured"
        ),
        differs="noised tokens" if isinstance(result, TraceResult) else Cells.differs,
    )


def _hint(result: Any) -> str:
    views = {
        "Every": "patching_all", "EdgeScores": "paths or views.circuit", "Circuit": "circuit",
        "DasResult": "das", "Audit": "audit", "Faithfulness": "faithfulness",
    }  # fmt: skip
    found = views.get(type(result).__name__)
    return f"; views.{found} draws it" if found else ""


def _normalised(result: Any) -> tuple[Any, Any]:
    if isinstance(result, PatchingResult):
        ratio = result.normalised()
        return ratio.value, ratio.interval
    span = check_span(result.clean, result.corrupted, result.unit)
    gap = np.asarray(result.clean, np.float64) - np.asarray(result.corrupted, np.float64)
    return result.mean / span, statistics.bootstrap(result.values, over=gap)


def _as_shown(number: float) -> str:
    """Return a number in three digits as plotly writes them on hover: ``7.10``, not ``7.1``."""
    return f"{number:#.3g}".rstrip(".")


def _more(result: Any) -> list[Detail]:
    """Both logits of the patched runs, and draws of noise."""
    if not isinstance(result, PatchingResult):
        return [Detail("a guess from gradients, not a run")]
    out = []
    for name, patched in result.components.items():
        base = result.base_components.get(name, {}).get(result.base_name)
        before = "" if base is None else f"; unpatched {_as_shown(float(np.mean(base)))}"
        mean = statistics.mean(patched)
        out.append(Detail(f"logit {safe(name)} {{:.3g}}{before}", partial(_alone, mean)))
    if isinstance(result, TraceResult) and result.draws > 1:
        drawn = np.stack([statistics.mean(x) for x in result.effects_by_draw])
        with np.errstate(invalid="ignore"):
            ends = drawn.min(0), drawn.max(0)
        out.append(Detail(f"{result.draws} draws of noise {{:.3g}} to {{:.3g}}", lambda: ends))
    return out


def _alone(array: Any) -> tuple[Any, ...]:
    return (array,)


def safe(text: str) -> str:
    """Return a text that may stand in a hover template.

    Args:
        text: Anything.
    """
    return escaped(cut(text, 48)).replace("%{", "%&#123;").replace("{", "&#123;")


def _what(result: Any) -> str:
    metric, site = result.metric, result.site
    if isinstance(result, AttributionResult):
        return f"Attribution patching of {site}: estimated effect on {metric}"
    if isinstance(result, TraceResult):
        return f"Causal tracing: what restoring {site} does to {metric}"
    if result.direction == "ablate":
        return f"Ablating {site}: effect on {metric}"
    named = {"stream": "the residual stream", "heads": "heads", "paths": "paths"}
    return f"Patching {named.get(site, site)}: effect on {metric}"


def _said(result: Any) -> tuple[str, ...]:
    n = len(result.values)
    parts = [model_name(result.model)]
    if isinstance(result, TraceResult):
        window = f", {result.window} layers at once" if result.window else ""
        parts.append(f"noise {result.noise:g} σ on the subject{window}")
        parts.append(f"{n} prompt{'s' * (n > 1)}, {result.draws} draw{'s' * (result.draws > 1)}")
    else:
        source, how = getattr(result, "source", ""), _DIRECTIONS.get(result.direction, "")
        if result.direction == "ablate":
            how = f"replaced by: {source}"
        elif "MLPs" in source:
            how += f" ({source})"
        elif source not in ("", "other prompt"):
            how = f"{source} put into the {result.base_name} run"
        parts += [result.method] if isinstance(result, AttributionResult) else []
        kind = "text" if result.direction == "ablate" else "pair"
        parts += [how or result.direction, f"{n} {kind}{'s' * (n > 1)}"]
    sides = {"clean": result.clean, "corrupted": result.corrupted}
    if isinstance(result, TraceResult):
        sides = {"clean": result.clean, "noised": result.corrupted}
    means = ", ".join(f"{k} {np.mean(x):.3g}" for k, x in sides.items() if x is not None)
    return (*parts, f"{means} {result.unit}".rstrip())
