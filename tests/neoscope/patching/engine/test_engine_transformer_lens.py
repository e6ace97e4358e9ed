"""TransformerLens's own patching functions, run on our model: the engine gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens import patching

from neoscope.patching.metrics import logit_diff
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.first_look import every
from neoscope.patching.sweeps.sweeping import sweep
from tests.neoscope.interop_models import N_HEADS, N_LAYERS, N_POS, pair, quiet

TWO = pair()
SITES = {"out": "z", "q": "q", "k": "k", "v": "v", "pattern": "pattern"}
DIRECTIONS = ["denoise", "noise"]


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patching, "tqdm", lambda items, **options: items)
    with torch.no_grad():
        yield


def theirs(name: str, direction: str, **options: Any) -> np.ndarray:
    base, donor = (
        (TWO.corrupted, TWO.clean) if direction == "denoise" else (TWO.clean, TWO.corrupted)
    )
    cache = TWO.ours.run_with_cache(donor)[1]
    with quiet():
        function = getattr(patching, f"get_act_patch_{name}")
        return function(TWO.ours, base, cache, TWO.metric, **options).numpy()


def ours(site: str, direction: str, **options: Any) -> PatchingResult:
    metric = logit_diff(TWO.answer, TWO.wrong)
    return sweep(
        TWO.ours,
        TWO.clean,
        TWO.corrupted,
        metric,
        site,
        direction=direction,
        progress=False,
        **options,
    )


def check(found: PatchingResult, expected: np.ndarray) -> None:
    mean = found.patched.mean(0)
    assert mean.shape == expected.shape
    assert np.abs(mean - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(found.mean).max() > 0.05


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "attn_out", "mlp_out"])
def test_the_stream_by_position(site: str, direction: str) -> None:
    check(ours(site, direction), theirs(site, direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("part", SITES)
def test_heads_at_all_positions(part: str, direction: str) -> None:
    found = ours(SITES[part], direction, positions="all")
    assert found.shape == (N_LAYERS, N_HEADS)
    check(found, theirs(f"attn_head_{part}_all_pos", direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("part", SITES)
def test_heads_by_position(part: str, direction: str) -> None:
    found = ours(SITES[part], direction)
    expected = theirs(f"attn_head_{part}_by_pos", direction)
    # Theirs are [layer, pos, head], but for the pattern.
    if part != "pattern":
        expected = expected.swapaxes(1, 2)
    assert found.shape == (N_LAYERS, N_HEADS, N_POS)
    check(found, expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_patterns_from_every_key_to_every_query(direction: str) -> None:
    found = ours("pattern", direction, keys="each")
    assert found.shape == (N_LAYERS, N_HEADS, N_POS, N_POS)
    assert [axis.name for axis in found.axes] == ["layer", "head", "pos", "key"]
    check(found, theirs("attn_head_pattern_dest_src_pos", direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_is_block_every_and_all_heads_every(direction: str) -> None:
    found = every(
        TWO.ours,
        TWO.clean,
        TWO.corrupted,
        logit_diff(TWO.answer, TWO.wrong),
        direction=direction,
        progress=False,
    )
    check(found.stream, theirs("block_every", direction))
    check(found.heads, theirs("attn_head_all_pos_every", direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_heads_by_position_for_every_site(direction: str) -> None:
    expected = theirs("attn_head_by_pos_every", direction).swapaxes(2, 3)
    for grid, site in zip(expected, SITES.values(), strict=True):
        check(ours(site, direction), grid)


def test_a_users_metric_that_reads_the_last_position_gives_the_same() -> None:
    found = sweep(TWO.ours, TWO.clean, TWO.corrupted, TWO.by_row, progress=False)
    assert found.metric == "by_row"
    check(found, theirs("resid_pre", "denoise"))
    everywhere = sweep(
        TWO.ours, TWO.clean, TWO.corrupted, TWO.by_row, metric_positions="all", progress=False
    )
    check(everywhere, theirs("resid_pre", "denoise"))
