"""Pooling as sparse sums: which token counts how much in which pooled row, before anything runs.

Every pooling but ``max`` is linear in the token vectors, so that windows of one text, wherever they
are run, simply add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoscope.export.derived import Defined
from neoscope.export.encoding import Encoded
from neoscope.export.spec import Feature, FeatureSpec, Pool
from neoscope.indices import whole


@dataclass(frozen=True)
class Weights:
    """Entries of a sparse matrix [slots, tokens], sorted by text."""

    slot: NDArray[np.int64]
    token: NDArray[np.int64]
    """Counted over all texts."""
    weight: NDArray[np.float32]
    first: NDArray[np.int64]
    """[texts + 1]: where each text's entries begin."""
    n_slots: int
    linear: bool = True
    """False for ``max``, whose entries only say which tokens take part."""

    @property
    def single(self) -> bool:
        """Whether every slot takes one token as it is."""
        return self.linear and len(self.slot) <= self.n_slots and bool((self.weight == 1).all())

    def filled(self) -> NDArray[np.bool_]:
        """[slots]: which have any token."""
        out = np.zeros(self.n_slots, bool)
        out[self.slot] = True
        return out


def selected(encoded: Encoded, spec: FeatureSpec) -> NDArray[np.bool_]:
    """Return [tokens]: which of them ``positions`` selects."""
    position = encoded.position
    if spec.positions is None or spec.column is not None:
        return np.ones(len(position), bool)
    if isinstance(spec.positions, slice):
        keep = np.zeros(len(position), bool)
        for start, stop in pairwise(encoded.first.tolist()):
            keep[start:stop][spec.positions] = True
        return keep
    from_back = position - encoded.lengths[encoded.text]
    return np.isin(position, spec.positions) | np.isin(from_back, spec.positions)


def defined_tokens(encoded: Encoded, defined: Defined) -> NDArray[np.bool_]:
    """Return [tokens]: which of them have a quantity."""
    if defined == "not_first":
        return encoded.position > 0
    if defined == "not_last":
        return encoded.position < encoded.lengths[encoded.text] - 1
    return np.ones(len(encoded.ids), bool)


def all_weights(
    features: Sequence[Feature], encoded: Encoded, spec: FeatureSpec
) -> Mapping[str, Weights | None]:
    """Return how each feature is pooled; features that are pooled alike share their weights.

    Args:
        features: The columns; None is returned for those of ``pool="none"``.
        encoded: The texts.
        spec: Which of their tokens are pooled.
    """
    keep = selected(encoded, spec)
    made: dict[tuple[str, str], Weights] = {}
    weights: dict[str, Weights | None] = {}
    for feature in features:
        key = (feature.pool, feature.defined)
        if feature.pool != "none" and key not in made:
            made[key] = pool_weights(encoded, keep, feature.pool, feature.defined)
        weights[feature.name] = made.get(key)
    return weights


def pool_weights(
    encoded: Encoded, keep: NDArray[np.bool_], pool: Pool, defined: Defined
) -> Weights:
    """Return how the pooled rows are made of tokens.

    Args:
        encoded: The texts.
        keep: [tokens]: from :func:`selected`.
        pool: How they are pooled; not ``none``.
        defined: Which tokens have the quantity that is pooled.
    """
    text, position = encoded.text, encoded.position
    keep = keep & defined_tokens(encoded, defined)
    if pool == "token":
        return _tokens(encoded, keep)
    if pool == "spans":
        return _spans(encoded, keep)
    token = np.flatnonzero(keep)
    rows = text[token]
    if pool in ("last", "first"):
        edge = np.ones(len(rows), bool)
        changes = rows[1:] != rows[:-1]
        if pool == "last":
            edge[:-1] = changes
        else:
            edge[1:] = changes
        token, rows = token[edge], rows[edge]
    weight: NDArray[Any] = np.ones(len(token))
    if pool == "weighted_mean":
        weight = position[token] + 1.0
    if pool in ("mean", "weighted_mean"):
        total = np.bincount(rows, weight, minlength=encoded.n_texts)
        weight = weight / total[rows]
    return _weights(rows, token, weight, rows, encoded.n_texts, encoded.n_texts, pool != "max")


def _tokens(encoded: Encoded, keep: NDArray[np.bool_]) -> Weights:
    assert encoded.places is not None
    named = [(i, n) for i, at in enumerate(encoded.places.token) if (n := whole(at)) is not None]
    rows = np.array([i for i, _ in named], np.int64)
    token = encoded.first[rows] + np.array([n for _, n in named], np.int64)
    has = keep[token]
    rows, token = rows[has], token[has]
    return _weights(rows, token, np.ones(len(rows)), rows, encoded.n_texts, encoded.n_texts)


def _spans(encoded: Encoded, keep: NDArray[np.bool_]) -> Weights:
    assert encoded.places is not None
    slots: list[int] = []
    tokens: list[int] = []
    weights: list[float] = []
    rows: list[int] = []
    slot = 0
    for text, spans in enumerate(encoded.places.spans):
        for start, stop in spans:
            inside = _kept(range(start, stop), int(encoded.first[text]), keep)
            slots += [slot] * len(inside)
            tokens += inside
            weights += [1 / len(inside) for _ in inside]
            rows += [text] * len(inside)
            slot += 1
    arrays = (np.array(slots, np.int64), np.array(tokens, np.int64), np.array(weights))
    return _weights(*arrays, np.array(rows, np.int64), slot, encoded.n_texts)


def _kept(span: Sequence[int], first: int, keep: NDArray[np.bool_]) -> list[int]:
    return [first + i for i in span if keep[first + i]]


def _weights(
    slot: NDArray[np.int64],
    token: NDArray[np.int64],
    weight: NDArray[np.float64],
    text: NDArray[np.int64],
    n_slots: int,
    n_texts: int,
    linear: bool = True,
) -> Weights:
    first = np.searchsorted(text, np.arange(n_texts + 1)).astype(np.int64)
    return Weights(slot, token, weight.astype(np.float32), first, n_slots, linear)
