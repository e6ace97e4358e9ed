"""FeatureCache: what a process remembers of texts that a Featurizer has read."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.errors import ExportError
from neoscope.export.cutting import warn_of_cut
from neoscope.export.extractor import Extractor
from neoscope.export.features import joined
from neoscope.export.memory import encode_all, row_error, run_all
from neoscope.export.spec import FeatureSpec

GRID_POOLS = ("mean", "weighted_mean", "last", "first", "max")
_LIMIT = 2**30
# Of a row in the cache beside its numbers: an array, a key and their places in two dicts.
_OVERHEAD = 256

Key = tuple[str, bytes]


class FeatureCache:
    """Feature rows by text, the least recently used dropped beyond a number of bytes.

    Threads may share it; processes each have their own.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        """Begin empty.

        Args:
            limit: Most bytes kept.
        """
        self.limit = limit
        self.nbytes = 0
        self.lock = threading.RLock()
        """Held while rows are looked up, computed and kept, so that none is computed twice."""
        self._rows: OrderedDict[Key, dict[str, NDArray[Any]]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._rows)

    def get(self, key: Key) -> Mapping[str, NDArray[Any]] | None:
        """Return the rows of a text by feature, or None if it is not known."""
        if key in self._rows:
            self._rows.move_to_end(key)
        return self._rows.get(key)

    def put(self, key: Key, rows: Mapping[str, NDArray[Any]]) -> None:
        """Keep copies of rows of a text, beside those that it has."""
        kept = self._rows.setdefault(key, {})
        for name, row in rows.items():
            if name not in kept:
                # A view would keep all of the array that it is of.
                kept[name] = row.copy()
                self.nbytes += row.nbytes + _OVERHEAD
        self._rows.move_to_end(key)
        while self.nbytes > self.limit:
            _, dropped = self._rows.popitem(last=False)
            self.nbytes -= sum(row.nbytes + _OVERHEAD for row in dropped.values())

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self._rows.clear()
            self.nbytes = 0


CACHE = FeatureCache()


def compute(
    extractor: Extractor,
    texts: Sequence[str],
    *,
    cached_as: str | None = None,
    progress: bool = False,
) -> NDArray[Any]:
    """Return [texts, numbers]: all features of an extractor, side by side.

    A text that is new costs the features that are asked for. One that is known, but not by these
    features, is expected to be asked for more: all layers and poolings of the site are computed in
    one forward and kept, if they fit, so that a grid over both costs two forwards a text.

    Args:
        extractor: It knows the features, each one row a text.
        texts: The texts.
        cached_as: Says what the model is; None to leave the cache alone.
        progress: Show a bar.

    Raises:
        ExportError: A text cannot be used; names its row.
    """
    width = sum(feature.width or 0 for feature in extractor.features)
    out = np.empty((len(texts), width), extractor.spec.dtype)
    if cached_as is None:
        for rows, columns in _run(extractor, texts, range(len(texts)), progress):
            _write(out, rows, columns, extractor)
        return out
    context = f"{cached_as} {_context(extractor.spec)}"
    with CACHE.lock:
        _through_cache(out, extractor, texts, context, progress)
    return out


def _through_cache(
    out: NDArray[Any], extractor: Extractor, texts: Sequence[str], context: str, progress: bool
) -> None:
    keys = [(context, hashlib.blake2b(text.encode(), digest_size=16).digest()) for text in texts]
    first: dict[Key, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    new, more = [], []
    for key, row in first.items():
        known = CACHE.get(key)
        if known is None:
            new.append(row)
        elif all(feature.name in known for feature in extractor.features):
            _write(out, row, known, extractor)
        else:
            more.append(row)

    def fill(reader: Extractor, wanted: Sequence[int]) -> None:
        for rows, columns in _run(reader, texts, wanted, progress):
            _write(out, rows, columns, extractor)
            for at, row in enumerate(rows):
                CACHE.put(keys[row], {name: values[at] for name, values in columns.items()})

    fill(extractor, new)
    try:
        fill(_grid(extractor, len(more)), more)
    except ExportError:
        # A layer that nobody asked for may hold what float16 cannot.
        fill(extractor, more)
    for row, key in enumerate(keys):
        if first[key] != row:
            out[row] = out[first[key]]


def _grid(extractor: Extractor, n_texts: int) -> Extractor:
    """Return what extracts all layers and poolings of the same sites, if the cache can hold it."""
    spec = replace(extractor.spec, layers=None, pool=GRID_POOLS)
    grid = Extractor(extractor.model, spec, batch_tokens=extractor.batch_tokens)
    size = np.dtype(spec.dtype).itemsize
    nbytes = sum((feature.width or 0) * size + _OVERHEAD for feature in grid.features)
    return grid if n_texts * nbytes <= CACHE.limit else extractor


def _run(
    extractor: Extractor, texts: Sequence[str], rows: Sequence[int], progress: bool
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, NDArray[Any]]]]:
    """Yield the numbers of some rows and their features, chunk after chunk."""
    if not len(rows):
        return
    chunks = encode_all(extractor, [texts[row] for row in rows])
    problems = joined([chunk.problems for chunk in chunks], chunks)
    if problems:
        raise row_error({rows[at]: why for at, why in problems.items()})
    cut = [n for chunk in chunks for n in chunk.cut.values()]
    warn_of_cut(len(cut), sum(cut))
    done = 0
    for values in run_all(extractor, chunks, progress):
        n = values.encoded.n_texts
        yield np.array(rows[done : done + n], np.int64), values.features
        done += n


def _write(
    out: NDArray[Any],
    rows: int | NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
    extractor: Extractor,
) -> None:
    start = 0
    for feature in extractor.features:
        stop = start + (feature.width or 0)
        out[rows, start:stop] = columns[feature.name]
        start = stop


def _context(spec: FeatureSpec) -> str:
    """All that decides a feature's numbers beside its layer, its pooling and the model."""
    record = spec.record()
    return json.dumps({k: v for k, v in record.items() if k not in ("layers", "pool")}, default=str)
