"""rollout and attention_flow: attention followed through the layers, down to the text's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Shaped

from neoscope.errors import ViewError
from neoscope.indices import whole
from neoscope.views.figures.attention.reading import UNKNOWN
from neoscope.views.figures.attention.square import square, veil
from neoscope.views.given import expect, row_of
from neoscope.views.heatmaps import colours, panel, shrunk
from neoscope.views.labels import model_name, numbered, spoken, ticks
from neoscope.views.theme import add_note, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from neoscope.analysis import AttentionFlow, Rollout

    GivenRollout = Rollout
    GivenFlow = AttentionFlow
else:
    GivenRollout = GivenFlow = Any

_AXES = ("position after the layer", "token that it is made of")
_WORDS = ("position", "made of")


def rollout(
    result: GivenRollout, *, layer: Any = None, position: Any = None, text: Any = 0
) -> go.Figure:
    """Draw how much of each position is made of each token, as attention rollout has it.

    Grey is what no path of windows leads to. For one position, a row shows it after each layer.

    Args:
        result: Of :func:`neoscope.analysis.rollout`.
        layer: After which layer, one of those in the result; None for the last.
        position: One position of the text, followed through all layers of the result; -1 is the
            last token. It takes the place of ``layer``.
        text: Which text of the batch.

    Raises:
        ViewError: It is another result, or has no such layer, position or text; or both a layer and
            a position are given.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet")
        >>> found = ns.analysis.rollout(cache)
        >>> ns.views.rollout(found).data[0].z.shape
        (5, 5)
        >>> ns.views.rollout(found, position=-1).data[0].z.shape
        (4, 5)
    """
    expect(result, "rollout", {"Rollout": "analysis.rollout"})
    row = row_of(text, len(result.mask), "rollout")
    keys, names = _tokens(result, row)
    if position is not None:
        if layer is not None:
            raise ViewError(
                "views.rollout: layer draws all positions after one layer, position one position "
                "after every layer; give one of them"
            )
        return _one_position(result, row, keys, names, position)
    number = result.layers[-1] if layer is None else whole(layer)
    if number not in result.layers:
        raise ViewError(
            f"views.rollout: layer={layer!r} is not in this result; it has layers "
            f"{', '.join(map(str, result.layers))}"
        )
    at = result.layers.index(number)
    return _square(
        result, names, result.values[at, row][np.ix_(keys, keys)],
        result.reachable[at, row][np.ix_(keys, keys)], np.arange(len(keys)),
        f"Attention rollout to layer {number}", _described(result, row, result.bandwidth[at]),
    )  # fmt: skip


def _square(
    result: Any,
    names: list[str],
    values: Shaped[np.ndarray, "query key"],
    reachable: Bool[np.ndarray, "query key"],
    positions: Shaped[np.ndarray, " query"],
    title: str,
    subtitle: str,
) -> go.Figure:
    future = positions[:, None] < np.arange(len(names))
    return square(
        values, hidden=~reachable & ~future, future=future, rows=[names[i] for i in positions],
        columns=names, unit=_unit(result), title=title, subtitle=subtitle,
        hidden_says="<b>cannot</b>: no path of windows leads there",
        missing="not computed: the search was interrupted", names=_WORDS, axes=_AXES,
    )  # fmt: skip


def _one_position(
    result: GivenRollout, row: int, keys: Any, names: list[str], position: Any
) -> go.Figure:
    at = whole(position)
    n = len(keys)
    if at is None or not -n <= at < n:
        raise ViewError(
            f"views.rollout: position={position!r} does not exist; the text has {n} tokens, 0 to "
            f"{n - 1}"
        )
    at %= n
    seen = result.reachable[:, row, keys[at]][:, keys]
    values = np.where(seen, result.values[:, row, keys[at]][:, keys], np.nan)
    values, _, starts, merged = shrunk(values[:, : at + 1], "share")
    names = [names[i] for i in starts]
    rows = [f"layer {layer}" for layer in result.layers]
    figure = new_figure(
        f"Attention rollout of position {_plain(result, row, at)}",
        _described(result, row, result.bandwidth[-1]),
        height=int(min(900, max(360, 190 + 24 * len(rows)))),
    )
    figure.add_trace(panel(values, rows=rows, columns=names, unit=_unit(result),
                           row_title="after", column_title=_WORDS[1]))  # fmt: skip
    hidden = np.where(np.isnan(values), np.float32(1), np.float32(np.nan))
    if np.isfinite(hidden).any():
        figure.add_trace(veil(hidden, rows, names, "<b>cannot</b>: no path of windows leads there",
                              ("after", _WORDS[1])))  # fmt: skip
    figure.update_layout(coloraxis=colours(values, "share", _unit(result)))
    plain = {"type": "category", "showgrid": False, "tickfont": {"size": 11}}
    angle = -90 if len(names) > 30 else -45
    figure.update_xaxes(plain, title=_AXES[1], tickangle=angle, **ticks(names, names))
    figure.update_yaxes(plain, title="after", **ticks(rows, rows))
    return add_note(figure, merged) if merged else figure


def attention_flow(result: GivenFlow, *, text: Any = 0) -> go.Figure:
    """Draw the most that can flow from each position down to each token.

    Grey is what no path of windows leads to.

    Args:
        result: Of :func:`neoscope.analysis.attention_flow`; of all positions, or of some.
        text: Which text of the batch.

    Raises:
        ViewError: It is another result, or has no such text.

    Example:
        >>> import neoscope as ns
        >>> _, cache = ns.load("organism").run_with_cache("The keys near the cabinet")
        >>> figure = ns.views.attention_flow(ns.analysis.attention_flow(cache, positions=-1))
        >>> figure.data[0].z.shape
        (1, 5)
    """
    expect(result, "attention_flow", {"AttentionFlow": "analysis.attention_flow"})
    row = row_of(text, len(result.mask), "attention_flow")
    keys, names = _tokens(result, row)
    asked = (result.queries[row] >= 0).nonzero()[0]
    if not asked.size:
        raise ViewError(f"views.attention_flow: no position of text {row} was asked for")
    return _square(
        result, names, result.values[row][np.ix_(asked, keys)],
        result.reachable[row][np.ix_(asked, keys)], result.queries[row][asked],
        f"Attention flow from layer {result.last_layer} down to the tokens",
        _described(result, row, result.bandwidth),
    )  # fmt: skip


def _tokens(result: Any, row: int) -> tuple[Any, list[str]]:
    """The columns of a text's tokens, and their labels."""
    keys = result.mask[row].nonzero()[0]
    strings = list(result.strings[row]) or [UNKNOWN] * len(keys)
    return keys, numbered(strings)


def _plain(result: Any, row: int, at: int) -> str:
    """A position with its token, for a title, which is escaped there."""
    strings = result.strings[row]
    return f"{at} {spoken(strings[at])}" if strings else str(at)


def _unit(result: Any) -> str:
    if type(result).__name__ == "AttentionFlow":
        return "largest flow"
    return "share"


def _described(result: Any, row: int, reach: int | None) -> str:
    n = len(result.mask)
    said = [
        model_name(result.model),
        f"text {row} of {n}" if n > 1 else "",
        f"from layer {result.start_layer}",
        f"heads {result.heads}",
        f"{result.residual:g} of each position passes a layer by",
        "weighted by the norm of what is moved" if result.weighted == "norm" else "",
        "" if reach is None else f"reaches {reach} tokens back",
    ]
    return ", ".join(one for one in said if one)
