"""ReviewDesk: what a reviewer sees of a queue, one text at a time, and what their keys do to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neoscope.errors import NeoscopeError

if TYPE_CHECKING:
    from probes import ReviewQueue


class ReviewDesk:
    """Turns messages of a view into decisions of a queue; knows no browser.

    Every decision is in the queue's file when :meth:`handle` returns.
    """

    def __init__(self, queue: ReviewQueue) -> None:
        """Look at nothing yet.

        Args:
            queue: What is decided.
        """
        self.queue = queue

    def handle(self, message: Any) -> dict[str, Any]:
        """Do what a view asks for, and return what it is to show now.

        A decision names the text that it was made of: if another stands there by now, because a key
        was pressed twice or somebody else decided, nothing is done.

        Args:
            message: ``{"do": "keep" | "drop", "id": ..., "note": ...}`` or ``{"do": "undo"}``;
                anything else changes nothing.
        """
        error = ""
        try:
            self._do(message if isinstance(message, Mapping) else {})
        except NeoscopeError as problem:
            error = str(problem)
        return self.state(error)

    def state(self, error: str = "") -> dict[str, Any]:
        """Return what is to be shown, as plain JSON values that UTF-8 can write.

        Args:
            error: What went wrong, if anything did.
        """
        items = self.queue.items
        pending = [item for item in items if item.decision is None]
        shown = None
        if pending:
            first = pending[0]
            names = ("id", "text", "score", "threshold", "reject", "reason", "withheld_at")
            shown = {name: _writable(getattr(first, name)) for name in names}
        return {
            "item": shown,
            "total": len(items),
            "pending": len(pending),
            "kept": sum(item.decision == "keep" for item in items),
            "dropped": sum(item.decision == "drop" for item in items),
            "error": _writable(error),
        }

    def _do(self, message: Mapping[str, Any]) -> None:
        what, note = message.get("do"), str(message.get("note") or "")
        if what == "undo":
            self.queue.undo()
        elif what in ("keep", "drop"):
            pending = self.queue.pending
            if pending and pending[0].id == message.get("id"):
                decide = self.queue.keep if what == "keep" else self.queue.drop
                decide(pending[0].id, note)


def _writable(value: Any) -> Any:
    """Show half a surrogate pair as letters: no message to a browser can hold one."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
