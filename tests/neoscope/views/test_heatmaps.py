from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoscope.errors import ViewError
from neoscope.views import heatmaps
from neoscope.views.heatmaps import colours, gaps, heatmap, shrunk


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def draw(values: np.ndarray, scale: str = "signed", **options: str) -> object:
    return heatmap(
        values, rows=names(values.shape[0]), columns=names(values.shape[1]), scale=scale,
        unit="logits", title="A table", **options,
    )  # fmt: skip


def test_the_cells_are_the_numbers_given() -> None:
    values = np.arange(6.0).reshape(2, 3)
    figure = draw(values, "amount")
    np.testing.assert_array_equal(figure.data[0].z, values)
    assert list(figure.data[0].x) == names(3) and list(figure.data[0].y) == names(2)


def test_a_signed_scale_is_centred_at_zero() -> None:
    axis = colours(np.array([[-1.0, 4.0]]), "signed", "logits")
    assert (axis["cmin"], axis["cmax"]) == (-4.0, 4.0)
    assert axis["colorscale"][4] == (0.5, "#f7f7f7")


def test_a_share_always_runs_from_zero_to_one() -> None:
    axis = colours(np.array([[0.2, 0.3]]), "share", "probability")
    assert (axis["cmin"], axis["cmax"]) == (0.0, 1.0)


@pytest.mark.parametrize("scale", heatmaps.SCALES)
def test_a_table_of_zeros_or_of_nothing_has_a_scale(scale: str) -> None:
    for values in (np.zeros((1, 1)), np.full((2, 2), np.nan)):
        axis = colours(values, scale, "")
        assert axis["cmin"] < axis["cmax"]


def test_an_unknown_scale_is_named() -> None:
    with pytest.raises(ViewError, match=r"'signd'.*share, amount, signed.*signed"):
        colours(np.zeros((1, 1)), "signd", "")


def test_cells_without_a_number_are_counted_in_a_note() -> None:
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    assert gaps(values, "interrupted").startswith("2 of 4 cells hold no number (interrupted)")
    assert "2 of 4 cells" in draw(values).layout.title.subtitle.text
    assert gaps(values, "") == "" and gaps(np.zeros((2, 2)), "why") == ""


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ViewError, match=r"nothing to draw.*\(0, 3\)"):
        draw(np.zeros((0, 3)))


def test_names_must_fit_the_values() -> None:
    with pytest.raises(ViewError, match="2 names for rows and 2 for columns"):
        heatmap(np.zeros((2, 3)), rows=names(2), columns=names(2), scale="share", unit="", title="")


def test_one_cell_and_five_hundred_columns_are_drawn() -> None:
    assert draw(np.ones((1, 1))).data[0].z.shape == (1, 1)
    wide = draw(np.ones((3, 500)))
    assert wide.data[0].z.shape == (3, 500)
    assert len(wide.layout.xaxis.ticktext) <= 40


def test_above_the_cap_nothing_that_stands_out_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmaps, "MAX_CELLS", 100)
    values = np.random.default_rng(0).normal(size=(57, 31))
    values[40, 17] = -50.0
    merged, at_rows, at_columns, note = shrunk(values, "signed")
    assert merged.size <= 100 and merged.min() == -50.0
    assert "57 × 31 cells" in note and "farthest from 0" in note
    assert merged.shape == (len(at_rows), len(at_columns))
    figure = draw(values)
    assert figure.data[0].z.size <= 100
    assert "57 × 31 cells" in figure.layout.title.subtitle.text


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 400))
def test_blocks_hold_the_largest_of_their_cells(n: int, m: int, most: int) -> None:
    values = np.random.default_rng(n * 61 + m).random((n, m))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heatmaps, "MAX_CELLS", most)
        merged, at_rows, at_columns, _ = shrunk(values, "share")
    rows, columns = [*at_rows, n], [*at_columns, m]
    for i in range(len(at_rows)):
        for j in range(len(at_columns)):
            block = values[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            assert merged[i, j] == block.max()
