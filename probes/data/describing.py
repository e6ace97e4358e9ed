"""What a user sees of data: a few lines, and a table of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from probes.data.dataset import ProbeData

_MOST = 5


def describe(data: ProbeData) -> str:
    """Return rows, groups, classes with counts, and places, in one line.

    Args:
        data: What to describe.
    """
    places = [str(place) for place in data.places]
    shown = ", ".join(places if len(places) <= _MOST else [*places[:2], "...", places[-1]])
    label = f" of {data.label!r}" if data.label else ""
    counts = (data.n_rows, "row"), (data.n_groups, "group"), (len(places), "place")
    rows, groups, n_places = (f"{n:,} {what}{'s' * (n != 1)}" for n, what in counts)
    return (
        f"ProbeData({rows} in {groups}; {data.kind}{label}: {_labels(data)}; {n_places}: {shown})"
    )


def table(data: ProbeData) -> pd.DataFrame:
    """Return labels, groups, types and words, one row each.

    Args:
        data: What to tabulate.
    """
    import pandas as pd

    said = {"group": data.group_names[data.groups], "word": data.words, "type": data.types}
    columns = {name: values for name, values in said.items() if values is not None}
    if data.y.ndim == 1:
        return pd.DataFrame({**columns, "label": data.y})
    return pd.DataFrame(
        {
            **columns,
            **{
                f"label_{name}": column for name, column in zip(_names(data), data.y.T, strict=True)
            },
        }
    )


def _names(data: ProbeData) -> list[Any]:
    """Return what several labels at once are called: their numbers where nobody said."""
    return list(data.notes.get("label_names", range(data.y.shape[1])))


def _labels(data: ProbeData) -> str:
    if data.kind == "regression":
        return f"{data.y.mean():.3g} ± {data.y.std():.3g}"
    if data.kind == "multilabel":
        counts, names = data.y.sum(0), np.array(_names(data))
    else:
        names, counts = np.unique(data.y, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    said = [f"{names[k]!s} {counts[k]:,}" for k in order[:_MOST]]
    more = len(order) - _MOST
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")
