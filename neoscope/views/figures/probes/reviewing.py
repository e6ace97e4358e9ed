"""review: a notebook view in which a person keeps or drops what a filter withheld."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import missing_extra
from neoscope.views.figures.probes.review_desk import ReviewDesk

if TYPE_CHECKING:
    from probes import ReviewQueue

_STATIC = Path(__file__).parents[2] / "static"


def review(queue: ReviewQueue) -> Any:
    """Show one withheld text after another, with buttons and keys: k keeps, d drops, u undoes.

    A decision is in the queue's file at once: closing the notebook loses nothing, and the queue
    goes on where it was left. The text is shown as text, whatever stands in it. Where widgets
    cannot be shown, the queue itself prints as a table.

    Args:
        queue: A :class:`probes.ReviewQueue`.

    Returns:
        The widget; ``widget.queue.released()`` are the texts that were kept.

    Raises:
        MissingExtraError: anywidget is not installed (the extra ``notebook``).
    """
    return _widget_class()(queue)


@functools.cache
def _widget_class() -> Any:
    try:
        anywidget: Any = importlib.import_module("anywidget")
        traitlets: Any = importlib.import_module("traitlets")
    except ImportError:
        raise missing_extra("anywidget", "notebook") from None

    class ReviewView(anywidget.AnyWidget):  # type: ignore[misc]  # it is Any
        """A queue under review."""

        _esm = _STATIC / "review.js"
        _css = _STATIC / "review.css"
        state = traitlets.Dict().tag(sync=True)
        turn = traitlets.Int(0).tag(sync=True)
        """Counts the answers, so that a view sees that one came even if nothing changed."""

        def __init__(self, queue: ReviewQueue) -> None:
            """Show the first text.

            Args:
                queue: What is decided.
            """
            self.queue = queue
            self._desk = ReviewDesk(queue)
            super().__init__(state=self._desk.state())
            self.on_msg(self._answer)

        def _answer(self, widget: Any, content: Any, buffers: Any) -> None:
            self.state = self._desk.handle(content)
            self.turn += 1

    return ReviewView
