"""Sweep: the work of one sweep, place by place."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

import neoscope
from probes.data.dataset import ProbeData
from probes.data.places import Place
from probes.data.twins import has_twin
from probes.judging.baselines import majority
from probes.judging.controls import ControlTask, control_task, selectivity, unseen_types
from probes.judging.metrics import oriented
from probes.keeping.card import ProbeCard
from probes.progress import Bar
from probes.sweeping.coding import code_of
from probes.sweeping.judged import Asked, Judged, Parts, judge
from probes.sweeping.kept import Kept, check_keepable, digest_of, plan_of
from probes.sweeping.parting import untested_classes
from probes.sweeping.result import PlaceResult, Scored, SweepResult, write_figures

_EMBEDDINGS = Place("baseline embeddings")


class Sweep:
    """What all places share while a sweep runs."""

    def __init__(
        self,
        data: ProbeData,
        probe: Any,
        parts: Parts,
        asked: Asked,
        controls: bool,
        mdl: bool,
        baselines: bool,
        folder: Any,
        progress: bool,
    ) -> None:
        """Prepare the control task and the folder.

        Args:
            data: What is probed.
            probe: What is trained; not changed.
            parts: Which rows are for what.
            asked: How each place is judged.
            controls: Whether there is a control task.
            mdl: Whether labels are coded.
            baselines: Whether there are baselines.
            folder: Where finished places are kept; None for nowhere.
            progress: Whether a bar is shown after two seconds.

        Raises:
            ProbeError: The folder holds something else, or the probe cannot be kept.
        """
        self.data, self.probe, self.parts, self.asked = data, probe, parts, asked
        self.baselines, self.progress = baselines, progress
        self.mdl = mdl and data.kind != "regression"
        self.notes: dict[str, Any] = dict(data.notes)
        if mdl and not self.mdl:
            self.notes["mdl"] = "numbers have no codelength: it is of classes"
        if untested := untested_classes(data, parts):
            self.notes["untested"] = untested
        self.control = self._control() if controls else None
        self.kept = None
        if folder is not None:
            check_keepable(probe)
            said = {
                "metric": asked.metric,
                "strengths": list(asked.strengths),
                "controls": controls,
                "mdl": self.mdl,
                "baselines": baselines,
                "n_bootstrap": asked.n_bootstrap,
                "confidence": asked.confidence,
                "seed": asked.seed,
                "rows": parts.digest(),
            }
            self.kept = Kept(folder, plan_of(data, probe, said))

    def run(self) -> SweepResult:
        """Judge every place; return those that are done if interrupted."""
        found: list[PlaceResult] = []
        fitted: dict[Place, Any] = {}
        compared: dict[str, Scored] = {}
        complete = True
        try:
            with Bar(self.progress, len(self.data.places), "place") as bar:
                compared = self._compared() if self.baselines else {}
                for place in self.data.places:
                    one, probe = bar.after(self._place(place))
                    found.append(one)
                    fitted[place] = probe
        except KeyboardInterrupt:
            if not found:
                raise
            complete = False
            warnings.warn(
                f"interrupted: {len(found)} of {len(self.data.places)} places are done",
                stacklevel=3,
            )
        result = SweepResult(
            self.data.label,
            self.data.kind,
            self.asked.metric,
            tuple(found),
            compared,
            len(self.parts.development),
            len(self.parts.test),
            self.data.n_groups,
            self.data.source,
            self.notes,
            fitted,
            complete,
        )
        if self.kept is not None:
            write_figures(result, self.kept.folder)
        return result

    def _place(self, place: Place) -> tuple[PlaceResult, Any]:
        return self._once(place, self.data.matrix(place), self._judged)

    def _once(
        self, place: Place, X: Any, judged: Callable[[Place, Any], tuple[PlaceResult, Any]]
    ) -> tuple[PlaceResult, Any]:
        """Return what is kept of a place; judge and keep it where nothing is."""
        if self.kept is None:
            return judged(place, X)
        features = digest_of(X)
        found = self.kept.read(place, features)
        if found is None:
            found = judged(place, X)
            self.kept.write(*found, features)
        return found

    def _judged(self, place: Place, X: Any) -> tuple[PlaceResult, Any]:
        data = self.data
        task = self._judge(X, data.y, kept=True)
        control, chosen = self._controlled(X, task)
        code = code_of(task, X, data, self.asked) if self.mdl else None
        random = None
        if self._twin is not None:
            random = _scored(self._judge(self._twin.matrix(place), data.y))
        one = PlaceResult(place, _scored(task), control, chosen, code, random)
        task.probe.card_ = self._card(one)
        return one, task.probe

    def _judge(self, X: Any, y: Any, *, kept: bool = False) -> Judged:
        asked = dataclasses.replace(self.asked, kept=kept)
        return judge(self.probe, X, y, self.data.groups, self.parts, asked)

    def _controlled(self, X: Any, task: Judged) -> tuple[Scored | None, Any]:
        if self.control is None:
            return None, None
        metric = self.asked.metric
        types = self.data.types
        assert types is not None
        if self.control.undefined is not None:
            nothing = float("nan")
            own = oriented(metric, task.scores[metric])
            return None, selectivity(own, nothing, undefined=self.control.undefined)
        control = self._judge(X, self.control.labels)
        return _scored(control), selectivity(
            oriented(metric, task.scores[metric]),
            oriented(metric, control.scores[metric]),
            drawn=(oriented(metric, task.drawn[metric]), oriented(metric, control.drawn[metric])),
            n_groups=task.intervals[metric].n_groups,
            confidence=self.asked.confidence,
            unseen=unseen_types(types[self.parts.development], types[self.parts.test]),
        )

    def _control(self) -> ControlTask | None:
        if self.data.types is None:
            self.notes["control"] = (
                "no control task: rows have no types; give types=, such as each row's word"
            )
            return None
        control = control_task(self.data.types, self.data.y, self.asked.seed)
        self.notes["control"] = f"one label for each {self.data.type_name}"
        if control.undefined is not None:
            self.notes["control"] = f"undefined: {control.undefined}"
        elif (missing := self._missing_classes(control.labels)) is not None:
            control = ControlTask(control.labels, control.n_types, missing)
            self.notes["control"] = f"undefined: {missing}"
        return control

    def _missing_classes(self, labels: Any) -> str | None:
        """Why the control labels cannot be trained on; None if they can."""
        if self.data.kind in ("regression", "multilabel"):
            return None
        inside = labels[self.parts.development]
        for train, _ in self.parts.folds:
            if len(set(inside[train].tolist())) < 2:
                return "a fold's control labels are all the same: there are too few types"
        return None

    @cached_property
    def _twin(self) -> ProbeData | None:
        """The random twin's data, read when a place first asks for them."""
        if not self.baselines:
            return None
        twin = self.data.baseline("random-init", seed=self.asked.seed)
        return twin if isinstance(twin, ProbeData) else None

    def _compared(self) -> dict[str, Scored]:
        found = {"majority": self._majority()}
        if not has_twin(self.data):
            self.notes["random-init"] = (
                "no random twin: the data do not know the model; read them with it, or give a "
                "store's data random_twin=, to compare"
            )
        embeddings = self.data.baseline("embeddings")
        if embeddings is None or isinstance(embeddings, ProbeData):
            self.notes["embeddings"] = "no bag of embeddings: the data hold none"
        else:
            found["embeddings"] = self._once(_EMBEDDINGS, embeddings, self._alone)[0].task
        return found

    def _alone(self, place: Place, X: Any) -> tuple[PlaceResult, Any]:
        judged = self._judge(X, self.data.y)
        return PlaceResult(place, _scored(judged)), judged.probe

    def _majority(self) -> Scored:
        found = majority(
            self.data.y[self.parts.development],
            self.data.y[self.parts.test],
            self.data.groups[self.parts.test],
            kind=self.data.kind,
            n_bootstrap=self.asked.n_bootstrap,
            seed=self.asked.seed,
            confidence=self.asked.confidence,
        )
        return Scored(found.scores, found.intervals)

    def _card(self, one: PlaceResult) -> ProbeCard:
        metrics: dict[str, Any] = {
            name: {
                "value": value,
                "low": one.task.intervals[name].low,
                "high": one.task.intervals[name].high,
            }
            for name, value in one.task.scores.items()
        }
        if one.selectivity is not None:
            metrics["selectivity"] = one.selectivity.value
        if one.codelength is not None:
            metrics["compression"] = one.codelength.compression
        return ProbeCard(
            one.place,
            self.data.source,
            self.data.label,
            len(self.parts.development),
            self.data.n_groups,
            metrics,
            neoscope.__version__,
        )


def _scored(judged: Judged) -> Scored:
    return Scored(judged.scores, judged.intervals, judged.selected, judged.converged)
