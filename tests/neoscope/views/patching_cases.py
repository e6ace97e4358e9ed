"""What tests of patching figures share."""

from __future__ import annotations

from typing import Any

import numpy as np

from neoscope.patching.results.axes import Axis
from tests.neoscope.patching.made_results import result


def effects(figure: Any) -> np.ndarray:
    """All measured effects of a figure's first panel."""
    return np.asarray(figure.data[0].z, float)


def said(figure: Any) -> str:
    """Title and all that stands below it."""
    return f"{figure.layout.title.text} {figure.layout.title.subtitle.text}"


def legend(figure: Any) -> set[str]:
    return {trace.name for trace in figure.data if trace.showlegend}


def marks(figure: Any, symbol: str) -> list[Any]:
    """Traces of marks on cells; the legend's own stand nowhere."""
    return [t for t in figure.data if t.type == "scatter" and t.marker.symbol == symbol
            and t.x[0] is not None]  # fmt: skip


def grid(*shape: int, names: tuple[str, ...] = ("layer", "head", "pos", "key")) -> Any:
    """A result of 3 pairs with as many axes as sizes."""
    rng = np.random.default_rng(0)
    axes = tuple(Axis(name, tuple(range(n))) for name, n in zip(names, shape, strict=False))
    patched = rng.normal(size=(3, *shape))
    return result(
        3, patched=patched, axes=axes, components={}, base_components={}, ran=np.ones(shape, bool),
        clean_strings=(), corrupted_strings=(),
    )  # fmt: skip
