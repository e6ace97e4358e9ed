"""Who sees whom, against an oracle written as plain Python loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import neoscope as ns
from neoscope.attention import fused_attention
from neoscope.errors import SiteError, TokenizationError
from neoscope.visibility import Visibility

CPU = torch.device("cpu")


def seen_by(row: list[bool], query: int, window: int | None) -> set[int]:
    """The rule: real queries see real keys, at most ``window`` tokens back; padding sees columns.

    Args:
        row: Which columns are real.
        query: The column of the query, among all.
        window: Keys a query sees, itself included.
    """
    before = range(query + 1)
    if row[query]:
        keys = [key for key in before if row[key]]
        return set(keys if window is None else keys[-window:])
    return set(before if window is None else before[-window:])


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[list[bool]], int, int | None]:
    """Draw masks, how many of the columns are past, and a window."""
    width = draw(st.integers(1, 9))
    anything = st.lists(st.booleans(), min_size=width, max_size=width).filter(any)
    right = st.integers(1, width).map(lambda n: [True] * n + [False] * (width - n))
    left = right.map(lambda row: row[::-1])
    rows = draw(
        st.one_of(
            *(st.lists(one, min_size=1, max_size=3) for one in (anything, right, left)),
            st.lists(anything | right | left, min_size=1, max_size=3),
        )
    )
    return rows, draw(st.integers(0, width - 1)), draw(st.none() | st.integers(1, 10))


def visibility(rows: list[list[bool]], n_past: int) -> Visibility:
    mask = torch.tensor(rows)
    return Visibility(len(rows), mask.shape[1] - n_past, CPU, n_past=n_past, mask=mask)


@settings(max_examples=300, deadline=None)
@given(text=texts())
def test_allowed_is_the_rule(text: tuple[list[list[bool]], int, int | None]) -> None:
    rows, n_past, window = text
    width = len(rows[0])
    seen = visibility(rows, n_past).allowed(window, (0, width - n_past), (0, width))
    seen = seen.expand(len(rows), 1, -1, -1)
    right = all(row == sorted(row, reverse=True) for row in rows) and n_past == 0
    for i, row in enumerate(rows):
        for query in range(n_past, width):
            found = set(seen[i, 0, query - n_past].nonzero().flatten().tolist())
            assert found, "a row of the softmax is empty"
            if right and not row[query]:
                continue  # nobody reads it, and causality alone is the cheaper mask
            assert found == seen_by(row, query, window), (row, query)


@settings(max_examples=100, deadline=None)
@given(text=texts(), data=st.data())
def test_a_part_of_the_mask_is_that_part(
    text: tuple[list[list[bool]], int, int | None], data: st.DataObject
) -> None:
    rows, n_past, window = text
    width = len(rows[0])
    start = data.draw(st.integers(0, width - n_past - 1))
    stop = data.draw(st.integers(start + 1, width - n_past))
    first = data.draw(st.integers(0, n_past + start))
    v = visibility(rows, n_past)
    whole = v.allowed(window, (0, width - n_past), (0, width))
    part = v.allowed(window, (start, stop), (first, n_past + stop))
    assert torch.equal(part, whole[:, :, start:stop, first : n_past + stop])


@settings(max_examples=100, deadline=None)
@given(text=texts())
def test_the_fused_kernel_sees_the_same(text: tuple[list[list[bool]], int, int | None]) -> None:
    rows, n_past, window = text
    v, width = visibility(rows, n_past), len(rows[0])
    generator = torch.Generator().manual_seed(0)
    q, k, value = (
        torch.randn(len(rows), 2, n, 3, generator=generator) for n in (width - n_past, width, width)
    )
    z = fused_attention(q, k, value, v, window)
    for i, row in enumerate(rows):
        for query in range(n_past, width):
            if row[query]:
                keys = sorted(seen_by(row, query, window))
                pattern = (k[i, :, keys] @ q[i, :, query - n_past, :, None])[..., 0].softmax(-1)
                torch.testing.assert_close(
                    z[i, :, query - n_past], torch.einsum("hk,hkd->hd", pattern, value[i][:, keys])
                )


@settings(max_examples=100, deadline=None)
@given(text=texts())
def test_positions_count_real_tokens(text: tuple[list[list[bool]], int, int | None]) -> None:
    rows, n_past, _ = text
    v = visibility(rows, n_past)
    assert v.lengths() == [sum(row) for row in rows]
    assert torch.equal(v.key_positions()[:, n_past:], v.query_positions())
    for row, found in zip(rows, v.key_positions().tolist(), strict=True):
        real = [position for position, is_real in zip(found, row, strict=True) if is_real]
        assert real == list(range(len(real)))
        assert all(0 <= position < len(row) for position in found)


@settings(max_examples=200, deadline=None)
@given(text=texts(), data=st.data())
def test_columns_are_where_the_positions_stand(
    text: tuple[list[list[bool]], int, int | None], data: st.DataObject
) -> None:
    rows, n_past, _ = text
    shortest = min(map(sum, rows))
    asked: Any = data.draw(
        st.integers(-shortest, shortest - 1)
        | st.lists(st.integers(-shortest, shortest - 1), max_size=3)
        | st.slices(shortest).filter(lambda s: (s.start or 0) >= 0 and (s.stop or -1) >= 0)
    )
    listed = [asked] if isinstance(asked, int) else asked
    columns = [[i for i, real in enumerate(row) if real] for row in rows]
    pick = (
        (lambda c: c[listed]) if isinstance(listed, slice) else (lambda c: [c[i] for i in listed])
    )
    expected = [pick(c) for c in columns]
    v = visibility(rows, n_past)
    if len(set(map(len, expected))) > 1:
        with pytest.raises(SiteError, match="rows of different length"):
            v.columns(asked)
        return
    total = v.columns(asked, total=True)
    assert total is not None and total.tolist() == expected
    if any(column < n_past for row in expected for column in row):
        with pytest.raises(SiteError, match="the KV cache already holds it"):
            v.columns(asked)
    else:
        new = v.columns(asked)
        assert new is not None and torch.equal(new + n_past, total)


def test_positions_still_to_come_have_no_column_yet() -> None:
    mask = torch.tensor([[False, True, True], [True, True, True]])
    growing = Visibility(2, 3, CPU, mask=mask, grows=True)
    columns = growing.columns([0, 2], total=True)
    assert columns is not None and columns.tolist() == [[1, -1], [0, 2]]
    with pytest.raises(SiteError, match="2 is out of range in row 0"):
        growing.columns([0, 2])
    with pytest.raises(SiteError, match="-3 is out of range in row 0"):
        growing.columns(-3, total=True)
    with pytest.raises(SiteError, match="keys: 2 is out of range in row 0"):
        Visibility(2, 3, CPU, mask=mask).columns(2, axis="keys", total=True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (True, "True is not a whole number"),
        (torch.tensor([True]), "True is not a whole number"),
        (torch.tensor([[1], [1], [1]]), "has 3 rows, but the batch has 2"),
    ],
)
def test_positions_that_mean_nothing(asked: Any, words: str) -> None:
    with pytest.raises(SiteError) as error:
        Visibility(2, 3, CPU).columns(asked)
    assert words in str(error.value)


def test_a_row_without_a_token_is_refused() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(TokenizationError, match=r"no real token in row\(s\) \[1\]"):
        Visibility(2, 2, CPU, mask=mask)


@settings(max_examples=30, deadline=None)
@given(text=texts())
def test_the_pattern_of_a_model_shows_the_rule(
    models: dict[int | None, ns.HookedGPTNeo], text: tuple[list[list[bool]], int, int | None]
) -> None:
    rows, _, window = text
    window = min(window or 10, 9)
    if window not in models:
        config = ns.NeoConfig(
            n_layers=2, d_model=8, n_heads=2, n_ctx=16, d_vocab=9, window_size=window
        )
        models[window] = ns.HookedGPTNeo.from_config(config)
    ids = torch.zeros(len(rows), len(rows[0]), dtype=torch.long)
    _, cache = models[window].run_with_cache(ids, torch.tensor(rows), sites="pattern")
    for layer, kind in enumerate(models[window].config.kinds):
        pattern: Tensor = cache["pattern", layer]
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        for i, row in enumerate(rows):
            for query in (column for column, real in enumerate(row) if real):
                keys = set((pattern[i, 0, query] > 0).nonzero().flatten().tolist())
                assert keys == seen_by(row, query, None if kind == "global" else window)


@pytest.fixture(scope="module")
def models() -> dict[int | None, ns.HookedGPTNeo]:
    return {}
