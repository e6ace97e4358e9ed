"""Writes the list of the notebooks, each a file to keep: ``{{ notebooks() }}``."""

from __future__ import annotations

import json
from pathlib import Path

from sphinx.application import Sphinx

FOLDER = Path(__file__).parents[1]


def notebooks() -> str:
    """Return the Markdown that lists the notebooks by title, with how each begins."""
    lines = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        title, begins = _opening(path)
        lines.append(f"- {{download}}`{title} <../{path.name}>`{f': {begins}' if begins else ''}")
    return "\n".join(lines)


def _opening(path: Path) -> tuple[str, str]:
    """Return a notebook's title, and the first paragraph below it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    title, _, rest = (texts[0] if texts else "").lstrip("# ").partition("\n")
    paragraphs = [part for part in rest.split("\n\n") if part.strip()]
    first = " ".join(paragraphs[0].split()) if paragraphs else ""
    return title or path.stem, first if not first.startswith(("#", "-", "*")) else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Let the pages call it."""
    app.setup_extension("public_names")
    app.config.reference_functions["notebooks"] = notebooks
    return {"parallel_read_safe": True}
