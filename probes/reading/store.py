"""Features of a store, read a place at a time, as data for probes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.errors import ProbeError, nearest
from probes.data.columns import Column
from probes.data.labels import as_list, repeatable
from probes.data.picking import pick_places
from probes.data.places import Place, Source
from probes.reading.extraction import OPTIONS, same_text_groups, stored_matrix
from probes.reading.names import read_name, split_heads
from probes.reading.tables import path_of
from probes.reading.texts import last_words

if TYPE_CHECKING:
    from probes.data.dataset import ProbeData


def read_store(
    store: Any,
    labels: Any,
    *,
    site: str | Sequence[str] | None = None,
    layers: Any = "all",
    heads: int | None = None,
    pool: str | None = None,
    groups: Any = None,
    types: Any = None,
    label: str | None = None,
    kind: str | None = None,
    random_twin: Any = None,
) -> ProbeData:
    """Return data of a store; see :meth:`ProbeData.from_store`.

    Args:
        store: The store, or its folder.
        labels: A column, or one label a row.
        site: Which sites; None for all but embeddings.
        layers: Which layers.
        heads: How many heads sites of heads have.
        pool: Which pooling.
        groups: A column, or one value a row.
        types: A column, or one value a row.
        label: What labels say.
        kind: What labels are.
        random_twin: The store that a random model made of the same rows, or its folder.

    Raises:
        ProbeError: The store has no such site, layer, pooling or column, or its twin is none.
    """
    from neoscope.store import FeatureStore
    from probes.data.dataset import ProbeData

    if path_of(store):
        store = FeatureStore.open(store)
    names, pool = _places(store, pool)
    embeddings = names.get(Place("embed"))
    if site is None and len(names) > 1:
        names.pop(Place("embed"), None)
    try:
        chosen = pick_places(list(names), site, layers)
    except ProbeError as error:
        raise ProbeError(f"{store.path}: {error}") from None
    columns = {place: _lazy(store, names[place]) for place in chosen}
    named = isinstance(labels, str)
    labels, groups, types = repeatable(labels), repeatable(groups), repeatable(types)
    if not hasattr(labels, "__len__"):
        labels = as_list(labels, "labels")
    if not named and len(labels) != len(store):
        raise ProbeError(f"{len(labels)} labels for the {len(store)} rows of {store.path}")
    groups, types, words, type_name = _rows(store, groups, types)
    if random_twin is not None:
        # What rows are, and not what they are labelled, must be the same.
        numbers = np.arange(len(store)) / 2
        random_twin = _twin(
            random_twin, words, numbers, site=site, layers=layers, heads=heads, pool=pool
        )
    return ProbeData(
        columns if heads is None else split_heads(columns, heads),
        _column(store, labels, "labels") if named else labels,
        groups,
        kind=kind,
        types=types,
        type_name=type_name,
        words=words,
        label=label or (labels if named else None),
        source=_source(store, pool),
        baselines={} if embeddings is None else {"embeddings": _lazy(store, embeddings)},
        random_twin=random_twin,
    )


def _twin(store: Any, words: Any, labels: Any, **where: Any) -> ProbeData:
    """Return the data of another store of the same rows."""
    from neoscope.store import FeatureStore

    store = FeatureStore.open(store) if path_of(store) else store
    if len(store) != len(labels):
        raise ProbeError(
            f"random_twin has {len(store)} rows, and the data have {len(labels)}: both stores must "
            "be of the same rows"
        )
    try:
        twin = read_store(store, labels, **where)
    except ProbeError as error:
        raise ProbeError(f"random_twin: {error}") from None
    if words is not None and twin.words is not None:
        different = np.flatnonzero(twin.words != np.asarray(words))
        if len(different):
            row = int(different[0])
            raise ProbeError(
                f"random_twin: row {row} is {twin.words[row]!r:.60}, and the data's is "
                f"{words[row]!r:.60}: both stores must be of the same rows"
            )
    return twin


def _places(store: Any, pool: str | None) -> tuple[dict[Place, str], str | None]:
    """Return the columns of one pooling, by place."""
    read = {name: read_name(name) for name in store.features}
    pools = list(dict.fromkeys(found for _, found in read.values()))
    said = ", ".join(map(str, pools))
    if not pools:
        raise ProbeError(f"{store.path} holds no features")
    if pool is None and len(pools) > 1:
        raise ProbeError(f"{store.path} has features of several poolings: choose pool= of {said}")
    if pool is not None and pool not in pools:
        raise ProbeError(
            f"{store.path} has no features of pool={pool!r}"
            f"{nearest(pool, [str(one) for one in pools])}; it has {said}"
        )
    pool = pools[0] if pool is None else pool
    return {place: name for name, (place, found) in read.items() if found == pool}, pool


def _lazy(store: Any, name: str) -> Column:
    return Column(partial(stored_matrix, store, name))


def _rows(store: Any, groups: Any, types: Any) -> tuple[Any, Any, Any, str]:
    """Return groups, types, words, and what types are."""
    tokens = "token_index" in store.columns
    words_column = "token" if tokens else "text"
    words = _column(store, words_column, "words") if words_column in store.columns else None
    if isinstance(groups, str):
        groups = _column(store, groups, "groups")
    elif groups is None and tokens:
        groups = _column(store, store.columns[0], "groups")
    elif groups is None and words is not None:
        groups = same_text_groups([str(word) for word in words])
    if isinstance(types, str):
        return groups, _column(store, types, "types"), words, types
    if types is not None or words is None:
        return groups, types, words, "type"
    if tokens:
        return groups, [str(word).strip() for word in words], words, "token"
    return groups, last_words([str(word) for word in words]), words, "last word"


def _column(store: Any, name: str, what: str) -> Any:
    known = [one for one in store.columns if one not in store.features]
    if name not in store.columns:
        raise ProbeError(
            f"{what}={name!r}: {store.path} has no such column{nearest(name, known)}; it has "
            f"{', '.join(known)}"
        )
    if name in store.features:
        return np.asarray(store.to_numpy(name))
    return store.to_arrow([name])[name].to_pylist()


def _source(store: Any, pool: str | None) -> Source:
    identity, about = store.manifest["identity"], store.manifest["about"]
    spec = identity.get("spec") or {}
    more = {name: spec[name] for name in OPTIONS[:5] if name in spec}
    if spec.get("positions") is not None:
        more["positions"] = spec["positions"]
    pool = "token" if pool is None and spec else pool
    return Source(identity.get("model"), about.get("model"), pool, more)
