"""Every: the residual stream by position and all heads, in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neoscope.patching.axes import Axis
from neoscope.patching.exact import exact_effects
from neoscope.patching.grid import Grid, make_grid
from neoscope.patching.measured import as_result
from neoscope.patching.progress import Progress
from neoscope.patching.prompts import check_direction, read_prompts
from neoscope.patching.result import PatchingResult
from neoscope.patching.sources import read_source

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.model import HookedGPTNeo

STREAM_SITES = ("resid_pre", "attn_out", "mlp_out")
HEAD_SITES = ("z", "q", "k", "v", "pattern")


@dataclass(frozen=True, repr=False)
class Every:
    """The first look: the residual stream by position, and the heads."""

    stream: PatchingResult
    """resid_pre, attn_out and mlp_out: [site, layer, pos]."""
    heads: PatchingResult
    """z, q, k, v and pattern at all positions: [site, layer, head]."""

    def top(self, k: int = 10, by: str = "magnitude") -> DataFrame:
        """Return the k cells of both that change the metric most; see PatchingResult.top.

        Args:
            k: Rows.
            by: ``"magnitude"``, ``"positive"`` or ``"negative"``.
        """
        import pandas as pd

        both = pd.concat([self.stream.top(k, by), self.heads.top(k, by)], ignore_index=True)
        key = {"magnitude": lambda x: -x.abs(), "positive": lambda x: -x}.get(by, lambda x: x)
        return self._ordered(both.sort_values("effect", key=key, kind="stable").head(k))

    def to_dataframe(self) -> DataFrame:
        """Return one row a cell, of both; heads have no position, and positions no head."""
        import pandas as pd

        both = [self.stream.to_dataframe(), self.heads.to_dataframe()]
        return self._ordered(pd.concat(both, ignore_index=True))

    @staticmethod
    def _ordered(frame: DataFrame) -> DataFrame:
        first = [name for name in ("site", "layer", "head", "pos") if name in frame]
        return frame[[*first, *(name for name in frame if name not in first)]].reset_index(
            drop=True
        )

    def __repr__(self) -> str:
        """Return both, one below the other."""
        return f"stream: {self.stream!r}\nheads: {self.heads!r}"


def every(
    model: HookedGPTNeo,
    clean: Any,
    corrupted: Any,
    metric: Any,
    *,
    layers: Any = None,
    direction: str = "denoise",
    source: Any = None,
    metric_positions: Any = None,
    token_budget: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
    seed: int = 0,
    prepend_bos: bool = False,
) -> Every:
    """Sweep the residual stream by position and all heads, in one go.

    The same as TransformerLens's ``get_act_patch_block_every`` and
    ``get_act_patch_attn_head_all_pos_every``.

    Args:
        model: Without hooks or edits in force.
        clean: As for :func:`sweep`, like all that follows.
        corrupted: One for each clean prompt.
        metric: What is measured.
        layers: One or several; default each.
        direction: ``"denoise"`` or ``"noise"``.
        source: What is put in.
        metric_positions: Where the metric reads.
        token_budget: Tokens of patched rows held at once.
        progress: True, False, or a function.
        seed: For sources that draw.
        prepend_bos: For texts.

    Raises:
        PatchingError: Prompts do not align or are the same, or the metric does not fit them.
        SiteError: A layer does not exist.
    """
    check_direction(direction)
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    found = []
    for sites, where in ((STREAM_SITES, None), (HEAD_SITES, "all")):
        grids = [
            make_grid(model.config, prompts, site, layers=layers, positions=where) for site in sites
        ]
        cells = tuple(cell for grid in grids for cell in grid.cells)
        found.append(Grid(cells, (Axis("site", sites), *grids[0].axes)))
    stream, heads = found
    both = Grid(stream.cells + heads.cells, (Axis("cell", tuple(range(_size(*found)))),))
    chosen = read_source(source, seed)
    exact = exact_effects(
        model,
        prompts,
        metric,
        both.cells,
        direction=direction,
        source=chosen,
        metric_positions=metric_positions,
        token_budget=token_budget,
        progress=progress,
        seed=seed,
    )
    results, first = [], 0
    for grid, name in ((stream, "stream"), (heads, "heads")):
        part = exact.cells(slice(first, first + len(grid.cells)))
        first += len(grid.cells)
        results.append(
            as_result(
                part, model, prompts, grid, direction=direction, source=chosen.label, seed=seed,
                site=name,
            )
        )  # fmt: skip
    return Every(*results)


def _size(*grids: Grid) -> int:
    return sum(len(grid.cells) for grid in grids)
