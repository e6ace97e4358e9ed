"""What a probe reads: its place, its directions, and how far they are worth steering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ProbeError
from probes.applying.matching import check_model_of
from probes.data.places import Place
from probes.erasure.eraser import Eraser
from probes.erasure.leace import fit_leace, read_rows
from probes.erasure.mean_projection import fit_mean_projection, project_out

Array = NDArray[Any]
ERASERS = ("projection", "leace", "mean")
_UNSEEN = 1e11
"""A bias beyond this says that a class was never seen: it has no direction."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The directions along which a linear probe reads, and what it adds."""

    directions: Array
    """[directions, features], unnormalised; of several exclusive classes about their mean, since
    only differences of logits count."""
    offsets: Array
    """[directions]."""
    names: tuple[str, ...]
    """What each direction points to."""
    basis: Array
    """Orthonormal, of their span, [features, rank]."""
    classes: bool
    """Whether it reads classes, not quantities."""

    def logits(self, vectors: Array) -> Array:
        """Return what the probe says of rows of features, [rows, directions]."""
        return np.asarray(vectors @ self.directions.T + self.offsets)

    def typical(self, vectors: Array, centre: Array) -> Array:
        """Return how far each direction's logit has to move to mirror a typical row.

        Twice the mean absolute logit; of quantities, twice the mean deviation of the prediction.

        Args:
            vectors: [rows, features].
            centre: [features], from which predictions of quantities deviate.
        """
        middle = 0.0 if self.classes else self.logits(centre)
        return np.asarray(2 * np.abs(self.logits(vectors) - middle).mean(0))

    def boundary(self, point: Array) -> Array:
        """Return the point nearest to another at which all logits are 0, [features].

        Of several exclusive classes: at which they are equal.
        """
        apart = np.linalg.lstsq(self.directions, self.logits(point), rcond=None)[0]
        return np.asarray(point - apart)

    def step(self, direction: int, shift: float) -> Array:
        """Return the shortest vector that moves a direction's logit by ``shift``, [features]."""
        w = self.directions[direction]
        return np.asarray(shift * w / (w @ w))


def read_probe(probe: Any) -> Reading:
    """Read a linear probe's directions.

    Raises:
        ProbeError: The probe has none.
    """
    if not hasattr(probe, "directions"):
        raise ProbeError(
            f"{type(probe).__name__} has no directions(): use a linear probe, such as MassMeanProbe"
        )
    rows = np.atleast_2d(np.asarray(probe.directions(), np.float64))
    offsets = np.broadcast_to(
        np.asarray(getattr(probe, "intercept_", 0.0), np.float64), rows.shape[:1]
    )
    seen = np.abs(offsets) < _UNSEEN
    exclusive = getattr(probe, "target_kind_", None) == "multiclass"
    if exclusive:
        rows, offsets = rows - rows[seen].mean(0), offsets - offsets[seen].mean()
    used = seen & rows.any(1)
    eraser = project_out(rows[used])
    classes = getattr(probe, "classes_", None)
    labels = list(range(len(rows))) if classes is None else list(classes)[-len(rows) :]
    names = tuple(str(label) for label, one in zip(labels, used, strict=True) if one)
    return Reading(rows[used], offsets[used], names, eraser.left, classes is not None)


def rows_of(data: Any, place: Place, n_features: int) -> tuple[Array, Any]:
    """Return the features and labels of (X, y) or a ProbeData.

    Raises:
        ProbeError: They are of another length than the probe's features.
    """
    X, y = data if isinstance(data, tuple) else (data.matrix(place), data.y)
    return read_rows(X, n_features), y


def eraser_of(reading: Reading, how: Any, centre: Array, rows: tuple[Array, Any] | None) -> Eraser:
    """Return what erases what a probe reads.

    A projection moves states along the probe's directions alone: those of a classifier onto its
    boundary, where it is undecided, whichever texts there are. A probe of quantities has no such
    point: its states are moved to where it predicts what it does of ``centre``.

    Args:
        reading: Of the probe.
        how: ``projection``, ``leace``, ``mean``, or an eraser.
        centre: [features], the mean state. A projection keeps the point of the boundary nearest to
            it; random subspaces are projected about the same point.
        rows: Features and labels; needed but for a projection.

    Raises:
        ProbeError: No such way, or no data for it.
    """
    from neoscope.errors import nearest

    if isinstance(how, Eraser):
        return how
    if how not in ERASERS:
        raise ProbeError(
            f"eraser={how!r}; expected one of {', '.join(map(repr, ERASERS))}, or an Eraser"
            f"{nearest(str(how), ERASERS)}"
        )
    if how == "projection":
        point = reading.boundary(centre) if reading.classes else centre
        return project_out(reading.directions, point)
    if rows is None:
        raise ProbeError(f"eraser={how!r} needs data=: (X, y), or the ProbeData of the probe")
    return fit_leace(*rows) if how == "leace" else fit_mean_projection(*rows)


def place_of(model: Any, probe: Any, place: Place | None, any_source: bool) -> Place:
    """Return where a probe reads in a model.

    Raises:
        ProbeError: Nobody said, the probe was trained on another model, or it reads no site.
    """
    card = getattr(probe, "card_", None)
    if place is None and card is None:
        raise ProbeError(
            f"{type(probe).__name__} does not know where its features come from; give place=, such "
            "as Place('resid_post', 3)"
        )
    check_model_of(probe, model, place=place, any_source=any_source)
    found = card.place if place is None and card is not None else place
    assert found is not None
    if found.site == "X":
        raise ProbeError("the probe was trained on plain arrays; give place= and any_source=True")
    return found


def trained_on_last(probe: Any) -> bool:
    """Whether a probe's card says that it was trained on the last token of each text."""
    card = getattr(probe, "card_", None)
    return card is not None and card.source.pool == "last"
