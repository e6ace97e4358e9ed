"""Patching figures: axes, panels, sizes, other results, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope import patching, views
from neoscope.errors import PatchingError, ViewError
from neoscope.patching.results.axes import Axis
from tests.neoscope.patching.made_results import result
from tests.neoscope.views.patching_cases import effects, grid, marks, said


@pytest.fixture(scope="module")
def pairs() -> Any:
    return ns.organism.pairs("ioi", 6)


@pytest.fixture(scope="module")
def metric(pairs: Any) -> Any:
    return patching.logit_diff(pairs.answer, pairs.wrong)


def test_three_axes_are_panels_on_one_scale() -> None:
    made = grid(2, 3, 4)
    figure = views.patching(made)
    panels = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [np.asarray(one.z).shape for one in panels] == [(3, 4), (3, 4)]
    assert {one.coloraxis for one in panels} == {"coloraxis"}
    assert [note.text for note in figure.layout.annotations] == ["<b>layer 0</b>", "<b>layer 1</b>"]
    assert figure.layout.coloraxis.cmax == pytest.approx(np.abs(made.mean).max())


def test_axes_go_where_they_are_asked_to() -> None:
    made = grid(2, 3, 4)
    panels = views.patching(made, panels="head", rows="pos").select_traces({"type": "heatmap"})
    found = [np.asarray(one.z) for one in panels]
    assert [one.shape for one in found] == [(4, 2)] * 3
    assert np.allclose(found[1], made.mean[:, 1].T, atol=1e-6)


def test_a_selection_keeps_p_values_of_the_whole() -> None:
    made = result(8)
    trace = views.patching(made, select={"layer": [2]}).data[0]
    assert np.allclose(np.asarray(trace.customdata)[0, 1, 2], made.p_value[2, 1], atol=1e-6)


def test_one_axis_is_bars_with_intervals() -> None:
    made = result()
    figure = views.patching(made, select={"layer": 2})
    bars = figure.data[0]
    assert bars.type == "bar" and np.allclose(bars.y, made.mean[2])
    assert np.allclose(np.asarray(bars.y) + bars.error_y.array, made.interval[1, 2])
    assert "layer 2" in said(figure)


def test_no_axis_is_one_bar() -> None:
    figure = views.patching(result(), select={"layer": 2, "pos": 1})
    assert len(figure.data[0].y) == 1


def test_five_hundred_positions_thin_their_labels_and_keep_those_that_differ() -> None:
    n = 500
    agree = tuple(i != 333 for i in range(n))
    tokens = tuple(f" w{i}" for i in range(n))
    made = result(
        2, patched=np.zeros((2, 3, n)), components={}, base_components={},
        axes=(Axis("layer", (0, 1, 2)), Axis("pos", tuple(f"{i} w{i}" for i in range(n)), agree)),
        ran=np.ones((3, n), bool), clean_strings=(tokens,) * 2,
        corrupted_strings=((*tokens[:333], " x", *tokens[334:]),) * 2,
    )  # fmt: skip
    labels = views.patching(made).layout.xaxis.ticktext
    assert len(labels) < 60
    assert "<b>333 ·w333 → ·x</b>" in labels


def test_one_token_and_one_layer_are_a_figure() -> None:
    figure = views.patching(grid(1, 1, names=("layer", "pos")))
    assert effects(figure).shape == (1, 1)


def test_gaps_among_many_cells_are_dark_grey_and_no_crosses() -> None:
    made = grid(2, 100, names=("layer", "neuron"))
    patched = made.patched.copy()
    patched[:, 1, 50:] = np.nan
    figure = views.patching(
        result(3, patched=patched, axes=made.axes, components={}, base_components={},
               ran=made.ran, complete=False)
    )  # fmt: skip
    gap = next(trace for trace in figure.data if trace.name == "no number")
    assert np.isfinite(np.asarray(gap.z, float)).sum() == 50
    assert not marks(figure, "x-thin") and "dark grey" in said(figure)


def test_many_cells_are_merged_by_the_most_extreme_and_the_figure_says_so() -> None:
    made = grid(600, 600, names=("layer", "neuron"))
    figure = views.patching(made)
    assert "drawn in blocks" in said(figure)
    assert np.abs(effects(figure)).max() == pytest.approx(np.abs(made.mean).max())
    assert "the effect alone" in said(figure)
    # Intervals of so many cells take a minute, and nothing would show them.
    assert "interval" not in vars(made)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": "layr"}, "did you mean 'layer'"),
        ({"select": {"hed": 1}}, "no axis 'hed'; did you mean 'head'"),
        ({"rows": "head", "columns": "head"}, "one axis cannot be two"),
        ({"significance": 5.0}, "between 0 and 1"),
        ({"select": {"layer": []}}, "nothing to draw"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ViewError, match=words):
        views.patching(grid(2, 3, 4), **options)


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(PatchingError, match="has no 9"):
        views.patching(grid(2, 3), select={"layer": 9})


def test_four_axes_ask_for_a_selection() -> None:
    with pytest.raises(ViewError, match=r"4 axes.*select=\{'layer': 0\}"):
        views.patching(grid(2, 2, 2, 2))
    assert views.patching(grid(2, 2, 2, 2), select={"layer": 0}).data


def test_too_many_panels_move_to_a_shorter_axis_or_are_refused() -> None:
    moved = views.patching(grid(30, 2, 3))
    assert [note.text for note in moved.layout.annotations] == ["<b>head 0</b>", "<b>head 1</b>"]
    with pytest.raises(ViewError, match="30 cells, and 24 panels"):
        views.patching(grid(30, 2, 3), panels="layer")


def test_something_else_is_refused_with_the_view_that_draws_it(
    model: ns.HookedGPTNeo, pairs: Any, metric: Any
) -> None:
    with pytest.raises(ViewError, match="not int"):
        views.patching(3)
    edges = patching.eap(model, pairs.clean, pairs.corrupted, metric)
    with pytest.raises(ViewError, match=r"views\.paths"):
        views.patching(edges)
    with pytest.raises(ViewError, match="not PatchingResult"):
        views.patching_all(result())


def test_every_panel_of_the_first_look_shares_one_scale(
    model: ns.HookedGPTNeo, pairs: Any, metric: Any
) -> None:
    look = patching.every(model, pairs.clean, pairs.corrupted, metric)
    figure = views.patching_all(look, significance=0.05)
    assert [note.text for note in figure.layout.annotations] == [
        f"<b>{site}</b>"
        for site in ("resid_pre", "attn_out", "mlp_out", "z", "q", "k", "v", "pattern")
    ]
    drawn = [t for t in figure.data if t.type == "heatmap" and t.coloraxis == "coloraxis"]
    assert {t.coloraxis for t in drawn} == {"coloraxis"} and len(drawn) == 8
    most = max(np.abs(look.stream.mean).max(), np.abs(look.heads.mean).max())
    assert figure.layout.coloraxis.cmax == pytest.approx(most)
    assert np.allclose(drawn[3].z, look.heads.mean[0], atol=1e-6)


def test_panels_do_not_overlap(model: ns.HookedGPTNeo, pairs: Any, metric: Any) -> None:
    look = patching.every(model, pairs.clean, pairs.corrupted, metric)
    figure = views.patching_all(look)
    domains = sorted({tuple(axis.domain) for axis in figure.select_yaxes()})
    assert len(domains) == 4
    assert all(a[1] < b[0] for a, b in itertools.pairwise(domains))
    assert domains[0][0] >= 0 and domains[-1][1] == pytest.approx(1)


def test_attribution_is_shown_as_a_guess(model: ns.HookedGPTNeo, pairs: Any, metric: Any) -> None:
    found = patching.attribution(model, pairs.clean, pairs.corrupted, metric, site="z")
    figure = views.patching(found, significance=0.05)
    panels = [t for t in figure.data if t.type == "heatmap" and t.coloraxis]
    assert len(panels) == len(found.axes[0])
    assert "a guess from gradients" in panels[0].hovertemplate
    assert "attribution patching" in said(figure)
    assert views.patching(found, normalised=True).data


def test_an_ablation_says_what_replaces_a_part(model: ns.HookedGPTNeo, pairs: Any) -> None:
    found = patching.ablate(model, pairs.clean, patching.loss(), source="mean")
    figure = views.patching(found)
    assert figure.layout.title.text == "Ablating z: effect on loss"
    assert "replaced by: mean" in said(figure) and "6 texts" in said(figure)
