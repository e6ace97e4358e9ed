"""The streamed top k and histogram equal what one finds with everything at hand, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neoscope.analysis.neuron.extremes import Extremes
from neoscope.analysis.neuron.spread import MOST_BINS, Spread

# Few values, so that ties are everywhere; negative zero is the same as zero.
TIED = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 60), st.integers(1, 4)),
    elements=st.sampled_from([-2.0, -0.0, 0.0, 1.0, 1.5, 3.0]),
)  # fmt: skip
FLOATS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 60), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, width=32),
)  # fmt: skip


def brute(values: Any, k: int, keys: Any = None) -> list[tuple[float, int]]:
    """The k largest of one unit by a plain sort; the first of equal ones first."""
    found: list[tuple[float, int]] = []
    seen = set()
    for place in sorted(range(len(values)), key=lambda i: (-values[i], i)):
        if keys is not None and keys[place] in seen:
            continue
        seen.add(None if keys is None else keys[place])
        found.append((float(values[place]), place))
    return found[:k]


def streamed(values: Any, k: int, order: list[list[int]], keys: Any = None) -> Extremes:
    found = Extremes.empty(values.shape[1], k, keyed=keys is not None)
    for batch in order:
        places = np.sort(np.array(batch))
        key_of = None if keys is None else lambda rows, places=places: keys[places[rows]]
        found = found.updated(torch.from_numpy(values[places]), places, key_of)
    return found


def shuffled(n: int, size: int, seed: int) -> list[list[int]]:
    order = np.random.default_rng(seed).permutation(n).tolist()
    return [order[start : start + size] for start in range(0, n, size)]


@settings(max_examples=100, deadline=None)
@given(
    values=TIED | FLOATS,
    k=st.integers(1, 12),
    size=st.integers(1, 20),
    seed=st.integers(0, 9),
    keyed=st.booleans(),
)
def test_streamed_top_k_equals_a_sort_over_everything(
    values: Any, k: int, size: int, seed: int, keyed: bool
) -> None:
    keys = np.random.default_rng(seed).integers(0, 5, len(values)) if keyed else None
    found = streamed(values, k, shuffled(len(values), size, seed), keys)
    for unit in range(values.shape[1]):
        expected = brute(values[:, unit], k, keys)
        n = len(expected)
        assert found.values[unit, :n].tolist() == [value for value, _ in expected]
        assert found.order[unit, :n].tolist() == [place for _, place in expected]
        assert (found.order[unit, n:] == -1).all()


def test_taking_in_more_leaves_the_state_before_as_it_was() -> None:
    empty = Extremes.empty(1, 2)
    empty.updated(torch.ones(3, 1), np.arange(3))
    assert (empty.order == -1).all()
    spread = Spread.empty(1)
    once = spread.updated(torch.ones(3, 1))
    once.updated(torch.full((3, 1), 100.0))
    assert spread.n == 0 and int(once.counts.sum()) == 3


@settings(max_examples=100, deadline=None)
@given(values=TIED | FLOATS, size=st.integers(1, 20), seed=st.integers(0, 9))
def test_histogram_is_exact_however_the_values_come(values: Any, size: int, seed: int) -> None:
    n, units = values.shape
    spread = Spread.empty(units)
    for batch in shuffled(n, size, seed):
        spread = spread.updated(torch.from_numpy(values[batch]))
    whole = Spread.empty(units).updated(torch.from_numpy(values))
    np.testing.assert_array_equal(spread.counts, whole.counts)
    np.testing.assert_array_equal(spread.first, whole.first)
    counts, edges = spread.histogram()
    assert counts.shape[1] <= MOST_BINS
    assert (counts.sum(1) == n).all()
    for unit in range(units):
        exact = values[:, unit].astype(np.float64)
        inside = (exact[:, None] >= edges[unit, :-1]) & (exact[:, None] < edges[unit, 1:])
        np.testing.assert_array_equal(inside.sum(0), counts[unit])


@settings(max_examples=50, deadline=None)
@given(values=FLOATS, size=st.integers(1, 20))
def test_fixed_bins_count_as_numpy_does(values: Any, size: int) -> None:
    edges = np.array([-5.0, 0.0, 0.5, 100.0])
    spread = Spread.empty(values.shape[1], edges)
    for batch in shuffled(len(values), size, 0):
        spread = spread.updated(torch.from_numpy(values[batch]))
    counts, found = spread.histogram()
    assert (counts.sum(1) == len(values)).all()
    for unit in range(values.shape[1]):
        inner = np.histogram(values[:, unit], np.append(edges, np.inf))[0]
        assert counts[unit].tolist() == [(values[:, unit] < -5).sum(), *inner]
        assert found[unit].tolist() == [-np.inf, *edges, np.inf]


@settings(max_examples=50, deadline=None)
@given(values=FLOATS, size=st.integers(1, 20))
def test_mean_spread_and_range_equal_numpys(values: Any, size: int) -> None:
    spread = Spread.empty(values.shape[1])
    for start in range(0, len(values), size):
        spread = spread.updated(torch.from_numpy(values[start : start + size]))
    exact = values.astype(np.float64)
    scale = np.abs(exact).max() + 1
    np.testing.assert_allclose(spread.mean, exact.mean(0), atol=1e-12 * scale)
    np.testing.assert_allclose(spread.sd, exact.std(0), atol=1e-7 * scale)
    np.testing.assert_array_equal(spread.low, exact.min(0))
    np.testing.assert_array_equal(spread.high, exact.max(0))
    np.testing.assert_array_equal(spread.positive, (exact > 0).sum(0))


@pytest.mark.parametrize("value", [0.0, 1e-38, -7.25, 3e38])
def test_a_unit_that_never_varies_is_one_bin(value: float) -> None:
    spread = Spread.empty(1)
    for _ in range(2):
        spread = spread.updated(torch.full((5, 1), value))
    counts, edges = spread.histogram()
    assert counts.tolist() == [[10]]
    assert edges[0, 0] <= np.float32(value) < edges[0, 1]
