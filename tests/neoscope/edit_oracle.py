"""What an edit should do, written as plain indexing, row by row, in an ordinary hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.edits import Edit
from neoscope.sites import SiteRef

CONFIG = ns.NeoConfig(
    n_layers=3, d_model=24, n_heads=3, n_ctx=40, d_vocab=50, window_size=5, init_range=0.2
)
IDS = (torch.arange(21).view(3, 7) * 5) % 50
OTHER = (torch.arange(21).view(3, 7) * 11 + 3) % 50
MASKS: dict[str, Any] = {
    "none": None,
    "left": [[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]],
}
SHORTEST = 4
SWITCHES = ("use_split_qkv_input", "use_attn_result", "use_hook_mlp_in")

Change = Callable[[Tensor, int, tuple[Tensor, ...]], Tensor]
"""From the site's tensor, a row and the chosen indices of the other axes to the new values."""


def real(side: str) -> Tensor:
    """Return which columns are tokens."""
    return torch.ones_like(IDS).bool() if MASKS[side] is None else torch.tensor(MASKS[side]).bool()


def _chosen(axis: str, size: int, where: dict[str, Any], row: Tensor) -> list[int]:
    name = {"pos": "positions", "query": "positions", "key": "keys", "head": "head"}.get(
        axis, "unit"
    )
    asked = where.get(name)
    if asked is None:
        return list(range(size))
    if name in ("positions", "keys"):
        columns = row.nonzero().flatten().tolist()
        if isinstance(asked, slice):
            return columns[asked]
    else:
        columns = list(range(size))
    return [columns[i] for i in ([asked] if isinstance(asked, int) else asked)]


def grid(ref: SiteRef, x: Tensor, row: Tensor, where: dict[str, Any]) -> tuple[Tensor, ...]:
    """Return the chosen indices of every axis but the first."""
    sizes = zip(ref.kind.axes[1:], x.shape[1:], strict=True)
    chosen = [torch.tensor(_chosen(axis, n, where, row), dtype=torch.long) for axis, n in sizes]
    return torch.meshgrid(*chosen, indexing="ij")


def manual(
    model: ns.HookedGPTNeo, ref: SiteRef, side: str, where: dict[str, Any], change: Change
) -> Tensor:
    """Return the logits of a run in which a hook changes the chosen part, and nothing else."""

    def hook(x: Tensor, hook: Any) -> Tensor:
        new = x.clone()
        for i, row in enumerate(real(side)):
            at = grid(ref, x, row, where)
            new[i] = new[i].index_put(at, change(x, i, at).expand(at[0].shape).to(x.dtype))
        return new

    return model.run_with_hooks(IDS, MASKS[side], fwd_hooks=[(ref.name, hook)])


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two results agree bit for bit."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    return True


def edited(model: ns.HookedGPTNeo, side: str, *edits: Edit) -> Tensor:
    """Return the logits of a run with edits."""
    return model.run_with_edits(IDS, list(edits), MASKS[side])


def index(low: int, high: int) -> st.SearchStrategy[Any]:
    """One index or several, without naming one twice; negative ones only if ``low`` is."""
    # All indices in another order are left out: a value of that size fits in two ways.
    several = [[0], [high - 1, 0], (0, high // 2, high - 1), (1, 0)]
    if low < 0:
        several += [[-1], [-1, 0], (1 - high, -1)]
    return st.integers(low, high - 1) | st.sampled_from([x for x in several if _once(x, high)])


def _once(listed: Any, high: int) -> bool:
    return len({i % high for i in listed}) == len(listed)


def parts(ref: SiteRef) -> st.SearchStrategy[dict[str, Any]]:
    """Heads, positions, keys and units that a site has, each given or not."""
    axes = ref.kind.axes
    size = ref.shape(CONFIG, 1, 1)[-1]
    # Rows of different length count from different ends: one sign at a time names nothing twice.
    position = (
        index(0, SHORTEST)
        | st.integers(-SHORTEST, -1)
        | st.sampled_from([[-1], [-1, -SHORTEST], (-2, -1, -3)])
        | st.sampled_from([slice(1, 3), slice(0, SHORTEST, 2), range(2)])
    )
    possible = {
        "head": index(-3, 3) if "head" in axes else None,
        "positions": position if {"pos", "query"} & set(axes) else None,
        "keys": position if "key" in axes else None,
        "unit": index(-size, size) if axes[-1].startswith("d_") else None,
    }
    optional = {name: strategy for name, strategy in possible.items() if strategy is not None}
    return st.fixed_dictionaries({}, optional=optional)
