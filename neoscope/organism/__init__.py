"""Models that come with neoscope and whose mechanism is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from neoscope.organism import compiled

__all__ = ["BUNDLED", "bundled", "compiled"]

BUNDLED: Mapping[str, Callable[[], Path]] = {"induction": compiled.induction}
"""Names that stand for a bundled checkpoint, and what makes its folder."""


def bundled(name_or_path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the folder of a bundled model, or the name unchanged if it is none."""
    if isinstance(name_or_path, str) and name_or_path in BUNDLED:
        return BUNDLED[name_or_path]()
    return name_or_path
