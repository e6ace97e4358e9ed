"""TransformerLens's activation and direct path patching, run on our model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.patching import PatchingResult

from neoscope import ActivationCache
from neoscope.edits import replace
from tests.neoscope.interop_models import (
    N_HEADS,
    N_LAYERS,
    N_POS,
    Pair,
    Writers,
    fresh,
    gap,
    pair,
    plain,
    quiet,
    whole,
)

TWO = pair()
BLOCK = ["resid_pre", "attn_out", "mlp_out"]
HEADS = [f"attn_head_{x}_{where}_pos" for x in ("out", "q", "k", "v") for where in ("by", "all")]
PATTERNS = {
    "attn_head_pattern_all_pos": ("layer", "head"),
    "attn_head_pattern_by_pos": ("layer", "head", "positions"),
    "attn_head_pattern_dest_src_pos": ("layer", "head", "positions", "keys"),
}
SIZES = {"layer": N_LAYERS, "head": N_HEADS, "positions": N_POS, "keys": N_POS}


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "tqdm", lambda items, **options: items)


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    """TransformerLens writes in place here; where a gradient is needed, it writes into a copy."""
    with torch.no_grad():
        yield


def cached(model: Any, tokens: Tensor = TWO.clean) -> Any:
    return model.run_with_cache(tokens)[1]


def run(name: str, model: Any, *args: Any, **options: Any) -> Any:
    with quiet():
        return getattr(patching, f"get_act_patch_{name}")(model, TWO.corrupted, *args, **options)


def corrupted_metric() -> Tensor:
    return TWO.metric(TWO.ours(TWO.corrupted)).detach()


@pytest.mark.parametrize("name", [*BLOCK, *HEADS, "block_every"])
def test_patches_equal_the_bridge(name: str) -> None:
    ours = run(name, TWO.ours, cached(TWO.ours), TWO.metric)
    assert gap(ours, run(name, TWO.bridge, cached(TWO.bridge), TWO.metric)) < 1e-5
    assert (ours - corrupted_metric()).abs().max() > 0.05


@pytest.mark.parametrize("grad", [False, True])
def test_resid_mid_patch_reaches_the_stream_and_not_only_the_mlp(grad: bool) -> None:
    # With gradients, the bridge changes its MLP's input alone.
    cache = cached(TWO.ours)
    with torch.set_grad_enabled(grad):
        found = run("resid_mid", TWO.ours, cache, TWO.metric)
    for layer, pos in itertools.product(range(N_LAYERS), range(N_POS)):
        edit = replace("resid_mid", layer, cache, positions=pos)
        expected = TWO.metric(TWO.ours.run_with_edits(TWO.corrupted, [edit]))
        assert found[layer, pos] == pytest.approx(float(expected), abs=1e-5)
    assert found[-1, -1] == pytest.approx(float(TWO.metric(plain_last_mid())), abs=1e-5)


def plain_last_mid() -> Tensor:
    """The corrupted run with the clean stream before the last MLP at the last position."""

    def read(kind: str, layer: int, head: int, writers: Writers) -> Tensor:
        x = whole(kind, layer, head, writers).clone()
        if layer == N_LAYERS - 1 and kind in ("mlp", "logits"):
            before = {key: y for key, y in clean.items() if key != ("mlp", layer, -1)}
            own = writers.get(("mlp", layer, -1), torch.zeros_like(x))
            x[:, -1] = (whole(kind, layer, head, before) + own)[:, -1]
        return x

    _, clean = plain(TWO.ours, TWO.clean)
    return plain(TWO.ours, TWO.corrupted, read)[0]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", PATTERNS)
def test_pattern_patches_equal_edits_and_are_no_baseline(name: str, grad: bool) -> None:
    # On the bridge every cell is the unpatched run: its pattern can only be looked at.
    cache = cached(TWO.ours)
    with torch.set_grad_enabled(grad):
        found = run(name, TWO.ours, cache, TWO.metric)
    assert (found - corrupted_metric()).abs().max() > 0.05
    names = PATTERNS[name]
    cells = list(itertools.product(*(range(SIZES[axis]) for axis in names)))
    for cell in cells[:: 1 + len(cells) // 40]:
        edit = replace("pattern", value=cache, **dict(zip(names, cell, strict=True)))
        expected = TWO.metric(TWO.ours.run_with_edits(TWO.corrupted, [edit]))
        assert found[cell] == pytest.approx(float(expected), abs=1e-5)


def test_pattern_patch_equals_the_oracle() -> None:
    cache = cached(TWO.ours)
    found = run("attn_head_pattern_all_pos", TWO.ours, cache, TWO.metric)
    for cell in itertools.product(range(N_LAYERS), range(N_HEADS)):

        def clean_pattern(layer: int, head: int, x: Tensor, cell: Any = cell) -> Tensor:
            return cache["pattern", layer][:, head] if (layer, head) == cell else x

        expected = TWO.metric(plain(TWO.ours, TWO.corrupted, pattern=clean_pattern)[0])
        assert found[cell] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("where", ["all", "by"])
def test_every_head_sweep_stacks_the_single_ones(where: str) -> None:
    cache = cached(TWO.ours)
    found = run(f"attn_head_{where}_pos_every", TWO.ours, cache, TWO.metric)
    for i, x in enumerate(("out", "q", "k", "v", "pattern")):
        alone = run(f"attn_head_{x}_{where}_pos", TWO.ours, cache, TWO.metric)
        alone = alone.mT if (x, where) == ("pattern", "by") else alone
        assert gap(found[i], alone) == 0


def test_whole_stream_patch_of_the_last_layer_restores_the_clean_run() -> None:
    last = run("resid_pre", TWO.ours, cached(TWO.ours), TWO.metric)[0, 2]
    assert last == pytest.approx(float(TWO.metric(TWO.ours(TWO.clean))), abs=1e-5)


@pytest.mark.parametrize("name", [*BLOCK, "resid_mid", "attn_head_all_pos_every"])
def test_patching_a_run_into_itself_changes_nothing(name: str) -> None:
    found = run(name, TWO.ours, cached(TWO.ours, TWO.corrupted), TWO.metric)
    assert (found - corrupted_metric()).abs().max() < 2e-6


def test_setters_write_in_place_without_touching_the_cache() -> None:
    cache = cached(TWO.ours)
    before = {key: x.clone() for key, x in cache.items()}
    for name in (*BLOCK, "resid_mid", "attn_head_all_pos_every"):
        run(name, TWO.ours, cache, TWO.metric)
    assert all(torch.equal(cache[key], x) for key, x in before.items())


def test_in_place_hook_is_seen_downstream_and_not_upstream() -> None:
    def wipe(x: Tensor, hook: Any) -> Tensor:
        return x.zero_()

    plain_run = cached(TWO.ours, TWO.corrupted)
    for site in ("resid_mid", "attn_out", "mlp_out", "resid_pre", "q", "k", "v", "z", "pattern"):
        name = plain_run.name((site, 1))
        with torch.no_grad(), TWO.ours.hooks(fwd_hooks=[(name, wipe)]):
            wiped = cached(TWO.ours, TWO.corrupted)
        keys = list(plain_run)
        at = keys.index(name)
        shared = "blocks.0.hook_resid_post"  # the tensor that resid_pre of layer 1 is
        for key in keys[:at]:
            assert gap(wiped[key], plain_run[key]) < 1e-5 or key.endswith("attn_scores"), key
        assert not wiped[name].any()
        assert wiped[shared].any()
        assert gap(wiped["resid_post", -1], plain_run["resid_post", -1]) > 0.01


def test_caches_of_either_kind_can_be_patched_from() -> None:
    cache = cached(TWO.ours)
    assert isinstance(cache, ActivationCache)
    ours = run("attn_head_q_all_pos", TWO.ours, cache, TWO.metric)
    theirs = run("attn_head_q_all_pos", TWO.ours, cache.to_transformer_lens(), TWO.metric)
    assert gap(ours, theirs) == 0


@pytest.mark.parametrize("metrics", [TWO.by_row, {"a": TWO.by_row, "b": TWO.by_row}])
def test_results_with_rows_and_a_baseline_equal_the_bridge(metrics: Any) -> None:
    options = {"reduce": "none", "baseline": True}
    ours = run("mlp_out", TWO.ours, cached(TWO.ours), metrics, **options)
    theirs = run("mlp_out", TWO.bridge, cached(TWO.bridge), metrics, **options)
    assert isinstance(ours, PatchingResult)
    assert gap(ours.values, theirs.values) < 1e-5
    assert gap(ours.baseline, theirs.baseline) < 1e-5
    assert ours.values.shape[-3:] == (N_LAYERS, N_POS, 2)


def direct(component: str, source: tuple[int, int]) -> Callable[[int, int], Tensor]:
    """The oracle: one head's write reaches one later head's q, k or v from the clean run alone."""
    _, clean = plain(TWO.ours, TWO.clean)
    _, corrupted = plain(TWO.ours, TWO.corrupted)
    delta = clean["head", *source] - corrupted["head", *source]

    def cell(to_layer: int, to_head: int) -> Tensor:
        def read(kind: str, layer: int, head: int, writers: Writers) -> Tensor:
            x = whole(kind, layer, head, writers)
            return x + delta if (kind, layer, head) == (component, to_layer, to_head) else x

        return TWO.metric(plain(TWO.ours, TWO.corrupted, read)[0])

    return cell


@pytest.mark.parametrize("component", ["q", "k", "v"])
def test_direct_path_patches_equal_the_oracle(component: Any) -> None:
    model = fresh()
    caches = cached(model), cached(model, TWO.corrupted)
    found = patching.get_act_patch_direct_path(
        model, TWO.corrupted, *caches, TWO.metric, 0, 1, component, verbose=False
    )
    expected = direct(component, (0, 1))
    assert not found[0].any()
    for layer, head in itertools.product(range(1, N_LAYERS), range(N_HEADS)):
        assert found[layer, head] == pytest.approx(float(expected(layer, head)), abs=1e-5)
    assert (found[1:] - corrupted_metric()).abs().max() > 1e-3
    assert not model.cfg.use_split_qkv_input
    whole_sweep = patching.get_act_patch_direct_path_all_sources(
        model, TWO.corrupted, *caches, TWO.metric, component, verbose=False
    )
    assert gap(whole_sweep[0, 1], found) == 0


def test_direct_path_patch_leaves_a_switch_as_it_was() -> None:
    model = fresh()
    model.set_use_attn_in(True)
    caches = cached(fresh()), cached(fresh(), TWO.corrupted)
    patching.get_act_patch_direct_path(
        model, TWO.corrupted, *caches, TWO.metric, 1, 0, "v", verbose=False
    )
    assert model.cfg.use_attn_in
    assert not model.cfg.use_split_qkv_input


def test_pair_is_what_the_tests_take_it_for() -> None:
    assert isinstance(TWO, Pair)
    logits, _ = plain(TWO.ours, TWO.clean)
    assert gap(logits, TWO.ours(TWO.clean)) < 1e-5
    assert TWO.metric(TWO.ours(TWO.clean)) - corrupted_metric() > 0.5
