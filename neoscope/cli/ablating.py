"""``--ablate``: parts that are switched off meanwhile, as run and eval read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from neoscope.edit import Edit

Ablation = tuple[str, int, int | None]
"""Site, layer and head; None for all heads, or where there are none."""


def read_ablations(texts: Sequence[str] | None) -> list[Ablation]:
    """Read ``2.1``, ``z:2.1`` and ``mlp_out:3``.

    Raises:
        typer.BadParameter: Something else stands there.
    """
    found: list[Ablation] = []
    for text in texts or []:
        match = re.fullmatch(r"(?:([\w.]+):)?(-?\d{1,9})(?:\.(\d{1,9}))?", text.strip())
        if match is None or not (match[1] or match[3]):
            raise typer.BadParameter(
                f"--ablate {text!r} is not understood; write 2.1 for head 1 of layer 2, or "
                "SITE:LAYER[.HEAD] such as mlp_out:3"
            )
        found.append((match[1] or "z", int(match[2]), None if match[3] is None else int(match[3])))
    return found


def edits_of(ablations: Sequence[Ablation]) -> list[Edit]:
    """Return the edits that switch the parts off."""
    from neoscope.edits import ablate

    return [ablate(site, layer, head) for site, layer, head in ablations]
