"""Results as tables, with a row for each cell or each cell of each pair, and in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import PatchingError, nearest
from neoscope.indices import whole
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.statistics import mean

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.patching.results.result import PatchingResult

ORDERS = ("magnitude", "positive", "negative")


def per_cell(result: PatchingResult) -> DataFrame:
    """Return one row a cell: labels, effect and its statistics, and means of the patched runs.

    Args:
        result: What was measured. Columns: one for each axis; ``agree`` where an axis has it;
            ``effect``, ``stderr``, ``low``, ``high``, ``p``; ``patched``, the metric itself;
            ``logit_`` and the name of each component; ``ran``.
    """
    import pandas as pd

    return pd.DataFrame(cell_columns(result))


def cell_columns(result: PatchingResult) -> dict[str, Any]:
    """Return the columns of :func:`per_cell`, each with a value for each cell.

    Args:
        result: What was measured.
    """
    low, high = result.interval
    numbers = {
        "effect": result.mean,
        "stderr": result.stderr,
        "low": low,
        "high": high,
        "p": result.p_value,
        "patched": mean(result.patched),
        **{f"logit_{name}": mean(x) for name, x in result.components.items()},
        "ran": result.ran,
    }
    flat = {name: np.asarray(x).reshape(-1) for name, x in numbers.items()}
    return {**axis_columns(result.axes), **flat}


def per_pair(result: PatchingResult) -> DataFrame:
    """Return one row a cell and pair: labels, pair, effect, the metric and the components.

    Args:
        result: What was measured.
    """
    import pandas as pd

    n, cells = result.n_pairs, int(np.prod(result.shape))
    columns: dict[str, Any] = {"pair": np.repeat(np.arange(n), cells)}
    columns |= {name: _tiled(x, n) for name, x in axis_columns(result.axes).items()}
    columns |= {"effect": result.values.reshape(-1), "patched": result.patched.reshape(-1)}
    columns |= {f"logit_{name}": x.reshape(-1) for name, x in result.components.items()}
    assert result.ran is not None
    return pd.DataFrame({**columns, "ran": _tiled(result.ran.reshape(-1), n)})


def _tiled(x: Any, n: int) -> Any:
    return np.tile(np.asarray(x, object) if isinstance(x, list) else x, n)


def axis_columns(axes: Sequence[Axis]) -> dict[str, Any]:
    """Return, for each axis, the label of every cell; and ``agree`` where an axis marks it.

    Args:
        axes: Of a grid of cells.
    """
    shape = tuple(map(len, axes))
    places = np.indices(shape).reshape(len(axes), int(np.prod(shape)))
    columns: dict[str, Any] = {}
    for axis, place in zip(axes, places, strict=True):
        labels: list[Any] = [axis.labels[i] for i in place.tolist()]
        if all(isinstance(label, int) for label in axis.labels):
            columns[axis.name] = np.asarray(labels, np.int64)
        else:
            columns[axis.name] = [str(label) for label in labels]
        if axis.agree is not None:
            name = "agree" if "agree" not in columns else f"{axis.name}_agree"
            columns[name] = np.asarray(axis.agree)[place]
    return columns


def top(result: PatchingResult, k: Any, by: str) -> DataFrame:
    """Return the ``k`` rows of largest effect.

    Args:
        result: What was measured.
        k: How many at most.
        by: ``"magnitude"``, ``"positive"`` or ``"negative"``.

    Raises:
        PatchingError: ``k`` is no positive number, or ``by`` none of these.
    """
    return per_cell(result).iloc[largest(result.mean, k, by)].reset_index(drop=True)


def largest(effects: NDArray[np.float64], k: Any, by: str = "magnitude") -> list[int]:
    """Return the flat indices of the ``k`` largest effects, the largest first; NaN is none.

    Args:
        effects: Of any shape.
        k: How many at most.
        by: ``"magnitude"``, ``"positive"`` or ``"negative"``.

    Raises:
        PatchingError: ``k`` is no positive number, or ``by`` none of these.
    """
    number = whole(k)
    if number is None or number < 1:
        raise PatchingError(f"k={k!r}; expected a whole number, one at least")
    if by not in ORDERS:
        raise PatchingError(
            f"by={by!r}; expected one of {', '.join(map(repr, ORDERS))}{nearest(str(by), ORDERS)}"
        )
    flat = effects.reshape(-1)
    score = {"magnitude": np.abs(flat), "positive": flat, "negative": -flat}[by]
    order = np.argsort(-score, kind="stable")  # NaN last
    kept = ~np.isnan(score[order]) if by == "magnitude" else score[order] > 0
    return [int(i) for i in order[kept][:number]]


def described(result: PatchingResult) -> str:
    """Return a few lines: what was measured, the baselines and the three largest effects.

    Args:
        result: What was measured.
    """
    axes = " × ".join(f"{len(axis)} {axis.name}" for axis in result.axes) or "one cell"
    n = result.n_pairs
    what = (
        f"PatchingResult: {result.site} [{axes}], {result.direction}, {result.metric}"
        f"{f' in {result.unit}' if result.unit else ''}, {n} pair{'s' * (n > 1)}"
        f"{'' if result.complete else ' (interrupted: what did not run is NaN)'}"
    )
    sides = {"clean": result.clean, "corrupted": result.corrupted}
    baselines = (
        "  baselines: "
        + ", ".join(f"{name} {np.mean(x):.4g}" for name, x in sides.items() if x is not None)
        + f"; patched is the {result.base_name} run"
        + (f", values from {result.source}" if result.source else "")
    )
    lines, flat = [what, baselines], result.mean.reshape(-1)
    for i in largest(result.mean, 3):
        place = np.unravel_index(i, result.shape) if result.axes else ()
        named = ", ".join(
            f"{axis.name} {axis.labels[int(j)]}" for axis, j in zip(result.axes, place, strict=True)
        )
        lines.append(f"  {flat[i]:+.4g}  {named}".rstrip())
    return "\n".join(lines)
