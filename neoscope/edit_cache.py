"""A site of a cache, brought into a run: text by text and token by token, whatever the padding."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.config import NeoConfig
from neoscope.edit_region import Region
from neoscope.errors import EditError
from neoscope.visibility import Visibility, along


def part_from_cache(
    cache: ActivationCache, region: Region, whole: Tensor, visibility: Visibility, config: NeoConfig
) -> Tensor:
    """Return what the cache holds for a region, in the shape of the selected part.

    Row goes to row (one row serves all), and position to position of the text: -1 is the last token
    of each, and padding never lands on a token. A cache without tokens goes column to column.

    Args:
        cache: With the site, of a model of this shape.
        region: The part that is edited.
        whole: The site's tensor in the run.
        visibility: The run's.
        config: The run's model.

    Raises:
        EditError: Another model's shape, another number of rows, texts of other lengths, or
            positions that the cache does not hold.
    """
    name, axes = region.ref.name, region.ref.kind.axes
    if cache.config != config:
        raise EditError(f"replace at {name!r}: the cache comes from a model of another shape")
    source = cache[name].to(whole.device, whole.dtype)
    source = source if cache.has_batch_dim else source[None]
    if source.shape[0] not in (1, whole.shape[0]):
        raise EditError(
            f"replace at {name!r}: the cache has {source.shape[0]} rows, the run {whole.shape[0]}; "
            "cache.rows([0, 0, ...]) repeats a row"
        )
    source = source.expand(whole.shape[0], *source.shape[1:])
    if cache.tokens is None and cache.positions is None and source.shape == whole.shape:
        return region.read(source, visibility)
    theirs = _visibility(cache, source, axes)
    if "key" in axes and (theirs.n_key != visibility.n_key or not _same_mask(theirs, visibility)):
        raise EditError(
            f"replace at {name!r}: attention of other texts fits only if tokens and padding stand "
            f"in the same columns; the cache has {theirs.n_key}, the run {visibility.n_key}"
        )
    index = _columns(cache, region, theirs, visibility, name)
    axis = axes.index("query" if "query" in axes else "pos")
    picked = source.gather(axis, along(index, source, axis))
    if region.positions is None and visibility.mask is not None:
        real = visibility.mask[:, visibility.n_past :]
        if not _same_mask(theirs, visibility):  # padding keeps what it has
            picked = torch.where(along(real, whole, axis), picked, whole)
    return dataclasses.replace(region, positions=None).read(picked, visibility)


def _visibility(cache: ActivationCache, source: Tensor, axes: tuple[str, ...]) -> Visibility:
    tokens = cache.tokens
    if tokens is None:
        columns = source.shape[axes.index("query" if "query" in axes else "pos")]
        return Visibility(source.shape[0], columns, source.device)
    columns = tokens.ids.shape[1]
    mask = tokens.mask.to(source.device).expand(source.shape[0], -1)
    return Visibility(source.shape[0], columns, source.device, mask=mask)


def _same_mask(one: Visibility, other: Visibility) -> bool:
    if one.mask is None or other.mask is None:
        return one.mask is other.mask
    return one.mask.shape == other.mask.shape and bool((one.mask == other.mask).all())


def _columns(
    cache: ActivationCache, region: Region, theirs: Visibility, ours: Visibility, name: str
) -> Tensor:
    """The cached column for each row and position of the part."""
    if region.positions is not None:
        wanted = theirs.columns(region.positions)
        assert wanted is not None
    else:
        if theirs.lengths() != ours.lengths():
            raise EditError(
                f"replace at {name!r}: the cached texts have {_said(theirs)} tokens, the run's "
                f"{_said(ours)}; say which positions, e.g. positions=-1"
            )
        position = ours.query_positions()
        if theirs.n_key == ours.n_key and _same_mask(theirs, ours):
            wanted = torch.arange(ours.n_past, ours.n_key, device=ours.device)
            wanted = wanted.expand(ours.batch, -1)
        elif theirs.mask is None:
            wanted = position
        else:
            order = torch.sort((~theirs.mask).to(torch.int8), dim=1, stable=True).indices
            wanted = order.gather(1, position)
    if cache.positions is None:
        return wanted
    kept = theirs.columns(cache.positions)
    assert kept is not None
    same = wanted[:, :, None] == kept[:, None]
    if not bool(same.any(-1).all()):
        raise EditError(
            f"replace at {name!r}: the cache holds positions={cache.positions!r} only; replace "
            "those with positions=, or cache all"
        )
    return same.to(torch.int8).argmax(-1)


def _said(visibility: Visibility) -> str:
    lengths = visibility.lengths()
    return str(lengths[0]) if len(set(lengths)) == 1 else str(lengths)
