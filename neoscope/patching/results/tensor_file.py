"""Files of arrays: safetensors, with all else as JSON in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neoscope.patching.results import saved

SUFFIX = ".safetensors"


def write(
    path: str | os.PathLike[str],
    form: str,
    arrays: Mapping[str, np.ndarray],
    said: Mapping[str, Any],
) -> Path:
    """Write arrays and what is said of them, whole or not at all.

    Args:
        path: A ``.safetensors`` file; an older one of the same kind is replaced.
        form: Name and number of the format.
        arrays: By name.
        said: What JSON can hold.

    Returns:
        Where it stands.

    Raises:
        PatchingError: Another suffix, something else is there, or it cannot be written.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    metadata = {"neoscope": json.dumps({**said, "format": form})}
    return saved.write(
        path,
        (SUFFIX,),
        (saved.kind(form),),
        lambda file: save_file(whole, file, metadata=metadata),
    )


def read(source: Path, form: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what is said of the arrays, and the arrays.

    Args:
        source: A file that is there; see :func:`neoscope.patching.results.saved.reading`.
        form: Name and number of the format.

    Raises:
        PatchingError: It holds something else, or is of a newer format.
        ValueError: It is damaged; so do KeyError and TypeError say.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="numpy") as file:
            said = json.loads((file.metadata() or {})["neoscope"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    saved.check_format(source, said.pop("format"), form)
    return said, arrays
