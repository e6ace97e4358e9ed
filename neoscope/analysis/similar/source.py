"""Rows of activations, a block at a time: out of a cache, a store, exported features or arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neoscope.analysis.numbers import Array, as_array, check_numbers, rounding_of
from neoscope.analysis.reading import at, real
from neoscope.analysis.result import counted
from neoscope.cache import ActivationCache
from neoscope.errors import AnalysisError, nearest
from neoscope.indices import listed
from neoscope.sites import select, short_name

Block = dict[str, Array]
BLOCK_ROWS = 4096
MOST_BYTES = 1 << 30
"""Of sums that are held during one pass over the rows."""


@dataclass(frozen=True)
class Source:
    """Columns of vectors with a row a token or a text, which can be read as often as one likes."""

    what: str
    """What errors and headings call it."""
    widths: Mapping[str, int]
    """Numbers a row, by column, in order."""
    n_rows: int
    read: Callable[[Sequence[str], int], Iterator[Block]]
    """Blocks of some columns, of so many rows each, as they come."""
    rounding: Mapping[str, float]
    """What the last digit of each column's numbers is worth, beside the number."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(self.widths)

    def blocks(
        self, names: Sequence[str] | None = None, *, tell: Callable[[int], None] | None = None
    ) -> Iterator[Block]:
        """Yield blocks of columns (None: all) in float64, checked.

        Args:
            names: Which columns.
            tell: Called with the number of rows of each block once it was used.

        Raises:
            AnalysisError: A value is not finite; names its row and column.
        """
        start = 0
        for block in self.read(list(names or self.names), BLOCK_ROWS):
            found = {name: np.asarray(x, np.float64) for name, x in block.items()}
            for name, x in found.items():
                _check_finite(name, x, start)
            n = len(next(iter(found.values())))
            yield found
            start += n
            if tell is not None:
                tell(n)


def open_source(
    source: Any, *, sites: Any = None, layers: Any = None, columns: Any = None
) -> Source:
    """Return what is to be compared, as columns of vectors.

    Args:
        source: An ActivationCache, a FeatureStore, exported Features, a mapping of names to arrays
            [rows, width], or an array [rows, width] or [layer, rows, width].
        sites: Of a cache: which; None for ``resid_post`` if it holds that, or else all that have
            one vector a token.
        layers: Of a cache: which; None for all.
        columns: Of the others: which; None for all that are vectors.

    Raises:
        AnalysisError: It is none of these, holds fewer than two rows, or lacks what is asked for.
    """
    is_cache = isinstance(source, ActivationCache)
    for name, given, fits in (
        ("sites", sites, is_cache),
        ("layers", layers, is_cache),
        ("columns", columns, not is_cache),
    ):
        if given is not None and not fits:
            other = "a store, features and arrays" if is_cache else "a cache"
            raise AnalysisError(f"{name}= selects from {other}; this is {type(source).__name__}")
    if isinstance(source, ActivationCache):
        found = _of_cache(source, sites, layers)
    elif hasattr(source, "iter_batches") and hasattr(source, "features"):
        found = _of_store(source, columns)
    else:
        found = _of_arrays(source, columns)
    if found.n_rows < 2:
        raise AnalysisError(
            f"{found.what} has {found.n_rows} row{'s' * (found.n_rows != 1)}; at least 2 are needed"
        )
    return found


def passes(sizes: Sequence[tuple[Any, int]]) -> list[list[Any]]:
    """Cut what is summed into groups whose sums fit into memory; each is a pass over the rows.

    Args:
        sizes: What is summed, each with the bytes that its sums take.
    """
    groups: list[list[Any]] = [[]]
    held = 0
    for item, size in sizes:
        if groups[-1] and held + size > MOST_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(item)
        held += size
    return groups


def _check_finite(name: str, x: Array, start: int) -> None:
    if np.isfinite(x).all():
        return
    row, column = np.argwhere(~np.isfinite(x))[0].tolist()
    raise AnalysisError(
        f"row {start + row} of {name!r} holds {x[row, column]} (dimension {column}); leave such "
        "rows out: a text without features, for one, is a row of NaN"
    )


def _of_cache(cache: ActivationCache, sites: Any, layers: Any) -> Source:
    keys = _cached(cache, sites, layers)
    first = at(cache, next(iter(keys.values())))
    rows, places = np.nonzero(real(cache, first.shape[1]).numpy())
    widths = {
        name: int(np.prod(cache[key].shape[len(cache.axes(key)) - _trailing(cache, key) :]))
        for name, key in keys.items()
    }

    def read(names: Sequence[str], n: int) -> Iterator[Block]:
        held = {name: at(cache, keys[name]).detach() for name in names}
        for start in range(0, len(rows), n):
            here = slice(start, start + n)
            yield {
                name: x[rows[here], places[here]].flatten(1).double().cpu().numpy()
                for name, x in held.items()
            }

    rounding = {name: torch.finfo(cache[key].dtype).eps for name, key in keys.items()}
    what = f"the cache{_of_whom(cache)} ({counted(len(rows), 'token')})"
    return Source(what, widths, len(rows), read, rounding)


def _of_whom(cache: ActivationCache) -> str:
    """Say which model a cache is of, a path by its last part; nothing where nobody knows."""
    name = (cache.model_name or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f" of {name}" if name else ""


def _trailing(cache: ActivationCache, key: str) -> int:
    return len(cache.axes(key)) - cache.axes(key).index("pos") - 1


def _cached(cache: ActivationCache, sites: Any, layers: Any) -> dict[str, str]:
    """Return the full names of the cached sites that are asked for, by what they are called."""
    held = {}
    for key in cache:
        ref = cache.ref(key)
        vector = "pos" in ref.kind.axes and "one" not in ref.kind.axes and not key.endswith("_grad")
        if vector:
            held[key] = ref
    chosen = None if sites is None else [sites] if isinstance(sites, str) else list(sites)
    if chosen is None and any(ref.kind.short == "resid_post" for ref in held.values()):
        chosen = ["resid_post"]
    if chosen is None:
        chosen = list(dict.fromkeys(ref.kind.short for ref in held.values()))
    for name in chosen:
        select(cache.config, name, switches=_all_switches())  # the error for what is no site
        short = short_name(str(name).removeprefix("hook_"))
        if name not in held and short not in {ref.kind.short for ref in held.values()}:
            known = dict.fromkeys(ref.kind.short for ref in held.values())
            raise AnalysisError(
                f"the cache holds no vectors of {name!r}{nearest(str(name), known)}; it has "
                f"{', '.join(known) or 'none at all'}"
            )
    wanted = {ref.name for ref in select(cache.config, chosen, layers, switches=_all_switches())}
    found = {_called(ref.kind.short, ref.layer): key for key, ref in held.items() if key in wanted}
    if not found:
        raise AnalysisError(f"the cache holds no vectors of {chosen} in layers={layers!r}")
    return found


def _all_switches() -> frozenset[str]:
    from neoscope.run import switch_names

    return switch_names()


def _called(short: str, layer: int | None) -> str:
    return short if layer is None else f"{short}_{layer}"


def _of_store(store: Any, columns: Any) -> Source:
    from neoscope.store.arrays import is_ragged, parse_type, row_shape

    widths: dict[str, int] = {}
    for name in store.features:
        kind = parse_type(store._manifest.feature_type(name))
        shape = () if is_ragged(kind) else row_shape(kind)[0]
        if shape and shape[0] > 1:
            widths[name] = shape[0]
    widths = _chosen(widths, columns, str(store), store.columns)

    kinds = {name: row_shape(parse_type(store._manifest.feature_type(name)))[1] for name in widths}

    def read(names: Sequence[str], n: int) -> Iterator[Block]:
        return iter(store.iter_batches(list(names), batch_size=n))

    rounding = {name: float(np.finfo(kind).eps) for name, kind in kinds.items()}
    return Source(f"the store {store.path}", widths, len(store), read, rounding)


def _of_arrays(source: Any, columns: Any) -> Source:
    given, what = _arrays(source)
    widths = {n: x.shape[1] for n, x in given.items() if x.ndim == 2 and x.shape[1] > 1}
    if columns is None and not widths and given:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in given.items())
        raise AnalysisError(
            f"{what} has no vectors, which are rows of two numbers or more; it has {shapes}"
        )
    widths = _chosen(widths, columns, what, tuple(given))
    for name in widths:
        check_numbers(given[name], f"column {name!r} of {what}" if len(given) > 1 else what)
    lengths = {len(given[name]) for name in widths}
    if len(lengths) > 1:
        raise AnalysisError(
            f"{what} has columns of {' and '.join(f'{n:,}' for n in sorted(lengths))} rows; all "
            "must speak of the same rows"
        )

    def read(names: Sequence[str], n: int) -> Iterator[Block]:
        for start in range(0, max(lengths), n):
            yield {name: as_array(given[name][start : start + n]) for name in names}

    rounding = {name: rounding_of(given[name]) for name in widths}
    return Source(what, widths, max(lengths), read, rounding)


def _arrays(source: Any) -> tuple[dict[str, Any], str]:
    if hasattr(source, "columns") and hasattr(source, "meaning"):
        return dict(source.columns), "the features"
    if isinstance(source, Mapping):
        found = {
            str(name): x if hasattr(x, "ndim") else as_array(x, f"column {name!r}")
            for name, x in source.items()
        }
        return found, "the mapping"
    if getattr(source, "ndim", None) == 2:
        return {"x": source}, "the array"
    if getattr(source, "ndim", None) == 3:
        return {f"layer_{i}": x for i, x in enumerate(source)}, "the array"
    raise AnalysisError(
        f"the source is {type(source).__name__}; expected a cache, a FeatureStore, Features, a "
        "mapping of names to arrays [rows, width], or an array [rows, width] or [layer, rows, "
        "width]"
    )


def _chosen(
    widths: dict[str, int], columns: Any, what: str, known: Sequence[str]
) -> dict[str, int]:
    names = list(widths) if columns is None else [str(name) for name in listed(columns)]
    for name in names:
        if name not in known:
            raise AnalysisError(
                f"no column {name!r} in {what}{nearest(name, known)}; its vectors are "
                f"{', '.join(widths) or 'none'}"
            )
        if name not in widths:
            raise AnalysisError(
                f"column {name!r} of {what} holds no vectors of one width; those that do are "
                f"{', '.join(widths) or 'none'}"
            )
    if not names:
        raise AnalysisError(
            f"{what} has no columns of vectors; it has {', '.join(known) or 'none'}"
        )
    return {name: widths[name] for name in names}
