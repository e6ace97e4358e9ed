"""Figures of the structural probes: UUAS, Spearman correlations and the root found.

As Hewitt & Manning (2019) count them. Words of a sentence are rows in order, heads count from 1
within the sentence, and 0 is the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, Real
from numpy.typing import NDArray
from scipy.stats import rankdata

from neoscope.errors import ProbeError
from probes.structural.trees import tree_depths, tree_distances, tree_edges

if TYPE_CHECKING:
    from probes.structural.estimators import DepthProbe, DistanceProbe

Array = NDArray[Any]


def uuas(
    probe: DistanceProbe, X: Any, heads: Any, groups: Any = None, *, mask: Any = None
) -> float:
    """Return the undirected unlabelled attachment score: the share of a tree's edges found.

    The edges found are the minimum spanning tree of the predicted distances. The share is of all
    edges of all sentences.

    Args:
        probe: A fitted `DistanceProbe`.
        X: [rows, features].
        heads: [rows], each word's head.
        groups: The sentence of each row; None makes all rows one sentence.
        mask: [rows], False for words that are left out with their edges: punctuation, in the
            paper. None counts all words.

    Raises:
        ProbeError: Lengths do not agree, a sentence is no tree, or no edge is left.
    """
    found = total = 0
    kept = _mask(mask, len(np.asarray(heads)))
    distances = probe.distances(X, groups)
    for (rows, tree), predicted in zip(_sentences(heads, groups, len(X)), distances, strict=True):
        words = np.flatnonzero(kept[rows])
        edges = {(i, j) for i, j in tree_edges(tree).tolist() if kept[rows[i]] and kept[rows[j]]}
        spanning = words[spanning_tree(predicted[np.ix_(words, words)])]
        found += len(edges & set(map(tuple, spanning.tolist())))
        total += len(edges)
    if not total:
        raise ProbeError("no sentence holds an edge between two words that count")
    return found / total


def distance_spearman(
    probe: DistanceProbe,
    X: Any,
    heads: Any,
    groups: Any = None,
    *,
    lengths: tuple[int, int] = (5, 50),
) -> float:
    """Return DSpr: Spearman's correlation of predicted and true distances.

    Of each word with all words of its sentence; the mean over words of a sentence, over sentences
    of one length, then over lengths. Whole numbers tie in a tree and hardly ever in a prediction,
    so that even nearly perfect distances stay below 1.

    Args:
        probe: A fitted `DistanceProbe`.
        X: [rows, features].
        heads: [rows], each word's head.
        groups: The sentence of each row; None makes all rows one sentence.
        lengths: Words of the shortest and of the longest sentence that counts.

    Raises:
        ProbeError: Lengths do not agree, a sentence is no tree, or none has such a length.
    """
    distances = probe.distances(X, groups)
    scores: dict[int, list[float]] = {}
    for (rows, tree), predicted in zip(_sentences(heads, groups, len(X)), distances, strict=True):
        if lengths[0] <= len(rows) <= lengths[1]:
            each = _spearman(predicted, tree_distances(tree))
            scores.setdefault(len(rows), []).append(float(each.mean()))
    return _over_lengths(scores, lengths)


def depth_spearman(
    probe: DepthProbe,
    X: Any,
    heads: Any,
    groups: Any = None,
    *,
    lengths: tuple[int, int] = (5, 50),
) -> float:
    """Return NSpr: Spearman's correlation of predicted and true depths of a sentence's words.

    The mean over sentences of one length, then over lengths.

    Args:
        probe: A fitted `DepthProbe`.
        X: [rows, features].
        heads: [rows], each word's head.
        groups: The sentence of each row; None makes all rows one sentence.
        lengths: Words of the shortest and of the longest sentence that counts.

    Raises:
        ProbeError: Lengths do not agree, a sentence is no tree, or none has such a length.
    """
    predicted = probe.predict(X)
    scores: dict[int, list[float]] = {}
    for rows, tree in _sentences(heads, groups, len(predicted)):
        if lengths[0] <= len(rows) <= lengths[1]:
            each = _spearman(predicted[rows][None], tree_depths(tree)[None])
            scores.setdefault(len(rows), []).append(float(each[0]))
    return _over_lengths(scores, lengths)


def root_accuracy(
    probe: DepthProbe, X: Any, heads: Any, groups: Any = None, *, mask: Any = None
) -> float:
    """Return the share of sentences whose root is the word with the smallest predicted depth.

    Args:
        probe: A fitted `DepthProbe`.
        X: [rows, features].
        heads: [rows], each word's head.
        groups: The sentence of each row; None makes all rows one sentence.
        mask: [rows], False for words that are not taken for a root: punctuation, in the paper.

    Raises:
        ProbeError: Lengths do not agree, or a sentence is no tree.
    """
    predicted = np.where(_mask(mask, len(np.asarray(heads))), probe.predict(X), np.inf)
    right = [
        tree_depths(tree)[predicted[rows].argmin()] == 0
        for rows, tree in _sentences(heads, groups, len(predicted))
    ]
    return float(np.mean(right))


def spanning_tree(distances: Real[np.ndarray, "words words"]) -> Int[np.ndarray, "edges 2"]:
    """Return the edges of a minimum spanning tree (Prim), the lower number of each first.

    Args:
        distances: Symmetric. A distance of zero is an edge like another.
    """
    n = len(distances)
    if n < 2:
        return np.zeros((0, 2), np.int64)
    nearest, near = np.zeros(n, np.int64), distances[0].astype(np.float64)
    outside = np.arange(n) > 0
    edges = []
    for _ in range(n - 1):
        word = int(np.where(outside, near, np.inf).argmin())
        edges.append(sorted((word, int(nearest[word]))))
        outside[word] = False
        closer = outside & (distances[word] < near)
        near[closer], nearest[closer] = distances[word][closer], word
    return np.array(edges, np.int64)


def _sentences(heads: Any, groups: Any, n_rows: int) -> Iterator[tuple[Array, Array]]:
    """Yield the rows and the heads of each sentence, by their first row."""
    from probes.structural.fitting import rows_of_groups

    heads = np.asarray(heads)
    if heads.shape != (n_rows,):
        raise ProbeError(f"heads has shape {heads.shape}; expected ({n_rows},), one a row of X")
    for rows in rows_of_groups(groups, n_rows):
        yield rows, heads[rows]


def _mask(mask: Any, n_rows: int) -> Array:
    if mask is None:
        return np.ones(n_rows, bool)
    mask = np.asarray(mask)
    if mask.shape != (n_rows,) or mask.dtype != bool:
        raise ProbeError(
            f"mask has shape {mask.shape} and type {mask.dtype}; expected ({n_rows},) of bool, "
            "True where a word counts"
        )
    return np.asarray(mask)


def _spearman(predicted: Array, true: Array) -> Array:
    """Return the correlation of each row's ranks; 0 for a row of equal numbers."""
    a, b = rankdata(predicted, axis=1), rankdata(true, axis=1)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.asarray((a * b).sum(1) / np.where(size > 0, size, 1))


def _over_lengths(scores: dict[int, list[float]], lengths: tuple[int, int]) -> float:
    if not scores:
        raise ProbeError(f"no sentence has {lengths[0]} to {lengths[1]} words")
    return float(np.mean([np.mean(these) for these in scores.values()]))
