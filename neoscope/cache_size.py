"""How many bytes a cache would hold, known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from neoscope.config import NeoConfig
from neoscope.sites import select


def estimate_nbytes(
    config: NeoConfig,
    batch: int,
    pos: int,
    sites: str | Sequence[str] | None = None,
    layers: int | Sequence[int] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    switches: frozenset[str] = frozenset(),
) -> int:
    """Return the bytes that a cache of these sites would hold, before running anything.

    Storages that two names share (``resid_post`` of a layer, ``resid_pre`` of the next) count once.

    Args:
        config: The model's shape.
        batch: Rows.
        pos: Columns.
        sites: As for ``run_with_cache``.
        layers: As for ``run_with_cache``.
        dtype: What the model computes in.
        switches: The ``cfg`` switches that are on.

    Example:
        >>> estimate_nbytes(NeoConfig(), 1, 15, "resid_post") == 12 * 15 * 768 * 4
        True
    """
    refs = select(config, sites, layers, switches=switches)
    names = {ref.name for ref in refs}
    total = 0
    for ref in refs:
        before = f"blocks.{(ref.layer or 0) - 1}.hook_resid_post"
        if ref.kind.short == "resid_pre" and before in names:
            continue
        # A position embedding is a view of the weights; per-head inputs are views of the stream.
        if ref.kind.short in ("pos_embed", "attn_in", "q_input", "k_input", "v_input"):
            rows = 1 if ref.kind.short == "pos_embed" else batch
            total += rows * pos * config.d_model * dtype.itemsize
            continue
        wide = ref.kind.short == "attn_scores" or ref.kind.short.endswith("scale")
        total += ref.numel(config, batch, pos) * (4 if wide else dtype.itemsize)
    return total
