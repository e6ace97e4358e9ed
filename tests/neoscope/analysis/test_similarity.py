"""CKA: its invariances, its bias, and that no way of reading rows changes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neoscope import analysis
from neoscope.errors import AnalysisError
from tests.neoscope.analysis.similarity_runs import RANDOM, noise, rotation, textbook


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(4, 40),
    widths=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 99),
    debiased=st.booleans(),
    cut=st.integers(1, 40),
)
def test_streamed_and_in_memory_equal_the_textbook(
    n: int, widths: tuple[int, int], offset: float, seed: int, debiased: bool, cut: int
) -> None:
    X, Y = noise(n, *widths, seed=seed)
    Y[:, 0] += X[:, 0]
    expected = textbook(X, Y, debiased)
    sums = analysis.StreamingCKA()
    for start in range(0, n, cut):
        here = slice(start, start + cut)
        sums.add(X[here] + offset, Y[here] - offset)
    assert sums.value(debiased=debiased) == pytest.approx(expected, abs=1e-7)
    assert analysis.cka(X + offset, Y, debiased=debiased) == pytest.approx(expected, abs=1e-7)


def test_unrelated_noise_is_alike_only_without_the_correction() -> None:
    X, Y = noise(100, 300, 300)
    assert analysis.cka(X, Y, debiased=False) == pytest.approx(300 / (100 + 300), abs=0.02)
    assert abs(analysis.cka(X, Y)) < 0.03


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("n", [20, 200])
def test_rotation_and_scale_change_nothing_and_other_maps_do(n: int, debiased: bool) -> None:
    X, Y = noise(n, 30, 20)
    Y = Y + X[:, :20]
    found = analysis.cka(X, Y, debiased=debiased)
    assert analysis.cka(X, X, debiased=debiased) == pytest.approx(1)
    assert analysis.cka(X @ rotation(30) * 7, Y, debiased=debiased) == pytest.approx(found)
    assert analysis.cka(X @ rotation(30), X, debiased=debiased) == pytest.approx(1)
    stretched = X * np.geomspace(1, 100, 30)
    assert abs(analysis.cka(stretched, Y, debiased=debiased) - found) > 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_are_compared_as_arrays_are(dtype: torch.dtype) -> None:
    X, Y = (torch.from_numpy(x).to(dtype) for x in noise(50, 8, 8))
    expected = analysis.cka(X.double().numpy(), Y.double().numpy())
    assert analysis.cka(X, Y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.ones((5, 2)), np.ones((4, 2)), r"\(5, 2\) and Y \(4, 2\)"),
        (np.ones(5), np.ones((5, 2)), r"expected \[rows, width\]"),
        (np.ones((3, 2)), np.ones((3, 2)), "at least 4; debiased=False takes 2"),
        (np.ones((1, 2)), np.ones((1, 2)), "nothing to compare"),
        (np.full((6, 2), 3e5), np.ones((6, 2)), "X is the same in every row"),
        (np.full((6, 9), 3e5), np.eye(6), "X is the same in every row"),
        (np.eye(5) * 1j, np.eye(5), "X holds complex128; expected real numbers; give real"),
        (np.eye(5), torch.eye(5) * 1j, "Y holds torch.complex64; expected real numbers"),
        ([["a", "b"]] * 5, np.eye(5), "X holds <U1; expected real numbers"),
        ([[1, 2], [3]] * 3, np.eye(6), "X is no array"),
        (np.eye(5), np.where(np.eye(5) > 0, np.nan, 1), "row 0 of 'y' holds nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(X: Any, Y: Any, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        analysis.cka(X, Y)


@pytest.mark.parametrize("width", [8, 500])
@pytest.mark.parametrize("offset", [3e6, 1e7, 1e9])
def test_an_offset_makes_nothing_flat(offset: float, width: int) -> None:
    (X,) = noise(400, width)
    other = X[:, ::-1] ** 2
    for debiased in (True, False):
        expected = analysis.cka(X, other, debiased=debiased)
        found = analysis.cka(X + offset, other, debiased=debiased)
        assert found == pytest.approx(expected, abs=1e-5)
        both = analysis.similarity({"a": X + offset, "b": other}, debiased=debiased)
        assert both.cka[0, 1] == pytest.approx(expected, abs=1e-5)


def test_rows_equally_far_apart_are_like_nothing() -> None:
    X = np.eye(6)
    assert np.isnan(analysis.cka(X, X))
    assert analysis.cka(X, X, debiased=False) == pytest.approx(1)
    assert np.isnan(analysis.similarity({"a": X, "b": X[:, ::-1]}).cka).all()


def test_what_rounding_makes_of_equal_rows_is_flat() -> None:
    row = RANDOM.normal(size=8).astype(np.float32)
    last = np.float32(1) + np.finfo(np.float32).eps * RANDOM.integers(-1, 2, size=(400, 1))
    X = (row * last).astype(np.float32)
    assert np.ptp(X, axis=0).all()
    with pytest.raises(AnalysisError, match="X is the same in every row"):
        analysis.cka(X, noise(400, 8)[0])
    sums = analysis.StreamingCKA()
    sums.add(X, noise(400, 8)[0])
    with pytest.raises(AnalysisError, match="X is the same in every row"):
        sums.value()
    double = X.astype(np.float64)
    assert analysis.cka(double, double) == pytest.approx(1)


def test_a_stream_refuses_rows_of_another_width() -> None:
    sums = analysis.StreamingCKA()
    sums.add(*noise(5, 3, 4))
    with pytest.raises(AnalysisError, match="rows of"):
        sums.add(*noise(5, 3, 5))
    with pytest.raises(AnalysisError, match="CKA of 0 rows"):
        analysis.StreamingCKA().value()
