"""Measured cells as a result with axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.fingerprint import remembered_fingerprint
from neoscope.patching.engine.exact import Exact
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.grid import Grid

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def as_result(
    exact: Exact,
    model: HookedGPTNeo,
    prompts: Prompts,
    grid: Grid,
    *,
    direction: str,
    source: str,
    seed: int,
    site: str | None = None,
) -> PatchingResult:
    """Return measured cells as a result with axes; a pair without a cell's tokens gets NaN there.

    Args:
        exact: What was measured, cell by cell.
        model: The model.
        prompts: The pairs.
        grid: Cells and axes.
        direction: ``"denoise"`` or ``"noise"``.
        source: Label of what was put in.
        seed: Of draws.
        site: Name to give; default the cells' own.
    """
    complete = exact.complete
    patched, components = exact.patched.copy(), exact.components.copy()
    absent = _absent(grid, len(prompts))
    patched[absent], components[absent] = np.nan, np.nan
    baselines, shape = exact.baselines, (len(prompts), *grid.shape)
    names = baselines.metric.component_names
    sides = {
        "clean": (baselines.clean, baselines.clean_components),
        "corrupted": (baselines.corrupted, baselines.corrupted_components),
    }
    return PatchingResult(
        patched=patched.reshape(shape),
        axes=grid.axes,
        base_name=prompts.base_name(direction),
        clean=_numbers(baselines.clean),
        corrupted=_numbers(baselines.corrupted),
        site=site or grid.cells[0].site,
        direction=direction,
        metric=baselines.metric.name,
        unit=baselines.metric.unit,
        source=source,
        components={name: components[..., i].reshape(shape) for i, name in enumerate(names)},
        base_components={
            name: {
                side: _numbers(parts[:, i])
                for side, (_, parts) in sides.items()
                if parts is not None
            }
            for i, name in enumerate(names)
        },
        ran=exact.ran.reshape(grid.shape),
        model=model.cfg.model_name,
        fingerprint=remembered_fingerprint(model, model.config),
        clean_strings=prompts.clean_strings,
        corrupted_strings=prompts.corrupted_strings,
        seed=seed,
        complete=complete,
    )


def _absent(grid: Grid, n_pairs: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which pairs have none of a cell's tokens, [pairs, cells]."""
    known: dict[int, Any] = {}
    columns = []
    for cell in grid.cells:
        missing = np.zeros(n_pairs, bool)
        for where in (cell.columns, getattr(cell, "keys", None)):
            if where is not None:
                if id(where) not in known:
                    known[id(where)] = (where < 0).all(1).numpy()
                missing = missing | known[id(where)]
        columns.append(missing)
    return np.stack(columns, 1)


def _numbers(x: Any) -> Any:
    return None if x is None else x.detach().double().cpu().numpy()
