"""How many bytes a cache would hold, known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from neoscope.config import NeoConfig
from neoscope.sites import SiteRef, select


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
    Position embeddings of a padded batch differ from row to row; here they count as one row.

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
    split = switches & {"use_split_qkv_input", "use_attn_in"}
    drop = ("ln1.scale", "ln1.normalized") if split else ()
    held: dict[str, int] = {}
    for ref in select(config, sites, layers, switches=switches, drop=drop):
        short = ref.kind.short
        wide = short == "attn_scores" or short.endswith("scale")
        numel = ref.numel(config, batch, pos)
        if short == "pos_embed":
            numel //= batch  # every row is the same
        elif short in _PER_HEAD:
            numel //= config.n_heads  # every head sees the same
        held[_storage(ref)] = numel * (4 if wide else dtype.itemsize)
    return sum(held.values())


_PER_HEAD = ("attn_in", "q_input", "k_input", "v_input")


def _storage(ref: SiteRef) -> str:
    """Return a name that sites share if they are the same memory."""
    layer = ref.layer or 0
    if ref.kind.short in ("resid_pre", *_PER_HEAD):
        return f"stream {layer}"
    if ref.kind.short == "resid_post":
        return f"stream {layer + 1}"
    return f"middle {layer}" if ref.kind.short in ("resid_mid", "mlp_in") else ref.name
