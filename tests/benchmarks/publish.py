"""What was measured, put where it is shown: the README, the guide, the committed file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from neoscope.files import atomic
from tests.benchmarks import growth_figure, scale_table, table

ROOT = Path(__file__).parents[2]
MEASURED = Path(__file__).parent / "measured.json"
README = ROOT / "README.md"
GUIDE = ROOT / "notebooks" / "reference" / "guide" / "performance.md"
PICTURE = ROOT / "notebooks" / "pictures" / "growth.png"


def between(text: str, name: str) -> str:
    """Return what stands between the two comments of a name.

    Raises:
        ValueError: There are not two.
    """
    return _marked(text, name)[1].removeprefix("\n").removesuffix("\n")


def replaced(text: str, name: str, new: str) -> str:
    """Return a text with something else between the two comments of a name."""
    before, _, after = _marked(text, name)
    return f"{before}\n{new}\n{after}"


def _marked(text: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: written by tests.benchmarks -->", f"<!-- end of {name} -->"
    found = re.fullmatch(f"(.*{re.escape(begin)})(.*)({re.escape(end)}.*)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"there is no {begin!r} with an {end!r} after it")
    return found[1], found[2], found[3]


PLACES: tuple[tuple[Path, str, Callable[[Path], str]], ...] = (
    (README, "figures", table.brief),
    (README, "costs", scale_table.costs),
    (GUIDE, "figures", table.full),
    (GUIDE, "parts", scale_table.parts),
)
"""Page, name of the comments, and what stands between them."""


def publish(path: Path) -> None:
    """Write a file of measurements to where it is shown.

    Raises:
        ValueError: A page has no comments to write between.
    """
    new = {page: page.read_text(encoding="utf-8") for page, *_ in PLACES}
    for page, name, made in PLACES:
        new[page] = replaced(new[page], name, made(path))
    for page, text in {MEASURED: path.read_text(encoding="utf-8"), **new}.items():
        with atomic(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    if curves := [row for row in rows if row["points"]]:
        growth_figure.draw(curves, PICTURE)
