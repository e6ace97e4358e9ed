from __future__ import annotations

import numpy as np
import pytest

from neoscope.patching.first_look import HEAD_SITES, STREAM_SITES, every
from neoscope.patching.metrics import logit_diff
from tests.neoscope.patching.cases import SEVERAL, model_of

CLEAN, CORRUPTED = SEVERAL


@pytest.mark.parametrize("pairs", [slice(0, 1), slice(0, 3)])
def test_one_table_of_both(pairs: slice) -> None:
    look = every(model_of(), CLEAN[pairs], CORRUPTED[pairs], logit_diff(1, 4), progress=False)
    frame = look.to_dataframe()
    cells = look.stream.ran.size + look.heads.ran.size
    assert len(frame) == cells
    assert list(frame.columns[:4]) == ["site", "layer", "head", "pos"]
    streams = frame[frame.site.isin(STREAM_SITES)]
    heads = frame[frame.site.isin(HEAD_SITES)]
    assert len(streams) + len(heads) == cells
    assert streams["head"].isna().all() and heads["pos"].isna().all()


def test_the_top_of_both_is_the_top_of_all() -> None:
    look = every(model_of(), CLEAN, CORRUPTED, logit_diff(1, 4), progress=False)
    every_effect = np.concatenate([look.stream.mean.ravel(), look.heads.mean.ravel()])
    every_effect = every_effect[np.isfinite(every_effect)]
    top = look.top(7).effect.to_numpy()
    np.testing.assert_allclose(np.abs(top), np.sort(np.abs(every_effect))[::-1][:7])
    assert look.top(3, by="negative").effect.is_monotonic_increasing
    assert look.top(3, by="positive").effect.is_monotonic_decreasing
    assert repr(look).startswith("stream: PatchingResult") and "\nheads: " in repr(look)
