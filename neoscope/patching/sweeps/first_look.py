"""Every: the residual stream by position and all heads, in one go."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.patching.engine.exact import Exact, exact_effects
from neoscope.patching.engine.progress import Progress, with_result
from neoscope.patching.prompts.pairs import Prompts, check_direction, read_prompts
from neoscope.patching.results import file as result_file
from neoscope.patching.results import json_file, saved
from neoscope.patching.results.axes import Axis
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sources.reading import read_source
from neoscope.patching.sweeps.grid import Grid, make_grid
from neoscope.patching.sweeps.measured import as_result

if TYPE_CHECKING:
    from pandas import DataFrame

    from neoscope.model import HookedGPTNeo

STREAM_SITES = ("resid_pre", "attn_out", "mlp_out")
HEAD_SITES = ("z", "q", "k", "v", "pattern")
_PARTS = ("stream", "heads")
_FORMAT = "neoscope first look 1"


@dataclass(frozen=True, repr=False)
class Every:
    """The first look: the residual stream by position, and the heads."""

    stream: PatchingResult
    """resid_pre, attn_out and mlp_out: [site, layer, pos], as ``positions`` were asked for."""
    heads: PatchingResult
    """z, q, k, v and pattern at all positions: [site, layer, head], as ``heads`` were asked for."""

    @property
    def complete(self) -> bool:
        """Whether everything ran; else the cells that did not are NaN."""
        return self.stream.complete and self.heads.complete

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
        first = [name for name in ("site", "layer", "head", "pos", "tokens") if name in frame]
        return frame[[*first, *(name for name in frame if name not in first)]].reset_index(
            drop=True
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write both as one ``.json`` file, whole or not at all.

        Args:
            path: An older first look there is replaced; any other file is not.

        Returns:
            Where it stands.

        Raises:
            PatchingError: Another suffix, or it cannot be written.
        """
        both = {name: result_file.as_json(getattr(self, name)) for name in _PARTS}
        return json_file.write(path, _FORMAT, both)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Every:
        """Read what :meth:`save` wrote; both results equal those that were saved.

        Args:
            path: A ``.json`` file.

        Raises:
            PatchingError: There is no such file, or it is damaged or something else, which
                :func:`neoscope.patching.load` may be able to read.
        """
        with saved.reading(path, "Every") as source:
            said = json_file.read(source, _FORMAT)
            return cls(*(PatchingResult(**result_file.from_json(said[name])) for name in _PARTS))

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
    heads: Any = None,
    positions: Any = "each",
    direction: str = "denoise",
    source: Any = None,
    metric_positions: Any = None,
    batch_tokens: int | None = None,
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
        heads: One or several; ``"all"`` at once; default each.
        positions: Of the stream; heads are patched at all positions at once. As for ``sweep``:
            ``"each"``, ``"all"`` at once, one, several, or a mapping of names. The default is each
            in ``sweep``, ``every``, ``attribution`` and ``trace``, all in ``ablate`` and
            ``path_patch``.
        direction: ``"denoise"`` or ``"noise"``.
        source: What is put in.
        metric_positions: Where the metric reads.
        batch_tokens: Tokens of patched rows held at once.
        progress: True, False, or a function.
        seed: For sources that draw.
        prepend_bos: For texts.

    Raises:
        PatchingError: Prompts do not align or are the same, or the metric does not fit them.
        SiteError: A layer, head or position does not exist.

    Example:
        >>> import neoscope as ns
        >>> from neoscope.patching import logit_diff
        >>> model, pairs = ns.load("organism"), ns.organism.pairs("ioi", n=2)
        >>> metric = logit_diff(pairs.answer, pairs.wrong)
        >>> look = every(model, pairs.clean, pairs.corrupted, metric, layers=[0, 3], positions=-1)
        >>> look.stream.shape, look.heads.shape
        ((3, 2, 1), (5, 2, 4))
    """
    check_direction(direction)
    prompts = read_prompts(model, clean, corrupted, prepend_bos=prepend_bos)
    found = []
    parts = (
        (STREAM_SITES, {"positions": positions}),
        (HEAD_SITES, {"heads": heads, "positions": "all"}),
    )
    for sites, where in parts:
        grids = [make_grid(model.config, prompts, site, layers=layers, **where) for site in sites]
        cells = tuple(cell for grid in grids for cell in grid.cells)
        found.append(Grid(cells, (Axis("site", sites), *grids[0].axes)))
    stream, heads_grid = found
    chosen = read_source(source, seed)

    def result(exact: Exact) -> Every:
        return _taken_apart(
            exact,
            model,
            prompts,
            stream,
            heads_grid,
            direction=direction,
            source=chosen.label,
            seed=seed,
        )

    exact = exact_effects(
        model,
        prompts,
        metric,
        stream.cells + heads_grid.cells,
        direction=direction,
        source=chosen,
        metric_positions=metric_positions,
        batch_tokens=batch_tokens,
        progress=with_result(progress, result),
        seed=seed,
    )
    return result(exact)


def _taken_apart(
    exact: Exact,
    model: HookedGPTNeo,
    prompts: Prompts,
    stream: Grid,
    heads: Grid,
    **said: Any,
) -> Every:
    """Return the cells of both grids, which were measured one after the other."""
    n = len(stream.cells)
    parts = (exact.cells(slice(n)), exact.cells(slice(n, None)))
    return Every(
        as_result(parts[0], model, prompts, stream, site="stream", **said),
        as_result(parts[1], model, prompts, heads, site="heads", **said),
    )
