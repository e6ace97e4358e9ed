"""A checksum is of dtype, shape and every bit."""

from __future__ import annotations

import pytest
import torch

from neoscope.checksum import checksum

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool]
ROW = 16384
"""Values of float32 in a row that is added up."""


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_has_one(dtype: torch.dtype) -> None:
    x = torch.arange(35).view(5, 7).to(dtype)
    assert checksum(x) == checksum(x.clone()) and len(checksum(x)) == 8
    assert checksum(x) == checksum(x.T.contiguous().T)  # however it lies in memory


def test_dtype_and_shape_count() -> None:
    x = torch.zeros(4, 6)
    found = [x, x.view(6, 4), x.view(-1), x[0], x.double(), x.int(), torch.tensor(0.0), x[:0]]
    assert len(set(map(checksum, found))) == len(found)


@pytest.mark.parametrize("n", [5, ROW, 3 * ROW + 5, 130 * ROW + 1])
def test_a_changed_place_changes_it(n: int) -> None:
    x = torch.randn(n, generator=torch.Generator().manual_seed(0))
    before = checksum(x)
    for at in {0, n // 3, n // 2, n - 1}:
        changed = x.clone()
        changed.view(torch.int32)[at] ^= 1
        assert checksum(changed) != before


def test_swapped_places_change_it() -> None:
    x = torch.arange(130 * ROW).float()
    swapped = x.clone()
    swapped[:4096], swapped[4096:8192] = x[4096:8192], x[:4096]
    far = torch.cat([x[64 * ROW : 65 * ROW], x[ROW : 64 * ROW], x[:ROW], x[65 * ROW :]])
    assert len({checksum(one) for one in (x, swapped, far)}) == 3
