"""Where a report is written: checked before anything is measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.errors import ViewError

if TYPE_CHECKING:
    GivenPath = str | os.PathLike[str]
else:
    GivenPath = Any


def check_path(path: GivenPath) -> Path:
    """Return where a report is to be written, if it can be.

    Args:
        path: The file.

    Raises:
        ViewError: It has another ending than ``.html``, or lies in no folder that can be written.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in (".html", ".htm"):
        raise ViewError(f"{target}: a report is an .html file; this ends in {target.suffix!r}")
    folder = target.absolute().parent
    if target.is_dir() or not folder.is_dir():
        raise ViewError(f"{target} is a folder, or lies in a folder that does not exist")
    if not os.access(folder, os.W_OK):
        raise ViewError(f"{target} cannot be written: permission denied in {folder}")
    return target
