"""One result, or several with their names: what figures of curves are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neoscope.errors import ViewError
from neoscope.views.given import expect


def named_results(given: Any, view: str, kinds: dict[str, str]) -> dict[str, Any]:
    """Return results by their names; a single one has none (``""``).

    Args:
        given: A result, or a mapping of names to results.
        view: The view's name, for messages.
        kinds: Class names that it draws, and what returns each.

    Raises:
        ViewError: There is none, or something else among them.
    """
    if not isinstance(given, Mapping):
        expect(given, view, kinds)
        return {"": given}
    if not given:
        raise ViewError(f"views.{view}: there is nothing to draw: the mapping is empty")
    for one in given.values():
        expect(one, view, kinds)
    return {str(name): one for name, one in given.items()}
