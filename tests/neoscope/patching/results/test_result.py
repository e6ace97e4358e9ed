from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neoscope.errors import PatchingError
from neoscope.patching.results import statistics
from neoscope.patching.results.axes import Axis
from tests.neoscope.patching.made_results import result


def test_effects_are_patched_minus_base_pair_by_pair() -> None:
    found = result()
    for k in range(6):
        expected = found.patched[k].astype(float) - float(found.base[k])
        np.testing.assert_array_equal(found.values[k], expected)
    np.testing.assert_allclose(found.mean, found.values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.stderr, found.values.std(0, ddof=1) / np.sqrt(6), rtol=1e-12)
    noised = result(base_name="clean", direction="noise")
    np.testing.assert_array_equal(noised.base, noised.clean)


def test_cells_that_did_not_run_have_no_effect_and_p_one() -> None:
    found = result()
    assert (found.values[:, :, 0] == 0).all() and (found.p_value[:, 0] == 1).all()
    assert (found.interval[:, :, 0] == 0).all()
    assert (found.p_value[:, 1:] < 1).any()
    expected = statistics.sign_flip(found.values[:, :, 1:])
    np.testing.assert_array_equal(found.p_value[:, 1:], expected)


def test_statistics_take_the_results_seed_unless_told() -> None:
    found = result(20)
    np.testing.assert_array_equal(found.interval, found.bootstrap(seed=5))
    assert (found.bootstrap(seed=6) != found.interval).any()
    assert (found.sign_flip("none") <= found.p_value).all()
    assert found.interval.shape == (2, 3, 4)
    assert ((found.interval[0] <= found.mean) & (found.mean <= found.interval[1])).all()


def test_normalised_is_a_ratio_of_means_with_both_drawn_together() -> None:
    found = result(8)
    assert found.clean is not None and found.corrupted is not None
    gap = found.clean.astype(float) - found.corrupted
    ratio = found.normalised()
    np.testing.assert_allclose(ratio.value, found.values.mean(0) / gap.mean(), rtol=1e-6)
    draws = np.random.default_rng(5).multinomial(8, np.full(8, 1 / 8), size=2000)
    for cell in ((0, 1), (2, 3)):
        drawn = [(c @ found.values[:, cell[0], cell[1]]) / (c @ gap) for c in draws]
        expected = np.quantile(drawn, [0.025, 0.975])
        np.testing.assert_allclose(ratio.interval[:, cell[0], cell[1]], expected, rtol=1e-9)
    assert ratio.span == pytest.approx(gap.mean())


def test_restoring_everything_is_one_and_destroying_everything_minus_one() -> None:
    one = result()
    assert one.clean is not None and one.corrupted is not None
    full = np.broadcast_to(one.clean[:, None, None], (6, 3, 4)).copy()
    np.testing.assert_allclose(result(patched=full).normalised().value, 1, rtol=1e-6)
    none = np.broadcast_to(one.corrupted[:, None, None], (6, 3, 4)).copy()
    noised = result(patched=none, base_name="clean", direction="noise")
    np.testing.assert_allclose(noised.normalised().value, -1, rtol=1e-6)


def test_a_tiny_span_is_refused_unless_it_is_accepted() -> None:
    one = result()
    assert one.corrupted is not None
    near = result(clean=one.corrupted + np.float32(0.005))
    with pytest.raises(PatchingError, match=r"a difference of 0.005 logits, less than 0.01"):
        near.normalised()
    assert near.normalised(minimum=0.001).span == pytest.approx(0.005, rel=1e-3)
    with pytest.raises(PatchingError, match="there is only the corrupted one"):
        result(clean=None, base_components={}).normalised()


def test_an_interrupted_sweep_keeps_what_ran() -> None:
    patched = result().patched.copy()
    patched[:, 2] = np.nan
    patched[4:, 1] = np.nan  # some pairs of a layer ran
    found = result(patched=patched, complete=False)
    assert np.isnan(found.mean[2]).all() and np.isnan(found.p_value[2]).all()
    np.testing.assert_allclose(found.mean[1], found.values[:4, 1].mean(0))
    np.testing.assert_array_equal(found.mean[0], result().mean[0])
    assert "interrupted" in repr(found) and len(found.top(12)) == 8


def test_a_table_has_a_row_for_each_cell() -> None:
    found = result()
    table = found.to_dataframe()
    assert list(table) == [
        "layer", "pos", "agree", "effect", "stderr", "low", "high", "p", "patched",
        "logit_answer", "logit_wrong", "ran",
    ]  # fmt: skip
    assert len(table) == 12 and table.layer.dtype == np.int64
    row = table[(table.layer == 2) & (table.pos == "1 Mary|José")].iloc[0]
    assert row.effect == found.mean[2, 1] and row.p == found.p_value[2, 1]
    assert row.low == found.interval[0, 2, 1] and not row.agree and row.ran
    assert row.logit_answer == pytest.approx(found.components["answer"][:, 2, 1].mean())
    assert row.patched == pytest.approx(found.patched[:, 2, 1].mean())


def test_a_table_by_pair_has_every_number() -> None:
    found = result()
    table = found.to_dataframe(per_pair=True)
    assert len(table) == 6 * 12
    for k, layer, pos in ((0, 0, 1), (5, 2, 3), (3, 1, 2)):
        label = found.axes[1].labels[pos]
        row = table[(table.pair == k) & (table.layer == layer) & (table.pos == label)].iloc[0]
        assert row.effect == found.values[k, layer, pos]
        assert row.logit_wrong == found.components["wrong"][k, layer, pos]
        assert row.ran == found.ran[layer, pos]  # type: ignore[index]


def test_top_sorts_by_size_or_sign() -> None:
    found = result()
    flat = found.mean.reshape(-1)
    top = found.top(3)
    assert top.effect.tolist() == sorted(flat, key=abs, reverse=True)[:3]
    assert list(top.index) == [0, 1, 2]
    assert found.top(3, by="positive").effect.tolist() == sorted(flat, reverse=True)[:3]
    negative = found.top(100, by="negative").effect
    assert negative.tolist() == sorted(x for x in flat if x < 0)
    for k in (0, -1, True):
        with pytest.raises(PatchingError, match="one at least"):
            found.top(k)
    with pytest.raises(PatchingError, match="did you mean 'magnitude'"):
        found.top(3, by="magnitud")


def test_a_part_of_the_grid_is_chosen_by_label_or_index() -> None:
    found = result()
    part = found.select(layer=2, pos="1 Mary|José")
    assert part.shape == () and part.mean == found.mean[2, 1] and part.axes == ()
    np.testing.assert_array_equal(found.select(pos=-1).values, found.values[..., 3])
    part = found.select(layer=[2, 0], pos=slice(1, 3))
    np.testing.assert_array_equal(part.patched, found.patched[:, [2, 0], 1:3])
    np.testing.assert_array_equal(
        part.components["wrong"], found.components["wrong"][:, [2, 0], 1:3]
    )
    assert part.axes == (Axis("layer", (2, 0)), Axis("pos", ("1 Mary|José", "2 «»"), (False, True)))
    assert len(part.to_dataframe()) == 4 and "one cell" in repr(found.select(layer=0, pos=0))
    assert len(found.select(layer=0, pos=0).to_dataframe()) == 1
    with pytest.raises(PatchingError, match="did you mean 'layer'"):
        found.select(layers=2)
    with pytest.raises(PatchingError, match=r"no '1 Mary'; did you mean '1 Mary\|José'"):
        found.select(pos="1 Mary")
    with pytest.raises(PatchingError, match="no 3; it has 0, 1, 2"):
        found.select(layer=3)


def test_its_description_names_what_where_and_the_largest() -> None:
    said = repr(result())
    assert "resid_pre [3 layer × 4 pos], denoise, logit_diff in logits, 6 pairs" in said
    assert "clean 2.49, corrupted -" in said and "patched is the corrupted run" in said
    assert len(said.splitlines()) == 5 and "layer 2, pos 3" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patched": np.zeros((6, 3))}, r"patched has shape \(6, 3\); the axes have"),
        ({"patched": np.zeros((0, 3, 4))}, "expected .pairs, .axes."),
        ({"clean": np.zeros(5)}, r"clean has shape \(5,\); expected \(6,\)"),
        ({"corrupted": None}, "corrupted runs were patched, but have no baseline"),
        ({"base_name": "other"}, "expected 'clean' or 'corrupted'"),
        ({"components": {"answer": np.zeros(6)}}, "answer has shape"),
        ({"base_components": {"answer": {"clean": np.zeros(2)}}}, "answer of the clean runs"),
        ({"ran": np.ones((3, 3), bool)}, "ran has shape"),
        ({"ran": np.ones((3, 4))}, "ran holds float64"),
        ({"axes": (Axis("x", (0, 1, 2)), Axis("x", (0, 1, 2, 3)))}, "the same name"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PatchingError, match=said):
        result(**changes)
    with pytest.raises(PatchingError, match="agree has 1"):
        Axis("pos", ("a", "b"), (True,))


def test_equality_looks_at_every_number() -> None:
    assert result() == result() and result() != result(seed=1) and result() != "result"
    nothing = np.full((6, 3, 4), np.nan)
    assert result(patched=nothing) == result(patched=nothing)
    assert result() != result(complete=False)
    assert result() != result(patched=result().patched.astype(np.float64))
