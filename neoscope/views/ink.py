"""Ink that stays readable on any cell of a colour scale, and scales that count in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

DARK_INK, LIGHT_INK = "#000000", "#ffffff"
"""Of the two, one has a contrast of at least 4.58 on any colour; a softer black has not."""
GREY = "#cfd4da"
"""Of a cell that has no number; dark ink is readable on it."""
_SWITCH = math.sqrt(0.05 * 1.05) - 0.05
"""The relative luminance on which black and white are equally readable."""


def inks(values: Sequence[float], axis: dict[str, Any]) -> list[str]:
    """Return black for light cells and white for dark ones: WCAG asks for a contrast of 4.5.

    Args:
        values: Finite values, one a cell.
        axis: The plotly ``coloraxis`` that colours them.
    """
    dark = luminance(_mixed(values, axis)) < _SWITCH
    return [LIGHT_INK if one else DARK_INK for one in dark.tolist()]


def shades(values: Sequence[float], axis: dict[str, Any]) -> list[str]:
    """Return the colours of values: plotly complains of bars that have numbers for colours.

    Args:
        values: Finite values.
        axis: The plotly ``coloraxis`` that colours them.
    """
    whole = np.rint(_mixed(values, axis)).astype(int).tolist()
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in whole]


def _mixed(values: Sequence[float], axis: dict[str, Any]) -> Any:
    """The colours of values, as red, green and blue of 0 to 255."""
    low, high = float(axis["cmin"]), float(axis["cmax"])
    scale = [(float(at), _rgb(colour)) for at, colour in axis["colorscale"]]
    share = (np.asarray(values, float) - low) / ((high - low) or 1.0)
    share = 1.0 - share if axis.get("reversescale") else share
    places = [at for at, _ in scale]
    return np.stack(
        [np.interp(share, places, [colour[i] for _, colour in scale]) for i in range(3)], -1
    )


def key() -> go.Scatter:
    """Return a trace that shows nothing: plotly draws a colour bar only of what uses its scale."""
    marker = {"color": [0.0], "coloraxis": "coloraxis"}
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip", showlegend=False
    )


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast of two colours, 1 to 21.

    Args:
        one: As ``#rrggbb``.
        other: Likewise.
    """
    found = sorted(luminance(np.array([_rgb(one), _rgb(other)])).tolist())
    return float((found[1] + 0.05) / (found[0] + 0.05))


def luminance(rgb: Any) -> Any:
    """Return the relative luminance of colours [..., 3] of 0 to 255."""
    share = np.asarray(rgb, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (float(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return (red, green, blue)


def powers(axis: dict[str, Any]) -> dict[str, Any]:
    """Label a colour axis of decimal logarithms with the numbers themselves: 1, 10, 100.

    Args:
        axis: As :func:`neoscope.views.heatmaps.colours` returns it.
    """
    most = max(0, math.floor(float(axis["cmax"])))
    every = list(range(most + 1))
    ticks = {"tickvals": every, "ticktext": [f"{10**i:,}" for i in every]}
    return {**axis, "colorbar": {**axis["colorbar"], **ticks}}
