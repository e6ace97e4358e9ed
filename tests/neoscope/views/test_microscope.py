"""The microscope shows what the model computes, and what cannot be shown changes nothing."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

import neoscope as ns
from neoscope import analysis
from neoscope.edits import ablate, mean_ablate, steer
from neoscope.errors import MissingExtraError, NeoscopeError, SiteError, ViewError
from neoscope.views.microscope import page_widget as module
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.showing import answer, show
from tests.neoscope.views.microscope_cases import MARY, close


def tell(desk: MicroscopeDesk, **message: Any) -> dict[str, Any]:
    return show(desk, answer(desk, message)).state


# ---- what is shown ----------------------------------------------------------------------------


def test_next_tokens_and_loss_are_the_models(desk: MicroscopeDesk, model: ns.HookedGPTNeo) -> None:
    edits = [ablate("z", layer=2, head=1), mean_ablate("mlp_out", layer=1)]
    tell(desk, do="switch", layer=2, head=1, how="zero")
    state = tell(desk, do="switch", layer=1, head=None, how="mean")
    with torch.no_grad():
        before, loss_before = model(MARY, return_type="both")
        after, loss_after = model(MARY, edits=edits, return_type="both")
    for row in state["next"]:
        assert row["before"] == pytest.approx(float(before[0, -1].softmax(-1)[row["id"]]), abs=1e-5)
        assert row["after"] == pytest.approx(float(after[0, -1].softmax(-1)[row["id"]]), abs=1e-5)
    assert state["loss"]["before"] == pytest.approx(float(loss_before), abs=1e-5)
    assert state["loss"]["after"] == pytest.approx(float(loss_after), abs=1e-5)
    assert state["next"][0]["id"] == int(after[0, -1].argmax())
    assert int(before[0, -1].argmax()) in [row["id"] for row in state["next"]]
    assert state["off"] == {"head 2.1": "zero", "mlp 1": "mean"}
    assert close(desk.run.logits, after[0])


def test_selected_position_moves_lens_and_distribution(
    desk: MicroscopeDesk, model: ns.HookedGPTNeo
) -> None:
    state = tell(desk, do="position", position=4)
    _, cache = model.run_with_cache(MARY)
    lens = analysis.logit_lens(cache, positions=4, k=1)
    assert [row["label"] for row in state["lens"]["rows"]] == list(lens.labels)
    found = [row["probability"] for row in state["lens"]["rows"]]
    assert np.allclose(found, lens.top_probability[:, 0, 0], atol=1e-5)
    assert state["next"][0]["after"] == pytest.approx(
        float(model(MARY)[0, 4].detach().softmax(-1).max()), abs=1e-5
    )


def test_pattern_of_the_selected_head_travels_within_half_a_step(
    desk: MicroscopeDesk, model: ns.HookedGPTNeo
) -> None:
    tell(desk, do="select", layer=2, head=1)
    shown = show(desk)
    n = len(shown.state["tokens"])
    found = np.frombuffer(shown.pattern, np.uint8).reshape(n, n) / 255
    _, cache = model.run_with_cache(MARY, sites="pattern", layers=2)
    exact = cache["pattern", 2][0, 1].numpy()
    assert np.abs(found - exact).max() <= 1 / 510 + 1e-6
    assert np.abs(found - cache["pattern", 2][0, 0].numpy()).max() > 0.1


def test_edits_show_in_the_patterns(desk: MicroscopeDesk) -> None:
    before = show(desk).thumbs
    tell(desk, do="switch", layer=0, head=None, how="zero")
    assert show(desk).thumbs != before
    tell(desk, do="clear")
    assert show(desk).thumbs == before and desk.run is desk.base


def test_steering_is_the_edit_of_that_name(desk: MicroscopeDesk, model: ns.HookedGPTNeo) -> None:
    state = tell(desk, do="steer", name="it's a slope", layer=1, scale=3.0)
    direction = torch.linspace(-1, 1, model.config.d_model)
    edit = steer("resid_post", 1, direction / direction.norm(), 3.0)
    with torch.no_grad():
        expected = model.run_with_edits(MARY, [edit])[0]
    assert state["error"] == "" and close(desk.run.logits, expected)
    assert state["steering"] == [{"name": "it's a slope", "layer": 1, "scale": 3.0}]
    tell(desk, do="steer", name="it's a slope", layer=2, scale=1.0)
    assert [one["layer"] for one in show(desk).state["steering"]] == [2]
    assert tell(desk, do="steer", name="it's a slope", layer=2, scale=0)["changes"] == []


def test_tuned_lens_is_read_and_another_models_is_refused(model: ns.HookedGPTNeo) -> None:
    with pytest.raises(NeoscopeError, match="TunedLens"):
        MicroscopeDesk(model, MARY, lens="lens/")  # type: ignore[arg-type]


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"do": "text", "text": ""}, "empty"),
        ({"do": "text", "text": "the " * 400}, "401 tokens"),
        ({"do": "text", "text": "half \ud83d"}, "surrogate"),
        ({"do": "other", "text": "the " * 400}, "401 tokens"),
        ({"do": "select", "layer": 4, "head": 0}, "layer 4"),
        ({"do": "select"}, "layer None"),
        ({"do": "position", "position": 14}, "position 14"),
        ({"do": "position", "position": -1}, "position -1"),
        ({"do": "switch", "layer": 0, "head": 9, "how": "zero"}, "head 9"),
        ({"do": "switch", "layer": 0, "head": 0, "how": "meen"}, "did you mean 'mean'"),
        (
            {"do": "steer", "name": "its a slope", "layer": 0, "scale": 1},
            'did you mean "it\'s a slope"',
        ),
        ({"do": "steer", "name": "it's a slope", "layer": 0, "scale": "far"}, "expected a number"),
        ({"do": "map", "site": "resid"}, "did you mean 'resid_post'"),
        ({"do": "patch", "layer": 0}, "needs a position or a head"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    message: Any, said: str, desk: MicroscopeDesk
) -> None:
    tell(desk, do="switch", layer=2, head=1, how="zero")
    before = show(desk)
    error = answer(desk, message)
    assert said in error
    after = show(desk)
    assert after == before
    assert show(desk, error).state["error"] != ""


@pytest.mark.parametrize("message", [None, 3, [], {}, {"do": "release"}, {"do": []}])
def test_other_messages_change_nothing(message: Any, desk: MicroscopeDesk) -> None:
    before = show(desk)
    assert answer(desk, message) == ""
    assert show(desk) == before


def test_words_the_model_never_saw_are_told(model: ns.HookedGPTNeo) -> None:
    desk = MicroscopeDesk(model, MARY)
    state = tell(desk, do="text", text="The xylophone")
    assert "xylophone" in state["notes"][0] and state["text"] == "The xylophone"
    assert tell(desk, do="text", text=MARY)["notes"] == []


def test_model_is_asked_for_what_went_wrong_outside(
    desk: MicroscopeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(desk.model, "run_with_cache", fail)
    assert "out of memory" in tell(desk, do="text", text="The")["error"]
    assert desk.setting.text == MARY


@pytest.mark.parametrize(
    ("directions", "said"),
    [
        ([1.0], "expected names"),
        ({"a": torch.ones(3)}, r"shape \(3,\)"),
        ({"a": torch.zeros(128)}, "length 0"),
        ({"a": torch.full((128,), float("nan"))}, "length nan"),
        ({"a": "north"}, "expected a vector"),
    ],
)
def test_directions_that_point_nowhere(directions: Any, said: str, model: ns.HookedGPTNeo) -> None:
    with pytest.raises(ViewError, match=said):
        MicroscopeDesk(model, MARY, directions=directions)


def test_probe_gives_its_directions(model: ns.HookedGPTNeo) -> None:
    import probes

    rows = np.random.default_rng(0).normal(size=(60, 128)).astype(np.float32)
    labels = np.where(rows[:, 5] > 0, "pos", "neg")
    probe = probes.LogisticProbe().fit(rows, labels)
    desk = MicroscopeDesk(model, MARY, directions={"sign": probe})
    (one,) = desk.directions
    assert one.name == "sign" and float(one.vector.norm()) == pytest.approx(1.0)
    expected = probe.directions()[0] / np.linalg.norm(probe.directions()[0])
    assert np.allclose(one.vector.numpy(), expected, atol=1e-6)
    several = np.digitize(rows[:, 5], [-0.5, 0.5])
    probe = probes.LogisticProbe().fit(rows, several)
    names = [one.name for one in MicroscopeDesk(model, "The", directions={"k": probe}).directions]
    assert names == ["k: 0", "k: 1", "k: 2"]


# ---- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 2, 24, 25, 120])
def test_only_what_is_on_screen_travels(words: int, model: ns.HookedGPTNeo) -> None:
    shown = show(MicroscopeDesk(model, "the " * (words - 1) + "the"))
    size = min(words, 24)
    assert shown.state["thumb"] == size
    assert len(shown.thumbs) == 16 * size * size
    assert len(shown.pattern) == words * words
    assert shown.effects == b""
    assert (shown.state["loss"]["after"] is None) == (words == 1)


def test_a_long_prompt_on_a_large_model_stays_light() -> None:
    config = ns.NeoConfig(
        n_layers=12, d_model=24, n_heads=12, n_ctx=600, d_vocab=750, window_size=64
    )
    model = ns.HookedGPTNeo.from_config(config, tokenizer=ns.load("organism").tokenizer)
    shown = show(MicroscopeDesk(model, "the " * 255 + "the"))
    assert len(shown.thumbs) == 144 * 24 * 24 and len(shown.pattern) == 256 * 256
    with pytest.raises(ViewError, match="513 tokens; the microscope shows up to 512"):
        MicroscopeDesk(model, "the " * 512 + "the")


# ---- without anywidget ------------------------------------------------------------------------


def test_missing_widgets_are_told_of(
    model: ns.HookedGPTNeo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    module.widget_class.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"pip install 'neoscope\[notebook\]'"):
            ns.views.Microscope(model, MARY)
    finally:
        module.widget_class.cache_clear()


def test_no_such_part_in_python_raises(desk: MicroscopeDesk) -> None:
    with pytest.raises(SiteError, match="there are 4, from 0 to 3"):
        desk.switch(7)


def test_printed_it_says_what_it_shows_and_where(model: ns.HookedGPTNeo) -> None:
    scope = ns.views.Microscope(model, MARY)
    scope.switch_off(2, 1)
    assert repr(scope).startswith("Microscope('When Mary")
    assert "1 edit); it needs a notebook" in repr(scope)
