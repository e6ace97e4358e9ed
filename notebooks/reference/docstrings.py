"""Keeps napoleon and autodoc to what our docstrings mean."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

from docutils import nodes
from public_names import everything, look_up
from sphinx import addnodes
from sphinx.application import Sphinx

_OURS = ("neoscope", "probes")
_ARRAY = r"(?:numpy\.)?ndarray\[tuple\[Any, \.\.\.\], (?:numpy\.)?dtype\[(?:numpy\.)?(\w+)\]\]"
_LONGEST_VALUE = 100
_COLON = "\ue000"


def _hide_colon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Hide colons from napoleon, which takes what is before one for an attribute's type."""
    if what in ("attribute", "property", "data"):
        lines[:] = [f"{line} ".replace(": ", f"{_COLON} ").rstrip() for line in lines]


def _show_colon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a class has from another package, such as scikit-learn's mixins."""
    if name in ("add_note", "with_traceback"):
        return True
    function = obj.fget if isinstance(obj, property) else inspect.unwrap(obj)
    home = getattr(function, "__module__", None)
    if home and home.partition(".")[0] not in (*_OURS, "builtins"):
        return True
    return None


@functools.cache
def _documented() -> frozenset[int]:
    return frozenset(id(look_up(*full.rsplit(".", 1))) for full in set(everything().values()))


def _bases(app: Sphinx, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    """Leave out bases of ours that are on no page."""
    bases[:] = [
        base
        for base in bases
        if id(base) in _documented()
        or getattr(base, "__module__", "").partition(".")[0] not in _OURS
    ] or [object]


def _shorten(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Leave out long values, and write the type of an array as the source does."""
    for value in list(doctree.findall(addnodes.desc_annotation)):
        text = value.astext()
        if text.lstrip().startswith("=") and len(text) > _LONGEST_VALUE:
            value.parent.remove(value)
        elif "ndarray[tuple[" in text or ", ' " in text:
            shown = re.sub(_ARRAY, r"NDArray[\1]", text).replace(", ' ", ", '")
            value.children = []
            value += nodes.Text(shown)


def _tidy(app: Sphinx, doctree: nodes.document) -> None:
    """Take away what says nothing, and set dashes as dashes."""
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)
    for reference in list(doctree.findall(addnodes.pending_xref)):
        # torch.device is no property of ours that ends so.
        if reference["reftarget"] in ("torch.device", "torch.dtype"):
            reference.parent.replace(reference, nodes.Text(reference["reftarget"]))
    for text in list(doctree.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(" \u2013 "))


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx know."""
    app.connect("autodoc-process-docstring", _hide_colon, priority=400)
    app.connect("autodoc-process-docstring", _show_colon, priority=600)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-bases", _bases)
    app.connect("doctree-read", _tidy)
    app.connect("doctree-resolved", _shorten)
    return {"parallel_read_safe": True}
