"""From what a sweep is given to ProbeData."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from neoscope.errors import ProbeError, nearest
from probes.data.dataset import ProbeData
from probes.reading.extraction import OPTIONS


def read_source(
    source: Any,
    labels: Any,
    texts: Any,
    sites: Any,
    layers: Any,
    heads: Any,
    reading: Mapping[str, Any],
) -> ProbeData:
    """Return the data of a sweep.

    Args:
        source: ProbeData, a store of features or its folder, or a model.
        labels: For a store or a model.
        texts: For a model.
        sites: None for all, of a model ``resid_post``.
        layers: None for all.
        heads: Which heads; True for all, None for none (of ProbeData: for all that there are).
        reading: Further options of ``ProbeData.from_store`` or ``from_texts``.

    Raises:
        ProbeError: Something is missing, given twice, or unknown.
    """
    _check_names(reading)
    if isinstance(source, ProbeData):
        given = {"labels": labels, "texts": texts, **reading}
        if extra := [name for name, value in given.items() if value is not None]:
            raise ProbeError(f"ProbeData has its own {', '.join(extra)}; give them when it is made")
        if sites is None and layers is None and heads is None:
            return source
        return source.select(sites, layers, heads)
    named = {"site": sites, "layers": layers}
    chosen = {name: value for name, value in named.items() if value is not None}
    if isinstance(source, str | os.PathLike):
        from neoscope.store import FeatureStore

        source = FeatureStore.open(source)
    if hasattr(source, "to_numpy") and hasattr(source, "features"):
        if labels is None:
            raise ProbeError("labels= is missing: the store's column, or one label a row")
        if heads is not None:
            raise ProbeError(
                "a store does not say how many heads there are: make "
                "ProbeData.from_store(store, labels, heads=...) and sweep that"
            )
        return ProbeData.from_store(source, labels, **chosen, **reading)
    if not hasattr(source, "run_with_cache"):
        raise ProbeError(
            f"a sweep reads ProbeData, a FeatureStore or a model, not {type(source).__name__}"
        )
    if texts is None or labels is None:
        raise ProbeError("a model wants texts= and labels=, one label a text")
    by_head = heads is not None and heads is not False
    data = ProbeData.from_texts(source, texts, labels, **chosen, heads=by_head, **reading)
    return data.select(heads=heads) if by_head and heads is not True else data


def _check_names(reading: Mapping[str, Any]) -> None:
    """Refuse what neither a sweep nor a reader of data takes."""
    from probes.sweeping.running import sweep

    # What a sweep itself takes never stands in ``reading``, but may have been meant.
    takers = (sweep, ProbeData.from_texts, ProbeData.from_store)
    known = {name for taker in takers for name in inspect.signature(taker).parameters}
    known = (known | set(OPTIONS)) - {"reading", "options"}
    for name in reading:
        if name not in known:
            raise ProbeError(f"there is no option {name!r}{nearest(name, sorted(known))}")
