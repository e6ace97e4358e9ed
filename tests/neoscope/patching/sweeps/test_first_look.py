from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neoscope import views
from neoscope.errors import ViewError
from neoscope.patching.metrics import logit_diff
from neoscope.patching.sweeps.first_look import HEAD_SITES, STREAM_SITES, every
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


def test_some_heads_and_places_are_those_of_a_look_at_all() -> None:
    pairs = CLEAN[1:2], CORRUPTED[1:2]
    whole = every(model_of(), *pairs, logit_diff(1, 4), progress=False)
    some: dict[str, Any] = {"heads": 1, "positions": [-1, 1], "layers": [2, 0]}
    part = every(model_of(), *pairs, logit_diff(1, 4), progress=False, **some)
    heads = whole.heads.values[:, :, [2, 0]][..., [1]]
    np.testing.assert_allclose(part.heads.values, heads, atol=1e-5)
    stream = whole.stream.values[:, :, [2, 0]][..., [-1, 1]]
    np.testing.assert_allclose(part.stream.values, stream, atol=1e-5)


def test_heads_together_and_named_tokens() -> None:
    places = {"ends": [0, -1], "inner": [1]}
    look = every(
        model_of(),
        CLEAN,
        CORRUPTED,
        logit_diff(1, 4),
        heads="all",
        positions=places,
        progress=False,
    )
    assert look.heads.shape == (5, 3) and look.stream.shape == (3, 3, 2)
    assert list(look.to_dataframe().columns[:3]) == ["site", "layer", "tokens"]
    assert look.stream.axes[-1].labels == ("ends", "inner")
    with pytest.raises(ViewError, match=r"heads='all' at once.*heads='each'"):
        views.patching_all(look)
