"""Promise 1: every site is causal, in 1,000 random models against a GPT-Neo in plain numpy.

The site contract (``neoscope.contract``) puts every site of one model to the test, one at a time.
Here shapes, windows, patterns of layers, dtypes, switches, padding and writes are all random, and
what a run should be is computed by ``plain_gpt_neo``, which shares no code with neoscope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.edits import replace
from tests.promises.plain_gpt_neo import Array, PlainGPTNeo
from tests.promises.random_cases import Case, Write, case_of, plainly, write_of

N = 1000
Check = Callable[[Case, Any], None]


@pytest.fixture(scope="module", autouse=True)
def no_types_checked() -> Iterator[None]:
    """Thousands of runs; that types are as annotated is what all other tests show."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def in_a_thousand_cases(check: Check) -> None:
    """Check the same thousand each time, so that who breaks something is who sees it break."""

    # The models are small as they come: what shrinking would save is not worth its minutes.
    @settings(max_examples=N, derandomize=True, deadline=None, phases=[Phase.generate])
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        case = case_of(data.draw)
        note(str(case))
        check(case, data.draw)

    with torch.no_grad():
        run()


def assert_near(found: Array, expected: Array, limit: float, where: str) -> None:
    """Two arrays agree relative to the largest value, and in what is masked."""
    finite = np.isfinite(expected)
    assert (np.isfinite(found) == finite).all(), where
    scale = max(1.0, np.abs(expected[finite]).max(initial=0.0))
    error = np.abs(found[finite] - expected[finite]).max(initial=0.0) / scale
    assert error <= limit, f"{where}: {error:.2g} > {limit:.2g}"


def assert_like_plain(
    case: Case, logits: Tensor, cache: ns.ActivationCache, written: Sequence[Write] = ()
) -> float:
    """Hold a run against plain arithmetic, text by text; return how far writes move the logits."""
    plain, moved = PlainGPTNeo(case.model), 0.0
    for row, columns in enumerate(case.columns):
        ids = case.ids[row, list(columns)].tolist()
        expected, sites = plain.run(ids, plainly(case, written, row))
        for ref in case.sites:
            found = case.row(ref, cache[ref.name], row)
            assert_near(found, sites[ref.name], case.limit, ref.name)
        found = logits[row, list(columns)].double().numpy()
        assert_near(found, expected, case.limit, "logits")
        if written:
            moved = max(moved, float(np.abs(expected - plain.run(ids)[0]).max()))
    return moved


def test_what_is_read_is_what_was_used_and_putting_it_back_changes_no_bit() -> None:
    def check(case: Case, draw: Any) -> None:
        logits, cache = case.model.run_with_cache(case.ids, case.mask)
        assert_like_plain(case, logits, cache)
        chosen = draw(st.integers(1, 2 ** len(case.sites) - 1))
        names = [ref.name for i, ref in enumerate(case.sites) if chosen >> i & 1]
        looked, part = case.model.run_with_cache(case.ids, case.mask, sites=names)
        back = [replace(name, value=part) for name in names]
        again, cached = case.model.run_with_cache(case.ids, case.mask, sites=names, edits=back)
        assert torch.equal(again, looked)
        assert all(torch.equal(cached[name], part[name]) for name in names)

    in_a_thousand_cases(check)


def test_a_write_changes_what_follows_as_it_should_and_nothing_before_it() -> None:
    moved: list[bool] = []

    def check(case: Case, draw: Any) -> None:
        writes = [write_of(draw, case) for _ in range(draw(st.integers(1, 4)))]
        note(str(writes))
        edits, enclosing = [write.edit(case) for write in writes], draw(st.integers(0, 4))
        _, undisturbed = case.model.run_with_cache(case.ids, case.mask)
        with case.model.edits(*edits[:enclosing]):
            after, cache = case.model.run_with_cache(case.ids, case.mask, edits=edits[enclosing:])
        far = assert_like_plain(case, after, cache, writes)
        moved.append(far > 4 * case.limit)

        n_layers = case.config.n_layers
        first = min(write.ref.order(n_layers) for write in writes)
        for ref in case.sites:
            left = [write.first_position(case) for write in writes]
            was, now = undisturbed[ref.name], cache[ref.name]
            for row, columns in enumerate(case.columns):
                upstream = ref.order(n_layers) < first
                untouched = len(columns) if upstream else min(at[row] for at in left)
                kept = list(columns[:untouched])
                axis = 1 if "query" in ref.kind.axes else 0
                index = torch.tensor(kept, dtype=torch.long)
                same = torch.equal(
                    was[row].index_select(axis, index), now[row].index_select(axis, index)
                )
                assert same, f"{ref.name} moved before what was written"

    in_a_thousand_cases(check)
    assert len(moved) == N
    assert sum(moved) > 0.8 * N
