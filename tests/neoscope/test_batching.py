"""Length buckets hold every text once, within the budget."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from neoscope.batching import length_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


def cost(lengths: list[int], batch: list[int], padded: bool) -> int:
    sizes = [lengths[i] for i in batch]
    return len(sizes) * max(sizes) if padded else sum(sizes)


@given(LENGTHS, st.integers(1, 100), st.booleans())
def test_every_text_is_in_one_batch(lengths: list[int], budget: int, padded: bool) -> None:
    batches = length_batches(lengths, budget, padded=padded)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, st.integers(1, 100), st.booleans())
def test_only_a_single_text_exceeds_the_budget(
    lengths: list[int], budget: int, padded: bool
) -> None:
    for batch in length_batches(lengths, budget, padded=padded):
        assert len(batch) == 1 or cost(lengths, batch, padded) <= budget


@given(LENGTHS, st.integers(1, 100), st.booleans())
def test_the_longest_come_first_and_no_batch_could_take_the_next_text(
    lengths: list[int], budget: int, padded: bool
) -> None:
    batches = length_batches(lengths, budget, padded=padded)
    order = [lengths[i] for batch in batches for i in batch]
    assert order == sorted(order, reverse=True)
    for batch, following in pairwise(batches):
        assert cost(lengths, [*batch, following[0]], padded) > budget


def test_texts_of_one_length_keep_their_order() -> None:
    assert length_batches([2, 2, 2, 2], 4) == [[0, 1], [2, 3]]


def test_nothing_makes_no_batches() -> None:
    assert length_batches([], 10) == []
