from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from neoscope.errors import ProbeError
from probes.structural.trees import (
    root_paths,
    stacked_root_paths,
    tree_depths,
    tree_distances,
    tree_edges,
)


@st.composite
def trees(draw: st.DrawFn) -> list[int]:
    """Heads of a random tree whose words stand in a random order."""
    n = draw(st.integers(1, 12))
    parent = [0, *(draw(st.integers(0, k - 1)) for k in range(1, n))]
    order = draw(st.permutations(range(n)))
    heads = [0] * n
    for k in range(1, n):
        heads[order[k]] = order[parent[k]] + 1
    return heads


@given(trees())
def test_distances_and_depths_are_shortest_paths(heads: list[int]) -> None:
    n = len(heads)
    graph = np.zeros((n, n))
    for word, head in enumerate(heads):
        if head:
            graph[word, head - 1] = 1
    expected = shortest_path(graph, directed=False, unweighted=True)
    np.testing.assert_array_equal(tree_distances(heads), expected)
    np.testing.assert_array_equal(tree_depths(heads), expected[heads.index(0)])


@given(trees())
def test_root_paths_lie_as_far_apart_as_words(heads: list[int]) -> None:
    paths = root_paths(heads)
    apart = np.abs(paths[:, None] - paths[None]).sum(2)
    np.testing.assert_array_equal(apart, tree_distances(heads))


@given(trees())
def test_edges_are_the_pairs_at_distance_one(heads: list[int]) -> None:
    pairs = np.argwhere(np.triu(tree_distances(heads) == 1))
    assert sorted(map(tuple, tree_edges(heads).tolist())) == sorted(map(tuple, pairs.tolist()))


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ([2, 1], "have none"),
        ([0, 0], r"words \[1, 2\]"),
        ([0, 3, 2], "circle: word 2"),
        ([0, 4], "word 2 has head 4, but the sentence has words 1 to 2"),
        ([], "one a word"),
        ([[0]], "one a word"),
        (["a"], "one a word"),
    ],
)
def test_what_is_no_tree_is_refused(heads: list[int], said: str) -> None:
    with pytest.raises(ProbeError, match=said):
        tree_distances(np.array(heads))


def test_stacked_paths_are_those_of_each_sentence() -> None:
    sentences = [[2, 0, 2], [0], [0, 1, 2, 3]]
    stacked = stacked_root_paths(sentences)
    start = 0
    for heads in sentences:
        rows = stacked[start : start + len(heads)]
        assert rows[:, : len(heads)].tolist() == root_paths(heads).tolist()
        assert not rows[:, len(heads) :].any()
        start += len(heads)
    assert start == len(stacked)
    with pytest.raises(ProbeError, match="sentence 1: "):
        stacked_root_paths([[0], [5]])
