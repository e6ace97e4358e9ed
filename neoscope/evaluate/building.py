"""The result of an evaluation, made of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neoscope.evaluate.result import Evaluation
from neoscope.evaluate.rows import Row, suite_rows
from neoscope.evaluate.suites import suite_of

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def evaluation_of(
    model: HookedGPTNeo,
    suite: str | None,
    rows: list[Row],
    edits: tuple[str, ...],
    limit: int | float | None,
    seed: int,
    left: tuple[str, ...],
    published: str | None,
    samples: tuple[dict[str, Any], ...],
) -> Evaluation:
    """Put rows into a result, beside what was published of the model."""
    known_as, source = None, None
    if suite is not None:
        from neoscope.evaluate.published import known_as as named

        table = suite_of(suite)
        known_as = published.lower() if published is not None else named(model)
        known_as = known_as if known_as in table.published else None
        rows = suite_rows(table, rows, known_as)
        source = None if known_as is None else table.source
    return Evaluation(
        model=str(model.cfg.model_name),
        suite=suite,
        task=tuple(row.task for row in rows),
        label=tuple(row.label for row in rows),
        metric=tuple(row.metric for row in rows),
        filter=tuple(row.filter for row in rows),
        value=np.array([row.value for row in rows], dtype=float),
        stderr=np.array([row.stderr for row in rows], dtype=float),
        n=np.array([row.n for row in rows], dtype=int),
        num_fewshot=np.array([row.num_fewshot for row in rows], dtype=int),
        higher_is_better=np.array([row.higher_is_better for row in rows], dtype=bool),
        shortened=np.array([row.shortened for row in rows], dtype=int),
        published=np.array([row.published for row in rows], dtype=float),
        main=np.array([row.main for row in rows], dtype=bool),
        published_as=known_as,
        source=source,
        edits=edits,
        limit=None if limit is None else float(limit),
        seed=seed,
        left=left,
        samples=samples,
    )
