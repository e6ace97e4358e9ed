"""The microscope as an anywidget: its script, its style, and what is synchronised."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neoscope.errors import ViewError, missing_extra
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.showing import Shown, answer, show
from neoscope.views.microscope.widget import Microscope

_STATIC = Path(__file__).parents[1] / "static" / "microscope"
_SCRIPTS = ("dom", "theme", "cells", "tokens", "heads", "readouts", "changes", "patching", "page")


@functools.cache
def script() -> str:
    """Return the page's script: one module, made of the files in ``static/microscope``."""
    return "\n".join((_STATIC / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)


@functools.cache
def style() -> str:
    """Return the page's style sheet."""
    return (_STATIC / "microscope.css").read_text(encoding="utf-8")


@functools.cache
def widget_class() -> Any:
    """Return the class of the widget, made when it is first asked for.

    Raises:
        MissingExtraError: anywidget is not installed.
    """
    try:
        anywidget: Any = importlib.import_module("anywidget")
        traitlets: Any = importlib.import_module("traitlets")
    except ImportError:
        raise missing_extra("anywidget", "notebook") from None

    class MicroscopeWidget(Microscope, anywidget.AnyWidget):  # type: ignore[misc]  # it is Any
        """A microscope in a notebook."""

        _esm = script()
        _css = style()
        state = traitlets.Dict().tag(sync=True)
        thumbs = traitlets.Bytes().tag(sync=True)
        pattern = traitlets.Bytes().tag(sync=True)
        effects = traitlets.Bytes().tag(sync=True)
        turn = traitlets.Int(0).tag(sync=True)
        """Counts the answers, so that a view sees that one came even if nothing changed."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            Microscope.__init__(self, *args, **kwargs)
            anywidget.AnyWidget.__init__(self, **vars(show(self._desk)))
            self.on_msg(self._answer)

        def _answer(self, widget: Any, content: Any, buffers: Any) -> None:
            self._refresh(answer(self._desk, content, self._tell), content)

        def _tell(self, done: int, total: int) -> None:
            """Say how far a long measurement is, before there is an answer."""
            self.send({"done": done, "total": total})

        def _refresh(self, error: str = "", message: Any = None) -> None:
            shown: Shown = show(self._desk, error)
            if isinstance(message, Mapping) and message.get("code"):
                shown.state["code"] = _code_or_error(self._desk)
            with self.hold_sync():
                for name, value in vars(shown).items():
                    setattr(self, name, value)
                self.turn += 1

        def _repr_mimebundle_(self, **kwargs: Any) -> Any:
            bundle = super()._repr_mimebundle_(**kwargs)
            data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
            # Where the widget cannot be shown, on GitHub or in a paper, this is.
            return {**(data or {}), "text/html": self.to_html()}, metadata

    return MicroscopeWidget


def _code_or_error(desk: MicroscopeDesk) -> str:
    try:
        return desk.code()
    except ViewError as error:
        return f"# {error}"
