"""load: the one-word way to a model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo


def load(name_or_path: str | os.PathLike[str] = "organism", **options: Any) -> HookedGPTNeo:
    """Load a model: a bundled one by name, a hub id, a folder or a file.

    Args:
        name_or_path: ``"organism"`` (the bundled trained model), another name of
            ``neoscope.organism.BUNDLED``, or anything that ``HookedGPTNeo.from_pretrained`` takes.
        options: ``revision``, ``dtype``, ``device``.

    Raises:
        CheckpointError: It cannot be found or read.

    Example:
        >>> load("organism").config.n_layers
        4
    """
    from neoscope.model import HookedGPTNeo

    return HookedGPTNeo.from_pretrained(name_or_path, **options)
