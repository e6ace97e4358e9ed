"""SweepResult: one table over sites, layers and heads, with baselines and controls beside it."""

from __future__ import annotations

import contextlib
import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import neoscope
from neoscope.errors import ProbeError
from probes.data.places import Place, Source
from probes.judging.bootstrap import Interval
from probes.judging.controls import Selectivity
from probes.judging.mdl.codelength import Codelength
from probes.judging.metrics import oriented
from probes.keeping.results import from_json, read_json, to_json, write_json
from probes.keeping.saving import load, save
from probes.sweeping.selecting import Selected

if TYPE_CHECKING:
    import pandas as pd


_FORMAT, _FILE = "neoscope.sweep", "result.json"


def folder_of(place: Place) -> str:
    """Return what the folder of a place is called."""
    return str(place).replace(" ", "_")


@dataclass(frozen=True, repr=False)
class Scored:
    """Scores on the test rows, with intervals over groups."""

    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    selected: Selected | None = None
    """None for what has nothing to choose."""
    converged: bool = True

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {value:.3f}" for name, value in self.scores.items())
        return f"Scored({said})"


@dataclass(frozen=True, repr=False)
class PlaceResult:
    """What came of one place."""

    place: Place
    task: Scored
    control: Scored | None = None
    """The same kind of probe on control labels, its strength chosen on them."""
    selectivity: Selectivity | None = None
    codelength: Codelength | None = None
    random_init: Scored | None = None
    """The same place of the model's random twin."""

    def __repr__(self) -> str:
        more = "" if self.selectivity is None else f", selectivity {self.selectivity.value:.3f}"
        return f"PlaceResult({self.place}: {self.task!r}{more})"


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult:
    """A probe for every place: which one was best on validation folds, and how good each is."""

    label: str | None
    """What was predicted."""
    kind: str
    """``binary``, ``multiclass``, ``multilabel`` or ``regression``."""
    metric: str
    """The score by which strengths and the best place were chosen."""
    places: tuple[PlaceResult, ...]
    baselines: Mapping[str, Scored]
    """``majority`` (of a regression the mean), and ``embeddings``: the same probe on the bag of
    token embeddings."""
    n_development: int
    n_test: int
    n_groups: int
    source: Source
    notes: Mapping[str, Any]
    """What a reader must know: why a control is undefined, which baseline is missing and why."""
    probes: Mapping[Place, Any] = field(repr=False)
    """The fitted probes."""
    complete: bool = True
    """False where the sweep was interrupted."""

    @property
    def best_place(self) -> PlaceResult:
        """The place with the best validation score; its test scores had no part in the choice."""
        found = [
            oriented(self.metric, one.task.selected.score)
            for one in self.places
            if one.task.selected is not None
        ]
        if np.isnan(found).all():
            raise ProbeError(f"no place has a {self.metric} on the validation folds")
        return self.places[int(np.nanargmax(found))]

    def best(self) -> Any:
        """Return the fitted probe of the best place, with its card."""
        return self.probe(self.best_place.place)

    def probe(self, place: Place) -> Any:
        """Return the fitted probe of a place, with its card.

        Raises:
            ProbeError: The sweep has no such place.
        """
        if place not in self.probes:
            known = ", ".join(str(one) for one in self.probes)
            raise ProbeError(f"the sweep has no place {place}; it has {known}")
        return self.probes[place]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write all figures and every probe, each in a folder of its own.

        The folder that ``sweep(folder=)`` was given holds the same already.

        Args:
            folder: Made if it is not there. The figures are written last, and whole; those of a
                sweep that stands there are removed first.

        Returns:
            The folder.

        Raises:
            ProbeError: It cannot be written, or a probe is none of this package's.
        """
        at = Path(folder).expanduser()
        # Should the process die, no figures stand beside the probes of others.
        with contextlib.suppress(OSError):
            (at / _FILE).unlink()
        for place, probe in self.probes.items():
            save(probe, at / folder_of(place) / "probe")
        write_figures(self, at)
        return at

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SweepResult:
        """Read what :meth:`save` wrote, or what a sweep with ``folder=`` kept when it ended.

        Args:
            folder: Where it was saved.

        Raises:
            ProbeError: There is no sweep, or it is damaged.
        """
        at = Path(folder).expanduser()
        facts = read_json(at / _FILE, _FORMAT, 1)
        try:
            held = from_json(facts["result"], str(at / _FILE))
            places = [one.place for one in held["places"]]
            return cls(**held, probes={p: load(at / folder_of(p) / "probe") for p in places})
        except (KeyError, TypeError, AttributeError) as error:
            raise ProbeError(f"{at / _FILE} is damaged: {error}") from error

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a place and a baseline.

        Columns: ``kind`` (``place`` or ``baseline``), ``site``, ``layer``, ``head``, ``strength``
        (chosen), ``validation`` (mean score over the folds), every score with ``_low`` and
        ``_high`` of its interval, ``control_...``, ``selectivity`` with its interval (how much
        better the task is than its control, also of losses), ``compression`` and ``codelength``
        (bits), ``random_init_...`` and ``converged``.
        """
        import pandas as pd

        rows = [_place_row(one, self.metric) for one in self.places]
        rows += [
            {"kind": "baseline", "site": name, **_scored_row(scored)}
            for name, scored in self.baselines.items()
        ]
        frame = pd.DataFrame(rows)
        for name in ("layer", "head"):
            frame[name] = frame[name].astype("Int64") if name in frame else None
        return frame

    def __repr__(self) -> str:
        best = self.best_place
        return (
            f"SweepResult({self.label or 'labels'}, {len(self.places)} places, "
            f"{self.n_development:,} rows to train on, {self.n_test:,} to test on: best "
            f"{best.place}, {self.metric} {best.task.scores[self.metric]:.3f} "
            f"{_shown(best.task.intervals.get(self.metric))}"
            f"{'' if self.complete else '; interrupted'})"
        )

    def __str__(self) -> str:
        """Return the columns that matter most, as a table of text."""
        table = self._main_columns().to_string(index=False, float_format="%.4g", na_rep="")
        return f"{self!r}\n{table}"

    def _main_columns(self) -> pd.DataFrame:
        frame = self.to_dataframe()
        names = ["site", "layer", "head", "strength", "validation"]
        for name in (self.metric, "selectivity", f"random_init_{self.metric}", "compression"):
            names += [name, f"{name}_low", f"{name}_high"] if name == self.metric else [name]
        return frame[[name for name in names if name in frame and frame[name].notna().any()]]

    def _repr_html_(self) -> str:
        """Return the columns that matter most, for a notebook; names are escaped."""
        table = self._main_columns().to_html(
            escape=True, index=False, float_format="%.4g", na_rep=""
        )
        return f"<p>{html.escape(repr(self))}</p>{table}"


def write_figures(result: SweepResult, folder: Path) -> None:
    """Write all of a sweep but its probes.

    Args:
        result: The sweep.
        folder: Where its probes are kept.

    Raises:
        ProbeError: It cannot be written.
    """
    held = {one.name: getattr(result, one.name) for one in fields(result) if one.name != "probes"}
    facts = {"format": _FORMAT, "format_version": 1, "neoscope": neoscope.__version__}
    write_json(folder / _FILE, {**facts, "result": to_json(held, "the sweep")})


def _shown(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"


def _scored_row(scored: Scored, prefix: str = "", only: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if scored.selected is not None and not prefix:
        row["strength"] = scored.selected.strength
        row["validation"] = scored.selected.score
    for name, value in scored.scores.items():
        if only is not None and name != only:
            continue
        row[f"{prefix}{name}"] = value
        if name in scored.intervals:
            interval = scored.intervals[name]
            row[f"{prefix}{name}_low"], row[f"{prefix}{name}_high"] = interval.low, interval.high
    if not prefix:
        row["converged"] = scored.converged
    return row


def _place_row(one: PlaceResult, metric: str) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": "place", "site": one.place.site, "layer": one.place.layer}
    row |= {"head": one.place.head, **_scored_row(one.task)}
    if one.control is not None:
        row |= _scored_row(one.control, "control_", metric)
    if one.selectivity is not None:
        row["selectivity"] = one.selectivity.value
        if one.selectivity.interval is not None:
            row["selectivity_low"] = one.selectivity.interval.low
            row["selectivity_high"] = one.selectivity.interval.high
    if one.codelength is not None:
        row["codelength"], row["compression"] = one.codelength.bits, one.codelength.compression
    if one.random_init is not None:
        row |= _scored_row(one.random_init, "random_init_", metric)
    return row
