"""Points in colours: one trace a class, or one scale for quantities."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy.typing import NDArray

from neoscope.errors import ViewError
from neoscope.views.figures.probes.confusion_reading import plain, sorting
from neoscope.views.figures.similarity.layers import colour_of, symbol_of
from neoscope.views.labels import cut, escaped, seen, visible
from neoscope.views.theme import CATEGORICAL, MUTED, SEQUENTIAL

Array = NDArray[Any]
_MOST_CLASSES = 30
_FEW_NUMBERS = 20
"""Different whole numbers that still are classes."""
_WEBGL = 3000
"""Points from which a browser draws them as one picture."""
_LINE, _TEXT, _ALL = 60, 240, 1_200_000
_SHADES = [[0, "#a9d2de"], [0.35, "#4596b5"], [0.7, "#1f648f"], [1, SEQUENTIAL[-1][1]]]
"""The house's scale without what vanishes on a light card."""


def traces(
    points: Float[np.ndarray, "row 2"],
    numbers: Sequence[int],
    labels: Array | None,
    texts: Sequence[Any] | None,
    continuous: bool | None,
) -> tuple[list[Any], str, bool]:
    """Return the points as plotly's traces, what a reader must know, and whether there is a scale.

    Args:
        points: Where they stand.
        numbers: The row that each one is.
        labels: Of each point.
        texts: Of each point.
        continuous: Whether labels are quantities; None to go by what they are.

    Raises:
        ViewError: Labels that are no numbers are to be a scale.
    """
    hover = _hover(numbers, labels, texts)
    if labels is None:
        return [_points(points, hover, name="", color=CATEGORICAL[0], total=len(points))], "", False
    plain_labels = [plain(one) for one in labels]
    if is_scale(plain_labels, continuous):
        return (*_scaled(points, hover, plain_labels, continuous is None), True)
    return (*_classes(points, hover, plain_labels), False)


def is_scale(labels: Sequence[Any], asked: bool | None) -> bool:
    """Whether labels are quantities rather than classes.

    Args:
        labels: Plain values, None where one is missing; best of all rows, drawn or not.
        asked: What the caller says; None to go by what they are.

    Raises:
        ViewError: They are to be quantities, and are no numbers.
    """
    known = [one for one in labels if one is not None]
    numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in known)
    if asked and not numeric:
        bad = next(one for one in known if not isinstance(one, int | float))
        raise ViewError(
            f"views.projection: continuous=True, but a label is {bad!r:.60}; expected numbers"
        )
    if asked is not None:
        return asked
    if not known or not numeric:
        return False
    whole = all(float(one).is_integer() for one in known)
    return not whole or len(set(known)) > _FEW_NUMBERS


def _scaled(
    points: Any, hover: list[str], labels: list[Any], guessed: bool
) -> tuple[list[Any], str]:
    values = np.array([np.nan if one is None else float(one) for one in labels])
    known = np.isfinite(values)
    drawn = []
    if not known.all():
        absent = [i for i in range(len(labels)) if not known[i]]
        drawn.append(_missing(points, hover, absent, len(points)))
    here = np.flatnonzero(known)
    trace = _points(points[here], [hover[i] for i in here], name="", color=values[here],
                    total=len(points))  # fmt: skip
    trace.marker.coloraxis = "coloraxis"
    notes = []
    if len(drawn):
        notes.append(f"{int((~known).sum()):,} points have no label; they are grey.")
    given = values[known]
    if guessed and (given == np.round(given)).all():
        notes.append(f"{len(set(given.tolist())):,} different whole numbers are taken for "
                     "quantities; continuous=False makes them classes.")  # fmt: skip
    return [*drawn, trace], " ".join(notes)


def shades(labels: Array, name: str) -> dict[str, Any]:
    """Return plotly's ``coloraxis`` for quantities.

    Args:
        labels: Of the points.
        name: What they say; plain text.
    """
    return {
        "colorscale": _SHADES,
        "colorbar": {"title": {"text": visible(name, 40), "side": "right"}},
    }


def _classes(points: Any, hover: list[str], labels: list[Any]) -> tuple[list[Any], str]:
    rows: dict[Any, list[int]] = {}
    for i, one in enumerate(labels):
        rows.setdefault(one, []).append(i)
    absent = rows.pop(None, [])
    note = ""
    if len(rows) > _MOST_CLASSES:
        common = sorted(rows, key=lambda one: -len(rows[one]))[: _MOST_CLASSES - 1]
        rest = [i for one, found in rows.items() if one not in set(common) for i in found]
        note = (
            f"The {len(common)} commonest of {len(rows):,} classes have colours; "
            f"{len(rest):,} points of the others are grey."
        )
        rows = {one: rows[one] for one in common}
        absent = sorted([*absent, *rest])
    total = len(points)
    drawn = [_missing(points, hover, absent, total)] if absent else []
    for number, one in enumerate(sorted(rows, key=sorting)):
        found = rows[one]
        name = f"{visible(str(one), 28)} ({len(found):,})"
        drawn.append(_points(points[found], [hover[i] for i in found], name=name, total=total,
                             color=colour_of(number), symbol=symbol_of(number)))  # fmt: skip
    return drawn, note


def _missing(points: Any, hover: list[str], rows: list[int], total: int) -> Any:
    return _points(points[rows], [hover[i] for i in rows], color=MUTED, symbol="circle-open",
                   name=f"other or none ({len(rows):,})", total=total)  # fmt: skip


def _points(
    points: Any, hover: list[str], *, name: str, color: Any, total: int, symbol: str = "circle"
) -> Any:
    size, opacity = (9, 0.85) if total < 500 else (6, 0.7) if total < 5000 else (4, 0.6)
    kind = go.Scattergl if total > _WEBGL else go.Scatter
    return kind(
        x=points[:, 0], y=points[:, 1], mode="markers", name=name, showlegend=bool(name),
        marker={"color": color, "size": size, "opacity": opacity, "symbol": symbol},
        customdata=hover, hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _hover(numbers: Sequence[int], labels: Array | None, texts: Sequence[Any] | None) -> list[str]:
    """Return what a point's box says: its label, its text in lines, its row; escaped."""
    longest = int(max(60, min(_TEXT, _ALL / max(len(numbers), 1))))
    found = []
    for i, number in enumerate(numbers):
        lines = [] if labels is None else [f"<b>{_said(labels[i])}</b>"]
        if texts is not None:
            text = " ".join(str(texts[i])[: 4 * _TEXT].split())
            wrapped = textwrap.wrap(cut(text, longest), _LINE) or ["(no text)"]
            lines += [_shown(part) for part in wrapped]
        found.append("<br>".join([*lines, f"row {number:,}"]))
    return found


def _said(label: Any) -> str:
    label = plain(label)
    if isinstance(label, float) and not label.is_integer():
        return f"{label:.4g}"
    return "no label" if label is None else visible(str(label), 60)


def _shown(text: str) -> str:
    return escaped(seen(text, keep=""))
