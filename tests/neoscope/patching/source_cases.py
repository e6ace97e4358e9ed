"""What tests of sources share: prompts, cells, and the check against plain runs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from torch import Tensor

from neoscope.patching.engine.cells import SITES, SQUARE, Cell
from neoscope.patching.prompts.pairs import Prompts, read_prompts
from tests.neoscope.patching import plain
from tests.neoscope.patching.cases import cells_of, check_exact, model_of, prompts_of

MODEL = model_of()
UNEQUAL = prompts_of(MODEL)
EQUAL = read_prompts(
    MODEL,
    [[4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4], [11, 12, 13, 14, 15, 16]],
    [[4, 5, 1, 7, 8, 9], [9, 2, 7, 6, 5, 4], [11, 12, 13, 14, 15, 20]],
)
BUDGETS = [40, 4096]
# Where the metric reads; in the middle, what stands right of it is not run at all.
READ = [None, 2]


def cells(prompts: Prompts, sites: Any = SITES) -> list[Cell]:
    return [
        cell
        for site in sites
        for cell in cells_of(site, MODEL, prompts)[:: 31 if site in SQUARE else 9]
    ]


def check(
    prompts: Prompts, some: list[Cell], source: Any, donor: Any, read: Any, **more: Any
) -> None:
    columns = prompts.columns(-1 if read is None else read, "positions")
    found = check_exact(
        MODEL,
        prompts,
        some,
        donor=donor,
        columns=columns,
        source=source,
        metric_positions=read,
        **({"most": 25} | more),
    )
    assert np.abs(found.effects).max() > 0.1


def like(prompts: Prompts, site: str, layer: int | None) -> Tensor:
    """The base run's tensor at a site."""
    return base_run(prompts)(site, layer)


@functools.cache
def base_run(prompts: Prompts) -> plain.Donor:
    return plain.donor_of(MODEL, plain.tokens_of(prompts, "corrupted"))
