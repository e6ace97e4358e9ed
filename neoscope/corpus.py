"""Caching many texts: batch by batch into one cache, with progress and a size known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neoscope.cache import ActivationCache
from neoscope.errors import CacheError
from neoscope.indices import Positions
from neoscope.model import HookedGPTNeo
from neoscope.running import Span
from neoscope.sites import SiteRef
from neoscope.tokens import Tokens


def cached_sites(
    model: HookedGPTNeo, sites: Sequence[str] | None, layers: Sequence[int] | None
) -> tuple[SiteRef, ...]:
    """Return the sites that a request means for this model.

    Raises:
        SiteError: A site or layer does not exist.
    """
    return model._wanted(sites, layers, None, Span())


def corpus_nbytes(
    model: HookedGPTNeo, tokens: Tokens, refs: Sequence[SiteRef], positions: Positions = None
) -> int:
    """Return the bytes of the tensors that :func:`cache_texts` will hold, aliases counted once."""
    sizes = (_shape(model, tokens, ref, positions) for ref in refs if _alias(ref, refs) is None)
    return sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in sizes)


def cache_texts(
    model: HookedGPTNeo,
    tokens: Tokens,
    *,
    sites: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    positions: Positions = None,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> ActivationCache:
    """Cache sites of a whole tokenized corpus, a few rows at a time, under ``no_grad``.

    Rows stand in their order; what lies beyond a text's end is zero (scores of keys there are
    -inf, as of all keys that nothing sees), so that how texts are batched shows nowhere.

    Args:
        model: The model.
        tokens: From ``model.tokenize(texts)``.
        sites: As for ``run_with_cache``.
        layers: As for ``run_with_cache``.
        positions: As for ``run_with_cache``.
        batch_tokens: Most tokens run at once.
        progress: Called with the number of rows done.

    Raises:
        SiteError: A site, layer or position does not exist.
        CacheError: The memory for the result cannot be had.
    """
    refs = cached_sites(model, sites, layers)
    out: dict[str, Tensor] = {}
    try:
        for ref in refs:
            shape, dtype = _shape(model, tokens, ref, positions)
            alias = _alias(ref, refs)
            out[ref.name] = out[alias] if alias else torch.zeros(shape, dtype=dtype)
            if ref.kind.short == "attn_scores":
                out[ref.name].fill_(float("-inf"))
    except RuntimeError as error:
        raise CacheError(
            "not enough memory for this cache; choose fewer sites, layers or positions"
        ) from error
    names = [ref.name for ref in refs]
    lengths = tokens.lengths
    done = 0
    while done < len(lengths):
        stop = done + 1
        while (
            stop < len(lengths)
            and max(lengths[done : stop + 1]) * (stop + 1 - done) <= batch_tokens
        ):
            stop += 1
        _fill(model, tokens, slice(done, stop), names, positions, out)
        done = stop
        if progress is not None:
            progress(done)
    return ActivationCache(out, model.config, tokens=tokens, positions=positions, model=model)


def _fill(
    model: HookedGPTNeo,
    tokens: Tokens,
    rows: slice,
    names: Sequence[str],
    positions: Positions,
    out: dict[str, Tensor],
) -> None:
    part = tokens.rows(rows)
    real = part.mask.any(0).nonzero().flatten().tolist()
    cut = slice(real[0], real[-1] + 1) if real else slice(None)
    if isinstance(positions, Tensor) and positions.ndim == 2:
        positions = positions[rows]
    with torch.no_grad():
        _, cache = model.run_with_cache(
            part.ids[:, cut], part.mask[:, cut], sites=names, positions=positions, return_type=None
        )
    for name, x in cache.items():
        place: list[slice] = [rows]
        for axis, size in zip(cache.axes(name)[1:], x.shape[1:], strict=True):
            whole = axis == "key" or (axis in ("pos", "query") and positions is None)
            place.append(cut if whole else slice(0, size))
        out[name][tuple(place)] = x.to("cpu")
        if positions is None:
            into = out[name][rows]
            (into.transpose(1, 2) if "query" in cache.axes(name) else into)[~part.mask] = 0


def _shape(
    model: HookedGPTNeo, tokens: Tokens, ref: SiteRef, positions: Positions
) -> tuple[tuple[int, ...], torch.dtype]:
    rows, columns = tokens.ids.shape
    n = columns
    if positions is not None:
        from neoscope.visibility import Visibility

        picked = Visibility(rows, columns, tokens.ids.device, mask=tokens.mask).columns(positions)
        assert picked is not None
        n = picked.shape[1]
    wide = ref.kind.short == "attn_scores" or ref.kind.short.endswith("scale")
    return ref.shape(model.config, rows, n, columns), torch.float32 if wide else model.dtype


def _alias(ref: SiteRef, refs: Sequence[SiteRef]) -> str | None:
    """The ``resid_post`` of the layer below, which is the same tensor, if it is cached too."""
    if ref.kind.short != "resid_pre" or not ref.layer:
        return None
    below = f"blocks.{ref.layer - 1}.hook_resid_post"
    return below if any(other.name == below for other in refs) else None
