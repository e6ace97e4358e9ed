"""Dependency trees as arrays: depths, distances, root paths and edges, out of heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from neoscope.errors import ProbeError

Heads = Sequence[int] | NDArray[Any]


def root_paths(heads: Heads) -> Int[np.ndarray, "words words"]:
    """Return which words stand on the path from the root to each word, itself included.

    The L1 distance of two rows is the distance of the two words in the tree, and the sum of a row
    is the word's depth plus 1.

    Args:
        heads: The head of each word of one sentence, counted from 1 as CoNLL-U does; 0 is the root.

    Returns:
        0 and 1; a row is a word, a column a word on its path.

    Raises:
        ProbeError: A head that does not exist, no root or several, or a circle.

    Example:
        >>> root_paths([2, 0, 2]).tolist()
        [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    """
    parent = _parents(heads)
    n = len(parent)
    paths = np.zeros((n, n), np.int64)
    at = np.arange(n)
    words = np.arange(n)
    # All words climb one edge at a time, so that a step is one assignment.
    for _ in range(n):
        paths[words, at] = 1
        above = parent[at] >= 0
        words, at = words[above], parent[at[above]]
        if not len(words):
            return paths
    raise ProbeError(
        f"heads {_shown(heads)} hold a circle: word {int(words[0]) + 1} never reaches the root"
    )


def stacked_root_paths(sentences: Sequence[Heads]) -> Int[np.ndarray, "words longest"]:
    """Return the root paths of the words of several sentences, one below the other.

    Args:
        sentences: The heads of each.

    Returns:
        As `root_paths`, with zeros on the right of shorter sentences: what ``DistanceProbe`` is
        fitted on, with one group a sentence.

    Raises:
        ProbeError: As `root_paths`, saying in which sentence.

    Example:
        >>> stacked_root_paths([[0], [2, 0]]).tolist()
        [[1, 0], [1, 1], [0, 1]]
    """
    longest = max((len(heads) for heads in sentences), default=0)
    parts = [np.zeros((0, longest), np.int64)]
    for number, heads in enumerate(sentences):
        try:
            paths = root_paths(heads)
        except ProbeError as error:
            raise ProbeError(f"sentence {number}: {error}") from None
        parts.append(np.pad(paths, ((0, 0), (0, longest - len(paths)))))
    return np.concatenate(parts)


def tree_depths(heads: Heads) -> Int[np.ndarray, " words"]:
    """Return how many edges lie between each word and the root, whose depth is 0.

    Args:
        heads: The head of each word of one sentence, counted from 1; 0 is the root.

    Raises:
        ProbeError: A head that does not exist, no root or several, or a circle.

    Example:
        >>> tree_depths([2, 0, 2, 3]).tolist()
        [1, 0, 1, 2]
    """
    depths: NDArray[np.int64] = root_paths(heads).sum(1) - 1
    return depths


def tree_distances(heads: Heads) -> Int[np.ndarray, "words words"]:
    """Return how many edges lie between each two words.

    Args:
        heads: The head of each word of one sentence, counted from 1; 0 is the root.

    Raises:
        ProbeError: A head that does not exist, no root or several, or a circle.

    Example:
        >>> tree_distances([2, 0, 2]).tolist()
        [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    """
    paths = root_paths(heads)
    length = paths.sum(1)
    distances: NDArray[np.int64] = length[:, None] + length[None] - 2 * (paths @ paths.T)
    return distances


def tree_edges(heads: Heads) -> Int[np.ndarray, "edges 2"]:
    """Return the edges between words, counted from 0, the lower number first: UUAS's gold edges.

    Args:
        heads: The head of each word of one sentence, counted from 1; 0 is the root.

    Raises:
        ProbeError: A head that does not exist, or no root or several.

    Example:
        >>> tree_edges([2, 0, 2]).tolist()
        [[0, 1], [1, 2]]
    """
    parent = _parents(heads)
    child = np.flatnonzero(parent >= 0)
    return np.stack([np.minimum(child, parent[child]), np.maximum(child, parent[child])], 1)


def _parents(heads: Heads) -> NDArray[np.int64]:
    """Return each word's head counted from 0, -1 for the root."""
    given = np.asarray(heads)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise ProbeError(
            f"heads are whole numbers, one a word of one sentence; found {_shown(heads)}"
        )
    parent: NDArray[np.int64] = given.astype(np.int64) - 1
    outside = np.flatnonzero((parent < -1) | (parent >= len(parent)))
    if len(outside):
        word = int(outside[0])
        raise ProbeError(
            f"word {word + 1} has head {int(given[word])}, but the sentence has words 1 to "
            f"{len(parent)} (and 0 for the root)"
        )
    roots = np.flatnonzero(parent < 0)
    if len(roots) != 1:
        said = f"words {(roots + 1).tolist()}" if len(roots) else "none"
        raise ProbeError(f"a tree has one root (head 0); heads {_shown(heads)} have {said}")
    return parent


def _shown(heads: object) -> str:
    said = str(heads.tolist() if isinstance(heads, np.ndarray) else heads)
    return said if len(said) <= 80 else said[:77] + "..."
