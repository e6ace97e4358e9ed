"""Patching figures: what stands in a cell, and what is marked."""

from __future__ import annotations

import json

import numpy as np

from neoscope import views
from tests.neoscope.patching.made_results import result
from tests.neoscope.views.patching_cases import effects, legend, marks, said

EVIL = "<script>alert(1)</script>"


def test_cells_hold_mean_effects_on_a_scale_about_zero() -> None:
    made = result()
    figure = views.patching(made)
    shown = effects(figure)
    assert np.allclose(shown[:, 1:], made.mean[:, 1:], atol=1e-6)
    scale = figure.layout.coloraxis
    assert scale.cmin == -scale.cmax == -np.abs(made.mean).max()


def test_what_cannot_move_is_no_measured_zero() -> None:
    figure = views.patching(result())
    still = next(trace for trace in figure.data if trace.name.startswith("cannot move"))
    assert np.isnan(effects(figure)[:, 0]).all()
    assert np.isfinite(np.asarray(still.z, float)[:, 0]).all()
    assert "exactly 0" in still.hovertemplate
    assert any("cannot move" in name for name in legend(figure))


def test_a_measured_zero_is_drawn_as_a_number() -> None:
    made = result()
    patched = made.patched.copy()
    patched[:, 1, 2] = np.asarray(made.corrupted)
    assert effects(views.patching(result(patched=patched)))[1, 2] == 0.0


def test_hovering_tells_interval_p_value_and_both_logits() -> None:
    made = result()
    trace = views.patching(made).data[0]
    template, data = trace.hovertemplate, np.asarray(trace.customdata)
    assert "95 % interval" in template and "p %{customdata[2]" in template
    assert "corrected over 9 cells" in template
    assert "logit answer" in template and "logit wrong" in template and "unpatched 0" in template
    assert np.allclose(data[1, 2, :2], made.interval[:, 1, 2], atol=1e-5)
    assert np.allclose(data[1, 2, 2], made.p_value[1, 2], atol=1e-6)
    assert np.allclose(data[1, 2, 3], made.components["answer"].mean(0)[1, 2], atol=1e-5)


def test_positions_that_differ_are_bold_and_marked_and_the_others_shaded() -> None:
    figure = views.patching(result())
    labels = figure.layout.xaxis.ticktext
    assert [label.startswith("<b>") for label in labels] == [False, True, False, False]
    strips = [shape for shape in figure.layout.shapes if shape.yref == "y domain"]
    assert [(one.x0, one.x1) for one in strips] == [(-0.5, 0.5), (0.5, 1.5), (1.5, 3.5)]
    assert len({one.fillcolor for one in strips}) == 2
    assert "clean and corrupted tokens differ" in legend(figure)


def test_equal_tokens_are_shown_and_both_where_they_differ() -> None:
    made = result(
        clean_strings=(("When", " Mary", " went", "\n"),) * 6,
        corrupted_strings=(("When", " Anne", " went", "\n"),) * 6,
    )
    names = views.patching(made).data[0].x
    assert tuple(names) == ("0 When", "1 ·Mary → ·Anne", "2 ·went", "3 ⏎")


def test_the_results_own_labels_stand_where_pairs_differ() -> None:
    clean = (("When", " Mary", " went", "."),) * 5 + (("When", " José", " went", "."),)
    made = result(clean_strings=clean, corrupted_strings=(("When", " Anne", " went", "."),) * 6)
    assert views.patching(made).data[0].x[1] == "1 ·Mary|·José"


def test_a_script_in_a_token_a_name_and_a_model_is_text() -> None:
    made = result(
        clean_strings=(("When", EVIL, " went", "."),) * 6,
        corrupted_strings=(("When", "<b>x</b>", " went", "%{z}"),) * 6,
        model=EVIL, metric=EVIL, unit=EVIL, source=EVIL,
        components={EVIL + "%{x}": result().components["answer"]}, base_components={},
    )  # fmt: skip
    for figure in (views.patching(made, significance=0.05), views.patching(
            made, select={"layer": 1}, significance=0.05)):  # fmt: skip
        written = json.dumps(figure.to_plotly_json(), default=str)
        assert "<script" not in written and "<b>x" not in written
        assert "&lt;" in written


def test_a_template_in_a_components_name_is_no_template() -> None:
    made = result(components={"%{x}{:.3g}": result().components["answer"]}, base_components={})
    assert "logit %&#123;x}" in views.patching(made).data[0].hovertemplate


def test_an_interrupted_sweep_says_how_much_is_missing() -> None:
    patched = result().patched.copy()
    patched[:, 2, 2:] = np.nan
    figure = views.patching(result(patched=patched, complete=False))
    assert "2 of 12 cells hold no number (the sweep was interrupted)" in said(figure)
    crosses = next(one for one in marks(figure, "x-thin") if len(one.x) == 2)
    assert set(crosses.y) == {"2"}


def test_nothing_measured_at_all_is_still_a_figure() -> None:
    made = result()
    figure = views.patching(result(patched=np.full_like(made.patched, np.nan), complete=False))
    assert "9 of 12 cells hold no number" in said(figure)


def test_one_pair_has_no_interval_and_nothing_is_marked() -> None:
    figure = views.patching(result(1), significance=0.05)
    assert "interval" not in figure.data[0].hovertemplate
    assert "one pair cannot be tested" in said(figure)


def test_few_pairs_cannot_be_significant_and_the_note_says_so() -> None:
    assert "with 4 pairs no p-value is below 0.125" in said(
        views.patching(result(4), significance=0.05)
    )


def test_marks_stand_on_significant_cells_alone() -> None:
    made = result(12)
    figure = views.patching(made, significance=0.05)
    found = [one for trace in marks(figure, "circle") for one in trace.x]
    assert len(found) == int(((made.p_value < 0.05) & made.ran).sum()) > 0
    assert "corrected over 9 cells" in said(figure)


def test_normalised_effects_are_shares_of_the_gap() -> None:
    made = result()
    figure = views.patching(made, normalised=True)
    assert np.allclose(effects(figure)[:, 1:], made.normalised().value[:, 1:], atol=1e-6)
    assert figure.layout.coloraxis.colorbar.title.text == "of the gap"
    assert "whole gap" in said(figure)
