"""The review view decides what it shows, once, and writes it down at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from neoscope import views
from neoscope.errors import MissingExtraError
from neoscope.views.figures.probes import reviewing as module
from neoscope.views.figures.probes.review_desk import ReviewDesk
from probes.filtering.review import ReviewQueue
from probes.filtering.screened import Screened

STATIC = Path(module.__file__).parents[2] / "static"
EVIL = "<img src=x onerror=alert(1)> & \u2028"


@pytest.fixture
def queue(tmp_path: Path) -> ReviewQueue:
    texts = (EVIL, "two", "")
    reasons = {0: "bad", 1: "bad", 2: "cannot be scored: empty"}
    scores = np.array([0.9, 0.8, np.nan])
    done = Screened(texts, scores, reasons, 0.5, "bad", "p", "m")
    return ReviewQueue.open(tmp_path / "review.jsonl", done)


# ---- what messages do -------------------------------------------------------------------------


def test_texts_are_shown_one_after_another(queue: ReviewQueue) -> None:
    desk = ReviewDesk(queue)
    state = desk.state()
    assert state["item"]["text"] == EVIL
    assert (state["total"], state["pending"], state["kept"], state["dropped"]) == (3, 3, 0, 0)
    state = desk.handle({"do": "keep", "id": state["item"]["id"], "note": "fine"})
    assert state["item"]["text"] == "two"
    state = desk.handle({"do": "drop", "id": state["item"]["id"]})
    assert state["item"]["score"] is None
    assert (state["pending"], state["kept"], state["dropped"]) == (1, 1, 1)
    state = desk.handle({"do": "keep", "id": state["item"]["id"], "note": None})
    assert state["item"] is None and state["error"] == ""
    assert ReviewQueue.open(queue.path).released() == [EVIL, ""]
    assert ReviewQueue.open(queue.path).items[0].note == "fine"


def test_decision_of_a_text_that_is_no_longer_shown_is_not_taken(queue: ReviewQueue) -> None:
    desk = ReviewDesk(queue)
    first = desk.state()["item"]["id"]
    desk.handle({"do": "keep", "id": first})
    again = desk.handle({"do": "drop", "id": first})
    assert (again["kept"], again["dropped"], again["pending"]) == (1, 0, 2)


def test_undo_brings_the_text_back(queue: ReviewQueue) -> None:
    desk = ReviewDesk(queue)
    assert desk.handle({"do": "undo"})["pending"] == 3
    desk.handle({"do": "keep", "id": desk.state()["item"]["id"]})
    state = desk.handle({"do": "undo"})
    assert state["pending"] == 3 and state["item"]["text"] == EVIL
    assert queue.released() == []


@pytest.mark.parametrize("message", [None, 3, [], {}, {"do": "release"}, {"do": "keep"}])
def test_other_messages_change_nothing(message: Any, queue: ReviewQueue) -> None:
    before = queue.path.read_bytes()
    assert ReviewDesk(queue).handle(message)["pending"] == 3
    assert queue.path.read_bytes() == before


def test_error_is_shown_and_the_text_stays(
    queue: ReviewQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neoscope.errors import ProbeError

    def fail(id: str, note: str = "") -> None:
        raise ProbeError("cannot write: disk full")

    monkeypatch.setattr(queue, "keep", fail)
    desk = ReviewDesk(queue)
    state = desk.handle({"do": "keep", "id": desk.state()["item"]["id"]})
    assert state["error"] == "cannot write: disk full" and state["pending"] == 3


def test_half_a_surrogate_pair_can_be_shown(tmp_path: Path) -> None:
    done = Screened(("a\ud83d",), np.array([0.9]), {0: "bad"}, 0.5, "bad", "p", "m")
    desk = ReviewDesk(ReviewQueue.open(tmp_path / "review.jsonl", done))
    state = desk.state()
    assert state["item"]["text"] == "a\\ud83d"
    desk.handle({"do": "keep", "id": state["item"]["id"]})
    assert desk.queue.released() == ["a\ud83d"]


# ---- the widget -------------------------------------------------------------------------------


class _Trait:
    def __init__(self, default: Any = None) -> None:
        self.default = default

    def tag(self, **metadata: Any) -> Any:
        return self.default


class _Widget:
    def __init__(self, **traits: Any) -> None:
        vars(self).update(traits)

    def on_msg(self, callback: Any) -> None:
        self.answer = callback


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As much of anywidget as the view uses."""
    anywidget, traitlets = ModuleType("anywidget"), ModuleType("traitlets")
    anywidget.AnyWidget = _Widget  # type: ignore[attr-defined]
    traitlets.Dict = traitlets.Int = _Trait  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anywidget", anywidget)
    monkeypatch.setitem(sys.modules, "traitlets", traitlets)
    module._widget_class.cache_clear()
    yield
    module._widget_class.cache_clear()


@pytest.mark.usefixtures("stand_in")
def test_widget_answers_a_view(queue: ReviewQueue) -> None:
    widget = views.review(queue)
    assert widget.queue is queue
    assert widget.state["item"]["text"] == EVIL
    widget.answer(widget, {"do": "keep", "id": widget.state["item"]["id"]}, [])
    assert widget.state["item"]["text"] == "two" and widget.turn == 1
    assert queue.released() == [EVIL]
    assert widget._esm.is_file() and widget._css.is_file()


def test_missing_widgets_are_told_of(queue: ReviewQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    module._widget_class.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'neoscope\[notebook\]'"):
        views.review(queue)


# ---- the page ---------------------------------------------------------------------------------


def test_no_text_can_become_markup() -> None:
    script = (STATIC / "review.js").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http"):
        assert way not in script
    assert "text.textContent = item.text" in script


def test_every_class_of_the_page_has_its_style() -> None:
    script = (STATIC / "review.js").read_text(encoding="utf-8")
    style = (STATIC / "review.css").read_text(encoding="utf-8")
    used = set(re.findall(r"ns-review[\w-]*", script)) - {"ns-review-undo"}
    assert used <= set(re.findall(r"ns-review[\w-]*", style))
    assert "url(" not in style and "@import" not in style


def test_view_of_no_such_name() -> None:
    assert "review" in dir(views)
    with pytest.raises(AttributeError, match="no attribute 'reviews'"):
        _ = views.reviews  # type: ignore[attr-defined]
