"""What a microscope refuses, and says of it without options that it does not have."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch

import neoscope as ns
from neoscope.edits import ablate
from neoscope.errors import NeoscopeError, ViewError
from neoscope.views import Microscope
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.showing import show
from neoscope.views.microscope.static_page import static_page
from tests.neoscope.views.microscope_cases import MARY


def test_model_with_edits_in_force_is_refused_at_every_run(model: ns.HookedGPTNeo) -> None:
    desk = MicroscopeDesk(model, MARY)
    before = show(desk)
    with model.edits(ablate("z", 2, 1)):
        with pytest.raises(ViewError, match="edits in force"):
            MicroscopeDesk(model, MARY)
        for change in (lambda: desk.update(text="The"), lambda: desk.switch(0), desk.cache):
            with pytest.raises(ViewError, match="edits in force"):
                change()
    assert show(desk) == before
    desk.switch(0)
    assert len(desk.edits) == 1


def test_numbers_that_are_none_travel_as_null(model: ns.HookedGPTNeo) -> None:
    desk = MicroscopeDesk(model, MARY, directions={"up": torch.linspace(-1, 1, 128)})
    desk.steer("up", 0, 1e30)
    state = show(desk).state
    json.dumps(state, allow_nan=False)
    assert {row["after"] for row in state["next"]} == {None}
    assert state["next"][0]["before"] == pytest.approx(float(desk.base.log_probs(13).exp().max()))
    assert "NaN or infinity" in state["error"] and "–" in static_page(desk)
    desk.update(changes=())
    assert show(desk).state["error"] == ""


@pytest.mark.parametrize("text", ["", "the " * 400])
def test_prompts_are_refused_in_the_widgets_own_words(text: str, model: ns.HookedGPTNeo) -> None:
    with pytest.raises(NeoscopeError, match="the prompt") as refused:
        MicroscopeDesk(model, text)
    assert not re.search("text 0|truncate|prepend_bos", str(refused.value))


@pytest.mark.parametrize("other", ["When", MARY])
def test_maps_are_refused_in_the_widgets_own_words(other: str, model: ns.HookedGPTNeo) -> None:
    with pytest.raises(ViewError, match="prompt") as refused:
        MicroscopeDesk(model, MARY, other=other).compare()
    assert not re.search("pair 0|1 tokens|clean", str(refused.value))


def test_what_is_no_model_no_edits_or_no_attribute_is_said(model: ns.HookedGPTNeo) -> None:
    with pytest.raises(ViewError, match=r"neoscope.load\('organism'\)"):
        MicroscopeDesk("organism", MARY)  # type: ignore[arg-type]
    desk = MicroscopeDesk(model, MARY)
    for edits in (5, None):
        with pytest.raises(ViewError, match="expected a list of edits"):
            desk.set_edits(edits)
    scope: Any = Microscope(model, MARY)
    with pytest.raises(ViewError, match="did you mean 'position'"):
        scope.postion = 3
    scope.position = 3
    assert scope.position == 3


def test_unfitted_probe_says_how_to_get_one(model: ns.HookedGPTNeo) -> None:
    import probes

    with pytest.raises(ViewError, match=r"not fitted.*probes\.sweep"):
        MicroscopeDesk(model, MARY, directions={"number": probes.LogisticProbe()})


def test_steering_edit_says_what_it_does(model: ns.HookedGPTNeo) -> None:
    desk = MicroscopeDesk(model, MARY, directions={"number": torch.ones(128)})
    desk.steer("number", 1, 14.25)
    (edit,) = desk.edits
    assert "directions['number']" in repr(edit) and "scale=14.25" in repr(edit)
    assert show(desk).state["changes"][0]["label"] == "+14.25 along number, layer 1"


def test_still_picture_has_labels_and_hides_what_cannot_be_seen(model: ns.HookedGPTNeo) -> None:
    page = static_page(MicroscopeDesk(model, MARY))
    assert page.count("·store</text>") == 2 and 'fill="#dfe3e8"' in page
