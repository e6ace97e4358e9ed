"""Attention flow is the maximum flow, and is kept where it is interrupted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoscope.analysis import attention_flow, rollout
from neoscope.analysis.rolling.flow import flows
from neoscope.errors import AnalysisError
from tests.neoscope.analysis.rollout_runs import QUIET, TEXT, cache_of, random_model, some


def least_cut(steps: np.ndarray, query: int, key: int) -> float:
    """The maximum flow by its dual: the least capacity of all sets that part source from sink."""
    n_layers, n, _ = steps.shape
    source, sink = (n_layers, query), (0, key)
    nodes = [(layer, i) for layer in range(n_layers + 1) for i in range(n)]
    inner = [node for node in nodes if node not in (source, sink)]
    least = math.inf
    for size in range(len(inner) + 1):
        for chosen in itertools.combinations(inner, size):
            side = {source, *chosen}
            cut = sum(
                steps[layer, i, j]
                for layer in range(n_layers)
                for i in range(n)
                for j in range(n)
                if (layer + 1, i) in side and (layer, j) not in side
            )
            least = min(least, cut)
    return least


@given(st.integers(0, 1000), st.sampled_from([(1, 3), (2, 3), (3, 2)]))
def test_flow_is_the_least_cut(seed: int, shape: Sequence[int]) -> None:
    n_layers, n = shape
    steps = np.stack([some(n, seed + layer) for layer in range(n_layers)])
    found = flows(steps, n - 1, np.ones(n, dtype=bool))
    for key in range(n):
        assert found[key] == pytest.approx(least_cut(steps, n - 1, key), abs=1e-8)


def test_flow_lies_between_rollout_and_capacity() -> None:
    model = random_model()
    _, cache = model.run_with_cache([TEXT], sites="pattern")
    rolled = rollout(cache)
    found = attention_flow(cache, **QUIET)
    assert (found.values >= rolled.values[-1] - found.error).all()
    assert (found.values <= 1 + 1e-12).all()
    # Nor can more reach a token than its first layer's edges carry.
    into = rollout(cache).values[0, 0].sum(0)
    assert (found.values[0] <= into + 1e-9).all()
    assert np.array_equal(found.reachable, rolled.reachable[-1])
    assert (found.values[~found.reachable] == 0).all()
    assert 0 < found.error < 1e-6


def test_flow_beyond_the_bandwidth_is_0_and_marked() -> None:
    model = random_model(window_size=2, attention_layers=("local",) * 3)
    _, cache = model.run_with_cache([TEXT], sites="pattern")
    found = attention_flow(cache, positions=[-1, 2], **QUIET)
    assert found.bandwidth == 3
    assert found.queries.tolist() == [[7, 2]]
    assert found.reachable[0, 0].tolist() == [False] * 4 + [True] * 4
    assert (found.values[0, 0, :4] == 0).all()
    assert (found.values[0, 0, 4:] > 0).all()


def test_flow_through_one_layer_is_its_capacities() -> None:
    found = attention_flow(cache_of(lambda *_: some(5, 3), 5, 1), **QUIET)
    np.testing.assert_allclose(found.values[0], (some(5, 3) + np.eye(5)) / 2, atol=1e-7)


def test_flow_tells_its_progress() -> None:
    told: list[tuple[int, int]] = []
    cache = cache_of(lambda *_: some(5, 3), 5, 2)
    attention_flow(cache, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]


def test_an_interrupted_flow_keeps_what_was_done() -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    cache = cache_of(lambda *_: some(5, 3), 5, 2)
    with pytest.warns(UserWarning, match="interrupted: 3 of 5 queries are done"):
        found = attention_flow(cache, progress=stop)
    assert not found.complete
    assert "interrupted" in found.heading()
    whole = attention_flow(cache, **QUIET)
    assert whole.complete
    assert np.array_equal(found.values[:, :3], whole.values[:, :3])
    assert np.isnan(found.values[:, 3:]).all()
    with pytest.raises(AnalysisError, match="progress='x'; expected True, False"):
        attention_flow(cache, progress="x")
