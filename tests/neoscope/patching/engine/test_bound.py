"""The benchmark's arithmetic bound against counts by hand on two layers and four tokens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.patching_bound import Pair, Shape, eap_ig_flops, sweep_flops

D, MLP = 4, 8
# One product of a token with a [4, 4] weight, and its MLP, in multiply-adds.
W, M = D * D, 2 * D * MLP
TOY = Shape(d_model=D, n_heads=2, d_mlp=MLP, windows=(None, None))
DIFFERS = np.array([False, True, False, False])
READ = 2 * D


def pair() -> Pair:
    return Pair(TOY, DIFFERS)


def at(*positions: int) -> np.ndarray:
    return np.isin(np.arange(4), positions)


def last_layer(changed: int, visible: int = 4) -> int:
    """Keys and values of the changed tokens; query, attention, output, MLP and read at the last."""
    return 2 * changed * W + W + 2 * D * visible + W + M + READ


def test_a_stream_patch_below_the_last_layer() -> None:
    # One token's q, k, v; tokens 1 to 3 write; token 1 attends to two keys, the others correct one.
    first = 3 * W + 2 * D * (2 + 1 + 1) + 3 * (W + M)
    assert pair().cell("resid_pre", 0, at(1)) == first + last_layer(3)


def test_a_stream_patch_in_the_last_layer_needs_keys_and_values_alone() -> None:
    # The last token's own query stays, so it corrects for one key.
    assert pair().cell("resid_pre", 1, at(2)) == 2 * W + 2 * D + W + M + READ
    assert pair().cell("resid_pre", 1, at(3)) == last_layer(1)


def test_cells_that_cannot_move_cost_nothing() -> None:
    two = pair()
    assert two.cell("resid_pre", 0, at(0)) == two.cell("resid_pre", 0, at(2)) == 0
    assert two.cell("resid_pre", 1, at(0)) == 0
    for site in ("z", "q", "pattern", "resid_mid", "resid_post", "mlp_out", "attn_out"):
        assert two.cell(site, 1, at(2)) == 0, site
        assert two.cell(site, 1, at(3)) > 0, site


def test_later_sites_skip_what_stands_before_them() -> None:
    two = pair()
    assert two.cell("resid_post", 1, at(3)) == two.cell("mlp_out", 1, at(3)) == READ
    assert two.cell("resid_mid", 1, at(3)) == two.cell("attn_out", 1, at(3)) == M + READ
    assert two.cell("resid_post", 0, at(2)) == two.cell("resid_pre", 1, at(2))


def test_heads() -> None:
    two, everywhere, head = pair(), np.ones(4, bool), D // 2
    tail = 3 * M + last_layer(3)
    # Tokens 1 to 3 have another z; each goes through its head's [2, 4] output weight.
    assert two.cell("z", 0, everywhere) == 3 * head * D + tail
    # One token's query: two keys' scores, two values' weights.
    query = head * 2 * 2 + head * D + M
    assert two.cell("q", 0, everywhere) == query + two.cell("resid_pre", 1, at(1))
    # One key: tokens 1 to 3 see it; a value costs half as much as a key.
    assert two.cell("k", 0, everywhere) == 3 * head * 2 + 3 * head * D + tail
    assert two.cell("v", 0, everywhere) == 3 * head + 3 * head * D + tail
    # Whole rows of two, three and four keys.
    assert two.cell("pattern", 0, everywhere) == 9 * head + 3 * head * D + tail


def test_unpatched_runs() -> None:
    whole = 4 * (3 * W + W + M) + 2 * D * (1 + 2 + 3 + 4)
    # The other run begins at token 1: its queries see all, the two others correct for token 1.
    other = 3 * W + 2 * D * (2 + 1 + 1) + 3 * (W + M)
    assert pair().unpatched() == whole + last_layer(4) + other + last_layer(3)


def test_a_window_hides_what_is_farther_away() -> None:
    narrow = Pair(Shape(D, 2, MLP, (2, 2)), at(0))
    # Two layers carry token 0 to token 2 at most, and the metric reads token 3.
    assert narrow.cell("resid_pre", 0, at(0)) == 0
    assert narrow.moved[2].tolist() == [True, True, True, False]


def test_a_sweep_adds_up_cells_pairs_and_heads() -> None:
    two = pair()
    cells = sum(two.cell("z", layer, np.ones(4, bool)) for layer in (0, 1))
    found = sweep_flops(TOY, [DIFFERS, DIFFERS], "z", each_position=False)
    assert found == 2 * 2 * (two.unpatched() + 2 * cells)
    by_position = sum(two.cell("resid_pre", i, at(p)) for i in (0, 1) for p in range(4))
    found = sweep_flops(TOY, [DIFFERS], "resid_pre", each_position=True)
    assert found == 2 * (two.unpatched() + by_position)


def test_edges_are_counted_at_every_token() -> None:
    # All tokens differ and reach the metric: 22 edges in one head, but in the last layer queries,
    # the MLP and the logits are read at the last token alone.
    single = Pair(Shape(D, 1, MLP, (None, None)), np.ones(4, bool))
    first = 4 * (3 * 1 + 2)
    second = 2 * 4 * 3 + 1 * 3 + 4
    assert single.edges() == D * (first + second + 5)
    one, five = (eap_ig_flops(TOY, [DIFFERS], steps) for steps in (1, 5))
    assert five - one == pytest.approx(2 * 8 * pair().after(DIFFERS, 0))
