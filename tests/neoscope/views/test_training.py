"""training: the organism's own log, drawn as it was written."""

from __future__ import annotations

import copy
import json

import pytest

from neoscope import organism, views
from neoscope.errors import ViewError


def test_lines_are_the_log_of_the_card() -> None:
    card = organism.card()
    lines = {one.name: one for one in views.training().data}
    repeats = lines["loss of repeats of random words"]
    assert list(repeats.x) == card["loss"]["step"]
    assert list(repeats.y) == card["loss"]["repeats"]
    language = lines["loss of the language"]
    assert list(language.y) == [one for one in card["loss"]["language"] if one is not None]
    far = lines["beyond the window"]
    # Step 0 has no place on a logarithmic axis; the note tells it.
    assert list(far.y) == card["repeats_continued"]["far"][1:]
    said = views.training().layout.title.subtitle.text.replace("<br>", " ")
    assert "0% of repeats within the window and 0% beyond it" in said
    assert {one.legend for one in views.training().data} == {"legend", "legend2"}


def test_the_kept_checkpoints_are_marked_at_their_steps() -> None:
    figure = views.training()
    moments = organism.card()["training"]["moments"]
    marked = {one.x0 for one in figure.layout.shapes}
    assert set(moments.values()) <= marked
    said = [one.text for one in figure.layout.annotations]
    assert {"before", "during", "after"} <= set(said)
    assert "before (step 170), during (step 180), after (step 250)" in (
        figure.layout.title.subtitle.text.replace("<br>", " ")
    )


def test_the_gates_of_the_card_are_counted() -> None:
    card = copy.deepcopy(organism.card())
    card["gates"]["gates"][0]["holds"] = False
    assert "13 of 14 gates hold" in views.training(card).layout.title.subtitle.text


def test_a_card_of_another_run_is_drawn_and_escaped() -> None:
    card = copy.deepcopy(organism.card())
    card["name"] = "<script>alert(1)</script>"
    card["training"]["moments"] = {"<b>x</b>": 200}
    figure = views.training(card)
    told = json.dumps(figure.to_dict(), default=str)
    assert "<script" not in told
    assert "<b>x" not in told


def test_other_things_are_refused() -> None:
    with pytest.raises(ViewError, match=r"organism\.card"):
        views.training("organism")
    with pytest.raises(ViewError, match=r"lacks training\.seed"):
        views.training({"parameters": 3})
