"""What cannot move is exactly zero, and is not run."""

from __future__ import annotations

import numpy as np
import pytest

from neoscope.patching.engine.cells import SITES
from neoscope.patching.engine.exact import exact_effects
from neoscope.patching.metrics import logit_diff
from neoscope.patching.prompts.pairs import Prompts
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.patching.cases import cells_of, mixed_cells, model_of, projected, prompts_of


@pytest.mark.parametrize("budget", [8, 4096])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_run_patched_into_itself_is_exactly_zero(direction: str, budget: int) -> None:
    model = model_of()
    other = prompts_of(model)
    same_twice = Prompts(
        other.clean, other.clean.clone(), other.mask, other.clean_strings, other.clean_strings
    )
    cells = mixed_cells(model, same_twice, 2 if budget > 8 else 60)
    for metric in (projected, logit_diff(1, 2)):
        found = exact_effects(
            model, same_twice, metric, cells, direction=direction, batch_tokens=budget
        )
        assert (found.patched == found.base[:, None]).all()
        assert not found.effects.any()
        assert not found.ran.any()


def test_left_of_the_first_difference_nothing_runs_and_all_is_exactly_zero() -> None:
    model = model_of()
    prompts = prompts_of(model)
    first = prompts.first_difference
    for site in SITES:
        cells = [
            cell
            for cell in cells_of(site, model, prompts)[::2]
            if cell.columns is not None and bool((cell.columns.max(1).values < first).all())
        ]
        assert cells
        found = exact_effects(model, prompts, projected, cells)
        assert not found.effects.any()
        # Keys and values left of it are the same; so is whatever stands there.
        assert not found.ran.any()


@pytest.mark.parametrize("site", ["resid_pre", "embed", "q", "k", "v"])
def test_where_tokens_agree_the_first_layer_is_exactly_zero(site: str) -> None:
    model = model_of()
    prompts = prompts_of(model, ([[3, 5, 7, 9, 11, 13]], [[3, 6, 7, 9, 12, 13]]))
    options = {} if site == "embed" else {"layers": 0}
    result = sweep(
        model, prompts.clean, prompts.corrupted, logit_diff(1, 2), site, progress=False, **options
    )
    agree = np.array(result.axes[-1].agree)
    assert agree.tolist() == [True, False, True, True, False, True]
    ran = result.ran
    assert ran is not None
    assert not result.values[..., agree].any()
    assert not ran[..., agree].any()
    assert ran[..., ~agree].all()
