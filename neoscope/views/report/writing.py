"""The report's page: a template filled in, plotly once, and figures that are drawn when seen."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from neoscope.views.labels import seen
from neoscope.views.report.parts import Code, Picture, Prose, Section, Table
from neoscope.views.saving import CONFIG
from neoscope.views.theme import template

_STATIC = Path(__file__).parents[1] / "static"
_KINDS = {Picture: "picture", Table: "table", Prose: "prose", Code: "code"}
_USUAL_HEIGHT = 460
_KEPT = "\n\t\u00a0\u200d"


def page(model: str, text: str, sections: Sequence[Section]) -> str:
    """Return the whole page.

    Args:
        model: The model's name.
        text: What was read; "" for none.
        sections: What is shown, in order.
    """
    from plotly.offline import get_plotlyjs

    from neoscope import __version__

    figures = [block for one in sections for block in one.blocks if isinstance(block, Picture)]
    script = (_STATIC / "report.js").read_text(encoding="utf-8")
    # Only these scripts run: what a prompt might smuggle in would have another hash.
    scripts = [get_plotlyjs(), script] if figures else []
    filled: str = _environment().get_template("report.html.j2").render(
        model=model,
        text=shown_text(text),
        version=__version__,
        sections=sections,
        kind=lambda block: _KINDS[type(block)],
        figure=_figure,
        numeric=_numeric,
        height=_height,
        least_width=_least_width,
        style=Markup((_STATIC / "report.css").read_text(encoding="utf-8")),
        scripts=[Markup(one) for one in scripts],
        policy=_policy(scripts),
        settings=_json(
            {
                "day": template().to_plotly_json(),
                "night": template(night=True).to_plotly_json(),
                "night_scaled": template(night=True, scaled=True).to_plotly_json(),
                "config": CONFIG,
            }
        ),
    )  # fmt: skip
    return filled


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_STATIC), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _policy(scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy under which nothing is loaded and nothing else runs."""
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in scripts
    )
    rules = {
        "default-src": "'none'",
        "script-src": allowed or "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _figure(picture: Picture) -> Markup:
    """Return a figure's data; its colours are those of the page, so the template stays behind."""
    found = json.loads(picture.figure.to_json())
    found["layout"].pop("template", None)
    return _json(found)


def _json(value: Any) -> Markup:
    """Return JSON that can stand in a script element, whatever strings it holds."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _numeric(cell: Any) -> bool:
    """Whether a cell is a number, an interval or a dash: what must not be broken."""
    return not set(str(cell)) - set("0123456789.,-–+e to%")


def shown_text(text: str) -> str:
    """Return a text in which nothing unseen can turn or hide what stands beside it.

    Args:
        text: Any; a control character comes back as its number.
    """
    return seen(text, _KEPT)


def _least_width(picture: Picture) -> int:
    """A figure that was made wide is scrolled, not cut."""
    return int(picture.figure.layout.width or 0)


def _height(picture: Picture) -> int:
    return int(picture.figure.layout.height or _USUAL_HEIGHT)
