"""Models that come with neoscope: one small and trained, others compiled with a known mechanism."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.errors import CheckpointError, nearest
from neoscope.organism import compiled, language
from neoscope.organism.bundle import card, path, truth_card
from neoscope.organism.language import pairs, sentences

if TYPE_CHECKING:
    from neoscope.checkpoint import Checkpoint

__all__ = [
    "BUNDLED",
    "bundled",
    "card",
    "compiled",
    "language",
    "locate",
    "pairs",
    "path",
    "sentences",
    "truth_card",
]


def _random_twin() -> Path:
    from neoscope.organism.initial import random_twin

    return random_twin()


BUNDLED: Mapping[str, Callable[[], Path]] = {
    "organism": path,
    "organism-random": _random_twin,
    "organism-before": lambda: path("before"),
    "organism-during": lambda: path("during"),
    "organism-after": lambda: path("after"),
    "induction": compiled.induction,
    "induction-short-window": compiled.induction_short_window,
    "duplicate-token": compiled.duplicate_token,
    "gates": compiled.gates,
    "facts": compiled.facts,
    "direction": compiled.direction,
    "zero-tail": compiled.zero_tail,
    "rotated": compiled.rotated,
    "outliers": compiled.outliers,
}
"""Names that stand for a bundled checkpoint, and what makes its folder."""


def bundled(name_or_path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the folder of a bundled model, or the name unchanged if it is none."""
    if isinstance(name_or_path, str) and name_or_path in BUNDLED:
        return BUNDLED[name_or_path]()
    return name_or_path


def locate(name_or_path: str | os.PathLike[str], *, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint by the name of a bundled model, or as ``checkpoint.find`` does.

    Args:
        name_or_path: One of ``BUNDLED``, a hub id, a folder or a file.
        revision: Branch, tag or commit on the hub.

    Raises:
        CheckpointError: It cannot be found; names the bundled model that is spelled alike.
    """
    from neoscope.checkpoint import find

    found = bundled(name_or_path)
    if found is not name_or_path and revision is not None:
        raise CheckpointError(
            f"{name_or_path!r} comes with neoscope, so it has no revision {revision!r}"
        )
    try:
        return find(found, revision=revision)
    except CheckpointError as error:
        raise type(error)(f"{error}{nearest(str(name_or_path), BUNDLED)}") from error
