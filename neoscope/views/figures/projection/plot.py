"""projection: rows of features as points in the plane, with their texts on hover."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from neoscope.errors import ViewError
from neoscope.indices import whole
from neoscope.views.figures.probes.confusion_reading import plain
from neoscope.views.figures.projection.axes import pca, umap
from neoscope.views.figures.projection.colours import is_scale, shades, traces
from neoscope.views.figures.projection.reading import Array, read_cloud
from neoscope.views.given import number, one_of
from neoscope.views.labels import cut
from neoscope.views.theme import add_note, new_figure

_METHODS = ("pca", "umap")
_ROWS_AT_ONCE = 4096


def projection(
    features: Any,
    *,
    column: Any = None,
    labels: Any = None,
    texts: Any = None,
    method: str = "pca",
    standardise: bool = False,
    continuous: bool | None = None,
    neighbours: int | None = None,
    most: int = 20_000,
    seed: int = 0,
) -> go.Figure:
    """Draw rows of features as points: two principal components, or UMAP.

    A row with NaN or an infinite number is left out and counted. Above ``most`` rows a seeded
    sample is drawn; principal components are still those of all rows.

    Args:
        features: An array, tensor or frame [rows, width], what :func:`neoscope.export.extract`
            returned, a FeatureStore, or a :class:`probes.ProbeData`, whose labels and words are
            taken.
        column: Which column of features or of the store, which place of the ProbeData; None for
            the only one.
        labels: What colours the points, one a row, or the name of a column of the store: classes,
            or quantities.
        texts: What is shown on hover, one a row, or the name of a column of the store (its column
            ``text`` if it has one).
        method: ``"pca"``, or ``"umap"`` (the extra ``umap``), which compiles itself when it is
            first used, for some ten seconds and without a sign of progress.
        standardise: Divide each dimension by its standard deviation first: hidden states have
            dimensions many times larger than all others.
        continuous: Whether labels are quantities; None to go by what they are.
        neighbours: Of UMAP; None for 15.
        most: Most points that are drawn.
        seed: Of UMAP and of the sample.

    Raises:
        ViewError: There are fewer than two rows, all rows are the same, numbers of rows differ, or
            an option is unknown.
        MissingExtraError: UMAP is not installed.

    Example:
        >>> X = np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
        >>> figure = projection(X, labels=["a", "b", "b"], texts=["one", "two", "<b>three</b>"])
        >>> figure.layout.xaxis.title.text
        'component 1 (100.0% of the variance)'
        >>> figure.data[1].customdata[1]
        '<b>b</b><br>&lt;b&gt;three&lt;/b&gt;<br>row 2'
    """
    method = one_of(method, "method", _METHODS, "projection")
    most, seed = _count(most), number(seed, "seed", "projection", 0)
    cloud = read_cloud(features, column, labels, texts)
    good = _finite(cloud.values)
    left = len(cloud.values) - len(good)
    if len(good) < 2:
        raise ViewError(
            f"views.projection: {len(good)} row{'s' * (len(good) != 1)} to draw ({left:,} hold NaN "
            "or infinite numbers and are left out); expected at least 2"
        )
    shown = good
    if len(good) > most:
        shown = np.sort(np.random.default_rng(seed).choice(good, most, replace=False))
    if method == "pca":
        axes = pca(cloud.values, good, shown, standardise)
    else:
        axes = umap(cloud.values, shown, standardise, neighbours, seed)
    given = None if cloud.labels is None else cloud.labels[shown]
    said = None if cloud.texts is None else cloud.texts[shown].tolist()
    if cloud.labels is not None:
        continuous = is_scale([plain(one) for one in cloud.labels], continuous)
    drawn, note, scale = traces(axes.points, shown.tolist(), given, said, continuous)
    what = f"{cut(cloud.what, 80)} · {len(good):,} rows of {cloud.values.shape[1]:,} dimensions"
    called = "Features in the plane of most variance" if method == "pca" else "Features by UMAP"
    figure = new_figure(called, what + (", standardised" if standardise else ""), height=560)
    figure.add_traces(drawn)
    figure.update_xaxes(title=axes.names[0], title_font_size=13, zeroline=False)
    figure.update_yaxes(title=axes.names[1], title_font_size=13, zeroline=False)
    if method == "umap":
        figure.update_xaxes(showticklabels=False, ticks="")
        figure.update_yaxes(showticklabels=False, ticks="")
    if scale and given is not None:
        figure.update_layout(coloraxis=shades(given, cloud.label_name), legend={"y": -0.12,
                             "orientation": "h"})  # fmt: skip
    else:
        figure.update_layout(legend={"itemsizing": "constant", "title": {"text": ""}})
    for one in (_sampled(len(good), len(shown), method, seed), _gone(left), axes.note, note):
        if one:
            add_note(figure, one)
    return figure


def _count(most: Any) -> int:
    found = whole(most)
    if found is None or found < 2:
        raise ViewError(f"views.projection: most={most!r}; expected a whole number of at least 2")
    return found


def _finite(values: Array) -> Array:
    """Return the numbers of rows without NaN and infinite numbers."""
    parts = [
        np.isfinite(values[start : start + _ROWS_AT_ONCE]).all(1)
        for start in range(0, len(values), _ROWS_AT_ONCE)
    ]
    return np.flatnonzero(np.concatenate(parts))


def _sampled(rows: int, shown: int, method: str, seed: int) -> str:
    if shown == rows:
        return ""
    fitted = "; the axes are those of all rows" if method == "pca" else ""
    return f"{shown:,} of {rows:,} rows are drawn, at random (seed {seed}){fitted}."


def _gone(left: int) -> str:
    if not left:
        return ""
    rows = "1 row holds" if left == 1 else f"{left:,} rows hold"
    return f"{rows} NaN or infinite numbers and {'is' if left == 1 else 'are'} left out."
