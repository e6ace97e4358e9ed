"""save: a figure as a page that works offline, a picture, or plotly's JSON; written whole."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ViewError, missing_extra
from neoscope.files import atomic
from neoscope.views.given import number
from neoscope.views.theme import NIGHT, has_scale, template

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from plotly.graph_objects import Figure as GivenFigure

    GivenPath = str | os.PathLike[str]
    GivenSize = int | None
    GivenScale = float
else:
    GivenFigure = GivenPath = GivenSize = GivenScale = Any

_PICTURES = (".png", ".svg", ".pdf", ".jpg", ".webp")
_FORMATS = (".html", *_PICTURES, ".json")
CONFIG: dict[str, Any] = {"displaylogo": False, "responsive": True, "showSendToCloud": False}
"""Plotly's own settings for every page that neoscope writes."""


def save(
    figure: GivenFigure,
    path: GivenPath,
    *,
    width: GivenSize = None,
    height: GivenSize = None,
    scale: GivenScale = 2.0,
) -> Path:
    """Write a figure to a file; the ending says how.

    ``.html`` is one page that holds all it needs (about 5 MB, most of it plotly's script) and
    follows the reader's light or dark setting; ``.png``, ``.svg``, ``.pdf``, ``.jpg`` and ``.webp``
    are drawn by kaleido in a browser on this machine; ``.json`` is what plotly reads back.

    Args:
        figure: What a view returned.
        path: The file; an old one is replaced once the new one is whole.
        width: Of a picture, in pixels; the figure's own, or 900.
        height: The same.
        scale: Dots a pixel, above 0 and at most 50, for ``.png``, ``.jpg`` and ``.webp``.

    Returns:
        The file's path.

    Raises:
        ViewError: It is no figure, another ending, a size that is none, a folder that is not there
            or cannot be written, or no browser that could draw a picture.
        MissingExtraError: kaleido is not installed (the extra ``pictures``).
    """
    target = Path(path)
    ending = _format_of(target)
    _checked(figure, width, height, scale)
    if ending in _PICTURES:
        data = _picture(figure, ending[1:], width, height, scale)
    elif ending == ".html":
        data = page(figure).encode("utf-8", "backslashreplace")
    else:
        data = figure.to_json(pretty=False).encode("utf-8", "backslashreplace")
    return write(target, data)


def write(target: Path, data: bytes) -> Path:
    """Write a file whole.

    Args:
        target: Where.
        data: What.

    Raises:
        ViewError: The folder is not there or cannot be written.
    """
    try:
        with atomic(target) as temporary:
            temporary.write_bytes(data)
    except OSError as problem:
        raise ViewError(f"{target} cannot be written: {problem.strerror or problem}") from problem
    return target


def page(figure: go.Figure) -> str:
    """Return a figure as one HTML page that loads nothing.

    Args:
        figure: What a view returned.
    """
    import plotly.io as pio

    text: str = pio.to_html(
        figure,
        include_plotlyjs=True,
        full_html=True,
        config=CONFIG,
        post_script=follow_system(scaled=has_scale(figure)),
    )
    charset = '<meta charset="utf-8" />'
    sized = '<meta name="viewport" content="width=device-width" /><title>neoscope</title>'
    night = f"@media(prefers-color-scheme:dark){{body{{background:{NIGHT}}}}}"
    style = f"<style>body{{margin:0}}{night}</style>"
    return text.replace(charset, charset + sized + style, 1)


def follow_system(*, scaled: bool = False) -> str:
    """Return the script that makes a plotly figure dark where the reader's system is.

    Args:
        scaled: Whether the figure has a colour scale.
    """
    night = json.dumps(template(night=True, scaled=scaled).to_plotly_json()).replace("<", "\\u003c")
    return (
        "(function(){var g=document.getElementById('{plot_id}');"
        "var m=window.matchMedia&&window.matchMedia('(prefers-color-scheme: dark)');if(!m)return;"
        "var day=g.layout.template,night=" + night + ";"
        "function set(){Plotly.relayout(g,{template:m.matches?night:day});}"
        "if(m.matches)set();m.addEventListener('change',set);})();"
    )


def _picture(
    figure: go.Figure, form: str, width: int | None, height: int | None, scale: float
) -> bytes:
    """Draw a figure in a browser, through kaleido."""
    import importlib.util

    if importlib.util.find_spec("kaleido") is None:
        raise missing_extra("kaleido", "pictures")
    from neoscope.views.picture_drawing import drawn

    wanted = {
        "format": form,
        "width": width or figure.layout.width or 900,
        "height": height or figure.layout.height,
        "scale": scale,
    }
    return drawn(figure.to_json(pretty=False), wanted)


def _checked(figure: object, width: object, height: object, scale: object) -> None:
    """Refuse what is no figure, and sizes that no picture can have."""
    from plotly.basedatatypes import BaseFigure

    if not isinstance(figure, BaseFigure):
        from neoscope.views.dispatch import view_of

        view = view_of(figure)
        hint = f"; views.{view} draws one of it" if view else ""
        raise ViewError(
            f"views.save writes a figure that a view returned; found {type(figure).__name__}{hint}"
        )
    for name, given in (("width", width), ("height", height)):
        if given is not None:
            number(given, name, "save")
    fits = isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale <= 50
    if not fits:
        raise ViewError(f"views.save: scale={scale!r}; expected dots a pixel, above 0, at most 50")


def _format_of(target: Path) -> str:
    """Return a path's ending, if it is one that is known."""
    ending = target.suffix.lower()
    if ending in _FORMATS:
        return ending
    known = ", ".join(_FORMATS)
    if target.is_dir():
        raise ViewError(f"{target} is a folder: name a file in it, ending in one of {known}")
    if not ending:
        raise ViewError(f"{target} has no ending, which says what to write: one of {known}")
    close = difflib.get_close_matches(ending, _FORMATS, n=1, cutoff=0.7)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ViewError(f"{target}: a figure is saved as {known}; this ends in {ending!r}{hint}")
