"""Figures as small pages that share one copy of plotly's script, which lies beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

    GivenFigures = Mapping[str, go.Figure]
else:
    GivenFigures = Any

SCRIPT = "plotly.min.js"


def save_gallery(figures: GivenFigures, folder: Path) -> tuple[Path, ...]:
    """Write one page a figure; each needs the script beside it, and no network.

    Args:
        figures: By the names that their files get.
        folder: A folder that is there.

    Returns:
        The pages.
    """
    import plotly.io as pio
    from plotly.offline import get_plotlyjs

    from neoscope.views.saving import CONFIG, follow_system, write
    from neoscope.views.theme import has_scale

    write(folder / SCRIPT, get_plotlyjs().encode())
    pages = []
    for name, figure in figures.items():
        text = pio.to_html(figure, include_plotlyjs=SCRIPT, full_html=True, config=CONFIG,
                           post_script=follow_system(scaled=has_scale(figure)))  # fmt: skip
        text = text.replace("<head>", f"<head><title>{name}</title>", 1)
        pages.append(write(folder / f"{name}.html", text.encode("utf-8", "backslashreplace")))
    return tuple(pages)
