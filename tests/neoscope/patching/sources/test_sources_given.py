"""Sources that a user gives: tensors, subspaces, and what cannot be a source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neoscope.errors import EditError, NeoscopeError, PatchingError
from neoscope.patching.engine.cells import Cell
from neoscope.patching.engine.exact import exact_effects
from neoscope.patching.sources.reading import Fixed, Subspace, read_source
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import (
    cells_of,
    mixed_cells,
    projected,
)
from tests.neoscope.patching.source_cases import (
    BUDGETS,
    EQUAL,
    MODEL,
    READ,
    UNEQUAL,
    cells,
    check,
    like,
)


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("shape", [(16,), (1, 1, 16), (8, 16), (3, 1, 16), (3, 8, 16)])
def test_given_values(shape: tuple[int, ...], budget: int, read: Any) -> None:
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    some = cells(UNEQUAL, ["resid_pre", "attn_out", "mlp_out", "embed"])

    def donor(site: str, layer: int | None) -> Tensor:
        return value.expand_as(like(UNEQUAL, site, layer))

    check(UNEQUAL, some, value, donor, read, batch_tokens=budget, most=15)


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("shape", [(6,), (6, 6), (1, 1, 6, 6), (3, 2, 6, 6)])
def test_given_patterns(shape: tuple[int, ...], read: Any) -> None:
    value = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    # What a query cannot see is no part of a pattern.
    base = like(EQUAL, "pattern", 0)
    seen = torch.ones_like(base).tril()

    def donor(site: str, layer: int | None) -> Tensor:
        return value.expand_as(base) * seen

    some = [cell for cell in cells(EQUAL, ["pattern"]) if cell.layer == 0]
    check(EQUAL, some, value, donor, read, batch_tokens=12, most=25)


@pytest.mark.parametrize("shape", [(5,), (7, 16), (2, 8, 16), (1, 3, 8, 16), ()])
def test_values_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(PatchingError, match=r"does not fit site 'resid_pre'.*a vector of 16"):
        exact_effects(MODEL, UNEQUAL, projected, [Cell("resid_pre", 0)], source=torch.zeros(shape))


def test_values_that_are_not_numbers() -> None:
    value = torch.full((16,), float("nan"))
    with pytest.raises(PatchingError, match="hold NaN"):
        exact_effects(MODEL, UNEQUAL, projected, [Cell("resid_pre", 0)], source=value)


def test_a_number() -> None:
    def donor(site: str, layer: int | None) -> Tensor:
        return torch.full_like(like(UNEQUAL, site, layer), 0.5)

    check(UNEQUAL, cells(UNEQUAL, ["post", "z"]), Fixed(0.5), donor, None)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("site", ["resid_post", "mlp_out", "z", "q", "result", "post"])
def test_a_subspace(site: str, k: int) -> None:
    width = {"z": 8, "q": 8, "post": 64}.get(site, 16)
    directions = torch.randn(width, k, generator=torch.Generator().manual_seed(k))
    projector = directions @ torch.linalg.pinv(directions)
    theirs = plain.donor_of(MODEL, plain.tokens_of(UNEQUAL, "clean"))

    def donor(site: str, layer: int | None) -> Tensor:
        # Exact where nothing upstream of the site is changed, as in a cell of one layer.
        here = like(UNEQUAL, site, layer)
        return here + (theirs(site, layer) - here) @ projector

    some = [cell for cell in cells_of(site, MODEL, UNEQUAL) if cell.unit is None]
    source = Subspace(read_source(None), directions[:, 0] if k == 1 else directions)
    check(UNEQUAL, some, source, donor, None, most=20)


def test_a_subspace_of_everything_is_everything() -> None:
    some = mixed_cells(MODEL, UNEQUAL)
    some = [cell for cell in some if cell.site == "resid_post"]
    whole = exact_effects(MODEL, UNEQUAL, projected, some)
    same = exact_effects(
        MODEL, UNEQUAL, projected, some, source=Subspace(read_source(None), torch.eye(16))
    )
    np.testing.assert_allclose(same.patched, whole.patched, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("zeros", r"source='zeros' is not understood; did you mean 'zero'\?"),
        ("another text", "a list of texts"),
        (0.5, r"source=0\.5 is not understood"),
        ({"a": 1}, "is not understood"),
        ([[1, 2, 3]], r"1 texts of \[3\] tokens for 3 pairs of \[5, 8, 6\]"),
        ([[1] * 5, [1] * 8, [1] * 7], r"3 texts of \[5, 8, 7\]"),
        ([[1] * 5, [1] * 8], "one text for each pair"),
    ],
)
def test_sources_that_mean_nothing(source: Any, message: str) -> None:
    with pytest.raises(PatchingError, match=message):
        exact_effects(MODEL, UNEQUAL, projected, [Cell("resid_pre", 0)], source=source)


def test_caches_that_do_not_fit() -> None:
    _, short = MODEL.run_with_cache(torch.tensor([[1, 2, 3]]))
    with pytest.raises(EditError, match="cached texts have 3 tokens"):
        exact_effects(MODEL, EQUAL, projected, [Cell("resid_pre", 0)], source=short)
    _, few = MODEL.run_with_cache(plain.tokens_of(EQUAL, "clean"), sites=["resid_pre"])
    with pytest.raises(NeoscopeError, match="mlp_out"):
        exact_effects(MODEL, EQUAL, projected, [Cell("mlp_out", 0)], source=few)
    _, two = MODEL.run_with_cache(torch.tensor([[1] * 6, [2] * 6]))
    with pytest.raises(NeoscopeError, match="holds 2 texts, and there are 3 pairs"):
        exact_effects(MODEL, EQUAL, projected, [Cell("resid_pre", 0)], source=two)
