"""The lens in a figure: rows, tokens, what is right, and how far to trust it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import neoscope as ns
from neoscope import analysis, views
from neoscope.analysis import LensResult, TunedLens
from neoscope.errors import ViewError
from neoscope.views.figures.lens import figure as lens_figure

TEXT = "When Mary and John went to the store, John gave a drink to Mary."


def mode(trace: Any) -> Any:
    return trace.to_plotly_json().get("mode")


@pytest.fixture(scope="module")
def result(model: ns.HookedGPTNeo) -> LensResult:
    return analysis.logit_lens(model.run_with_cache([TEXT, "The keys"])[1])


@pytest.fixture(scope="module")
def tuned(model: ns.HookedGPTNeo) -> TunedLens:
    texts = [one.text for one in ns.organism.sentences("filler", 60, seed=0)]
    return TunedLens.train(model, texts, steps=3, batch_tokens=128, progress=False)


def test_cells_hold_top_tokens_and_their_probability(result: LensResult) -> None:
    cells, words = views.lens(result).data[:2]
    n = int((result.text == 0).sum())
    assert np.allclose(np.array(cells.z), result.top_probability[:, :n, 0])
    assert words.text[4 * n + 13] == "·Mary"
    assert "KL" in cells.hovertext[4][13]
    assert "rank 1," in cells.hovertext[4][13]


def test_the_output_is_on_top_and_the_next_token_above_it(result: LensResult) -> None:
    figure = views.lens(result)
    assert figure.layout.yaxis.ticktext == ("embed", "0", "1", "2", "3", "next token")
    assert figure.layout.yaxis.range[1] > figure.layout.yaxis.range[0]
    assert figure.data[-1].text[0] == "·Mary"
    assert figure.data[-1].text[-1] == ""


def test_outlines_are_where_the_top_token_follows(result: LensResult) -> None:
    outlines = next(trace for trace in views.lens(result).data if mode(trace) == "lines")
    mine = result.text == 0
    right = (result.top_ids[:, mine, 0] == result.next_ids[mine]) & (result.next_ids[mine] >= 0)
    assert sum(x is None for x in outlines.x) == int(right.sum()) > 5


@pytest.mark.parametrize("color", ["next_probability", "entropy", "kl", "cross_entropy", "rank"])
def test_colour_is_what_was_asked_for(result: LensResult, color: str) -> None:
    z = np.array(views.lens(result, color=color).data[0].z, float)
    mine = result.text == 0
    wanted = {
        "next_probability": np.exp(-result.cross_entropy),
        "rank": np.log10(np.where(result.next_rank > 0, result.next_rank, np.nan)),
    }.get(color, getattr(result, color, None))
    assert np.allclose(z, wanted[:, mine], atol=1e-5, equal_nan=True)


def test_the_plain_lens_carries_its_caveat(
    model: ns.HookedGPTNeo, result: LensResult, tuned: TunedLens
) -> None:
    assert "known to fail" in views.lens(result).layout.title.subtitle.text
    read = tuned.lens(model.run_with_cache(TEXT)[1])
    assert "known to fail" not in views.lens(read).layout.title.subtitle.text
    assert views.lens(read).layout.title.text.startswith("Tuned lens")


def test_many_tokens_lose_their_words_and_say_so(model: ns.HookedGPTNeo) -> None:
    long = " ".join(one.text for one in ns.organism.sentences("filler", 30))
    ids = model.tokenize([long], truncate=True).ids
    read = analysis.logit_lens(model.run_with_cache(ids)[1])
    figure = views.lens(read)
    assert len(read.tokens) > 100
    assert all(mode(trace) != "text" for trace in figure.data)
    assert "Cells hold no text above 30 tokens" in figure.layout.title.subtitle.text
    assert len(figure.layout.xaxis.ticktext) <= 40
    some = views.lens(read, positions=slice(-5, None))
    assert some.data[0].z.shape == (5, 5)
    assert any(mode(trace) == "text" for trace in some.data)


def test_one_token_and_a_window(model: ns.HookedGPTNeo, result: LensResult) -> None:
    assert views.lens(result, text=1, positions=0).data[0].z.shape == (5, 1)
    alone = views.lens(analysis.logit_lens(model.run_with_cache("The")[1]), color="rank")
    assert alone.layout.yaxis.ticktext[-1] == "3"
    assert "no token follows" in alone.layout.title.subtitle.text
    figure = views.lens(result, positions=[-1, 3])
    assert [label.split()[0] for label in figure.layout.xaxis.ticktext] == ["3", "15"]


def test_markup_in_tokens_is_escaped(result: LensResult) -> None:
    evil = dataclasses.replace(
        result,
        words=tuple("<script>x</script>" for _ in result.words),
        tokens=tuple("<a href='x'>" for _ in result.tokens),
    )
    shown = str(views.lens(evil).to_dict())
    assert "<script" not in shown
    assert "<a href" not in shown


def test_what_is_not_there_is_refused(result: LensResult) -> None:
    with pytest.raises(ViewError, match="texts 0 to 1"):
        views.lens(result, text=2)
    with pytest.raises(ViewError, match="no position 16"):
        views.lens(result, positions=[0, 16])
    with pytest.raises(ViewError, match="names no token"):
        views.lens(result, positions=range(0))
    with pytest.raises(ViewError, match="did you mean 'entropy'"):
        views.lens(result, color="entropi")


def test_calibration_draws_lenses_beside_each_other(
    model: ns.HookedGPTNeo, result: LensResult, tuned: TunedLens
) -> None:
    read = tuned.lens(model.run_with_cache([TEXT, "The keys"])[1])
    figure = views.lens_calibration([result, read])
    assert [trace.name for trace in figure.data] == ["logit", "tuned"] * 4
    assert list(figure.data[0].y) == pytest.approx(result.calibration()["kl"].tolist())
    assert sum(bool(trace.showlegend) for trace in figure.data) == 2
    assert views.lens_calibration({"<b>": read}).data[0].name == "&lt;b&gt;"


def test_calibration_of_an_evaluation_has_kl_and_bias(
    model: ns.HookedGPTNeo, tuned: TunedLens
) -> None:
    texts = [one.text for one in ns.organism.sentences("filler", 10, seed=3)]
    judged = tuned.evaluate(model, texts, progress=False)
    figure = views.plot(judged)
    assert len(figure.data) == 4
    assert list(figure.data[1].y) == pytest.approx(judged.kl[1].tolist())


def test_calibration_refuses_nothing_and_the_wrong_thing(result: LensResult) -> None:
    with pytest.raises(ViewError, match="no lens"):
        views.lens_calibration([])
    with pytest.raises(ViewError, match="found str"):
        views.lens_calibration([result, "lens/"])  # type: ignore[list-item]


def test_training_has_a_line_for_every_depth(tuned: TunedLens) -> None:
    figure = views.tuned_training(tuned)
    assert [trace.name for trace in figure.data[:4]] == [
        "embeddings", "after 0", "after 1", "after 2"
    ]  # fmt: skip
    assert list(figure.data[0].y) == pytest.approx([row[0] for row in tuned.card["losses"]])
    assert [trace.name for trace in figure.data[4:]] == ["logit lens", "tuned lens"]
    bare = dataclasses.replace(tuned, card={**tuned.card, "losses": []})
    with pytest.raises(ViewError, match="no history"):
        views.tuned_training(bare)


def test_a_model_without_numbers_is_not_called_the_end_of_a_text(result: LensResult) -> None:
    broken = dataclasses.replace(
        result,
        **{
            name: np.full_like(getattr(result, name), np.nan)
            for name in ("top_probability", "cross_entropy")
        },
    )
    subtitle = views.lens(broken).layout.title.subtitle.text
    assert "the model gave no number" in subtitle and "no token follows" not in subtitle
    both = views.lens(broken, color="cross_entropy").layout.title.subtitle.text
    assert "the model gave no number" in both and "no token follows" in both
    assert not any(views.lens(broken).data[1].text)
    whole = views.lens(result, color="cross_entropy").layout.title.subtitle.text
    assert "the model gave no number" not in whole and "no token follows" in whole


def test_more_columns_than_pixels_are_drawn_in_blocks(
    result: LensResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens_figure, "MOST_COLUMNS", 3)
    monkeypatch.setattr(lens_figure, "MOST_WRITTEN", 1)
    figure = views.lens(result)
    cells, n = figure.data[0], int((result.text == result.text[0]).sum())
    assert cells.z.shape[1] <= 3 < n
    assert f"blocks of 1 × {-(-n // 3)}" in figure.layout.title.subtitle.text
    assert "positions 0 to" in cells.hovertext[0][0]
    assert "tokens or 60 rows" in figure.layout.title.subtitle.text
    assert len(figure.layout.xaxis.tickvals) <= 26
