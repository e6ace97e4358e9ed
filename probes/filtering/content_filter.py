"""ContentFilter: a probe on hidden states that withholds texts and says why.

An aid to a person who reads before anything is released, never a guarantee. A probe sees what its
training texts taught it; whoever tries to get past it, or writes about something new, will. The
promise of :meth:`ContentFilter.calibrate` is about texts drawn like those that it was given.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError, nearest
from probes.applying.matching import check_model_of
from probes.applying.predicting import check_width
from probes.applying.text_features import Report, listed_texts, text_features
from probes.filtering import lines
from probes.filtering.calibration import (
    FilterCalibration,
    choose_threshold,
    clopper_pearson,
)
from probes.filtering.screened import Screened
from probes.keeping.saving import digest


class ContentFilter:
    """Withholds texts that a probe finds too likely to be of a class, and ranks the others.

    An aid, not a guarantee. It fails closed: a text that cannot be scored (empty, no string, longer
    than the model reads) is withheld with that reason, and what is withheld is in the audit file
    before anything is returned.

    ::

        content = ContentFilter(probes.load("probe/"), model, reject="toxic")
        content.calibrate(held_out_texts, labels, max_false_negative_rate=0.05)
        content.screen(generated, audit="withheld.jsonl").kept
    """

    def __init__(
        self,
        probe: Any,
        model: Any,
        *,
        reject: Any,
        threshold: float | FilterCalibration | None = None,
        any_source: bool = False,
    ) -> None:
        """Look the rejected class up.

        Args:
            probe: A fitted probe of classes, with a card.
            model: The model that it was trained on; the texts need not be its own.
            reject: The class to withhold; of several labels the number of one.
            threshold: Probability from which texts are withheld, or an earlier calibration of the
                same probe; None until :meth:`calibrate` chose one.
            any_source: Take another model than the probe was trained on.

        Raises:
            ProbeError: The probe has no such class, was trained on another model, or the
                calibration is another probe's.
        """
        self.probe, self.model = probe, model
        self.any_source = any_source
        self._column = _column(probe, reject)
        self.reject = str(reject)
        self._digest, self._fingerprint = digest(probe), str(model.fingerprint())
        # Edits that are in force now may be taken off before anything is read.
        check_model_of(probe, model, any_source=any_source)
        self._checked: dict[Path, tuple[int, int]] = {}
        self.calibration: FilterCalibration | None = None
        self.threshold: float | None = None
        if isinstance(threshold, FilterCalibration):
            self._check_own(threshold)
            self.calibration, self.threshold = threshold, threshold.threshold
        elif threshold is not None:
            if not 0 <= threshold <= 1:
                raise ProbeError(f"threshold={threshold!r} is no probability from 0 to 1")
            self.threshold = float(threshold)

    def calibrate(
        self,
        texts: Any,
        labels: Any,
        *,
        max_false_negative_rate: float = 0.05,
        confidence: float = 0.95,
        progress: bool | Report = True,
    ) -> FilterCalibration:
        """Choose the threshold for a wanted false-negative rate, and use it from now on.

        Distribution-free: whatever the scores look like, with the stated confidence at most the
        wanted share of texts of the rejected class will pass, if texts to come are drawn as these
        were. Equal texts count once; texts of one author or prompt still count as if independent.

        Args:
            texts: Held out: the probe must not have been trained on them.
            labels: One label a text, the rejected class among them; of several labels a matrix.
            max_false_negative_rate: Share of texts of the class that may pass, at most.
            confidence: Probability that the promise holds.
            progress: True for a bar after two seconds, False for none, or a function.

        Raises:
            ProbeError: Too few texts of the class to promise that (says how many it takes), or
                texts and labels of different numbers.
        """
        given = listed_texts(texts)
        truth = self._truth(labels, len(given))
        once: dict[tuple[str, bool], int] = {}
        for i, key in enumerate(zip(map(_key, given), truth.tolist(), strict=True)):
            once.setdefault(key, i)
        rows = list(once.values())
        texts_once, truth = [given[i] for i in rows], truth[rows]
        scores, reasons = self._score(texts_once, progress)
        usable = np.array([i not in reasons for i in range(len(texts_once))], bool)
        positive, negative = scores[usable & truth], scores[usable & ~truth]
        threshold = choose_threshold(positive, max_false_negative_rate, confidence)
        missed, stopped = int((positive < threshold).sum()), int((negative >= threshold).sum())
        n, m = len(positive), len(negative)
        self.calibration = FilterCalibration(
            threshold=threshold,
            reject=self.reject,
            max_false_negative_rate=float(max_false_negative_rate),
            confidence=float(confidence),
            n_positive=n,
            n_negative=m,
            n_unscored=len(reasons),
            false_negatives=missed,
            fnr=missed / n,
            fnr_interval=clopper_pearson(missed, n, confidence),
            fpr=stopped / m if m else math.nan,
            fpr_interval=clopper_pearson(stopped, m, confidence) if m else (0.0, 1.0),
            probe=self._digest,
            model=self._fingerprint,
        )
        self.threshold = threshold
        return self.calibration

    def screen(
        self,
        texts: Any,
        *,
        audit: str | os.PathLike[str] | None = None,
        progress: bool | Report = True,
    ) -> Screened:
        """Withhold what scores too high or cannot be scored.

        Args:
            texts: One or several.
            audit: A .jsonl file that a line is added to for every text that is withheld; on disk
                before anything is returned.
            progress: True for a bar after two seconds, False for none, or a function.

        Raises:
            ProbeError: There is no threshold yet, or the audit cannot be written or is a file of
                something else.
        """
        if self.threshold is None:
            raise ProbeError(
                "this filter has no threshold: call calibrate on held-out labelled texts, or give "
                "threshold="
            )
        path = None if audit is None else Path(audit).expanduser()
        if path is not None:
            lines.check_appendable(path)
            lines.check_audit(path, self._checked)
        given = listed_texts(texts)
        scores, reasons = self._score(given, progress)
        for i in np.flatnonzero(scores >= self.threshold).tolist():
            reasons.setdefault(
                i,
                f"{self.reject} with probability {scores[i]:.4g}; withheld from "
                f"{self.threshold:.4g} on",
            )
        done = Screened(
            texts=tuple(given),
            scores=scores,
            reasons=reasons,
            threshold=self.threshold,
            reject=self.reject,
            probe=self._digest,
            model=self._fingerprint,
        )
        if path is not None:
            lines.append(path, done.audit_records())
        return done

    def rerank(self, texts: Any, *, progress: bool | Report = True) -> list[str]:
        """Return texts, the least like the rejected class first.

        Texts that cannot be scored are left out; nothing else is.

        Args:
            texts: Several, such as samples for one prompt.
            progress: True for a bar after two seconds, False for none, or a function.
        """
        given = listed_texts(texts)
        scores, reasons = self._score(given, progress)
        order = np.argsort(scores, kind="stable").tolist()
        return [given[i] for i in order if i not in reasons]

    def __repr__(self) -> str:
        """Return one line: what is withheld, and from where on."""
        at = "no threshold yet" if self.threshold is None else f"from {self.threshold:.4g}"
        return f"ContentFilter({type(self.probe).__name__}, reject={self.reject!r}, {at})"

    def _score(
        self, texts: list[Any], progress: bool | Report
    ) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Return [texts] probabilities of the class, and why some texts have none."""
        if not texts:
            return np.zeros(0), {}
        read = text_features(
            self.probe,
            self.model,
            texts,
            any_source=self.any_source,
            on_error="null",
            progress=progress,
            warn_of_cut=False,
        )
        check_width(self.probe, read.values)
        reasons = {i: f"cannot be scored: {why}" for i, why in read.problems.items()}
        for i, n in read.cut.items():
            reasons.setdefault(
                i, f"cannot be scored: longer than the model reads, {n} tokens would be unseen"
            )
        scores = np.full(len(texts), np.nan)
        finite = np.isfinite(read.values).all(1)
        usable = finite & np.array([i not in reasons for i in range(len(texts))], bool)
        if usable.any():
            proba = np.asarray(self.probe.predict_proba(read.values[usable]))
            scores[usable] = proba[:, self._column]
        for i in np.flatnonzero(~np.isfinite(scores)).tolist():
            reasons.setdefault(i, "cannot be scored: the model's states are not finite")
        return scores, reasons

    def _truth(self, labels: Any, n: int) -> NDArray[np.bool_]:
        values = np.asarray(labels.tolist() if hasattr(labels, "tolist") else list(labels))
        if len(values) != n:
            raise ProbeError(f"there are {len(values)} labels for {n} texts")
        if values.ndim == 2:
            return values[:, self._column] > 0
        classes = np.asarray(self.probe.classes_)
        unknown = sorted({str(x) for x in values.tolist()} - {str(x) for x in classes.tolist()})
        if unknown:
            known = [str(name) for name in classes.tolist()]
            raise ProbeError(
                f"label {unknown[0]!r} is none of the probe's{nearest(unknown[0], known)}; it has "
                f"{', '.join(known)}"
            )
        return np.array([str(x) == self.reject for x in values.tolist()], bool)

    def _check_own(self, calibration: FilterCalibration) -> None:
        for name, ours in (
            ("probe", self._digest),
            ("model", self._fingerprint),
            ("reject", self.reject),
        ):
            theirs = getattr(calibration, name)
            if theirs != ours and not (self.any_source and name == "model"):
                raise ProbeError(
                    f"this calibration is of another {name} ({theirs[:12]}, not {ours[:12]}): "
                    "calibrate anew"
                )


def _column(probe: Any, reject: Any) -> int:
    """Return the column of ``predict_proba`` that the rejected class is."""
    classes = getattr(probe, "classes_", None)
    if classes is None or not hasattr(probe, "predict_proba"):
        raise ProbeError(f"a filter needs a fitted probe of classes; found {type(probe).__name__}")
    names = [str(name) for name in np.asarray(classes).tolist()]
    if str(reject) not in names:
        raise ProbeError(
            f"the probe has no class {reject!r}{nearest(str(reject), names)}; it has "
            f"{', '.join(names)}"
        )
    return names.index(str(reject))


def _key(text: Any) -> str:
    return text if isinstance(text, str) else repr(text)
