"""What keeps a store whole on disk: the order of writing, and errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from neoscope.errors import StoreError

LOCK = ".lock"
TEMPORARY = re.compile(r"\.(part-\d{5,}\.|_manifest\.json\.).*\.tmp")
"""What `neoscope.files.atomic` calls the files that a killed writer leaves half-written."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the system says while a store is written into an error that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            message = (
                f"disk full while writing {folder} ({reason}); all that was written before is "
                "whole: make space and run the same command again"
            )
        elif error.errno in _FORBIDDEN:
            message = f"{folder} cannot be written: {reason}; make it writable or choose another"
        elif error.errno == errno.ENOTDIR or folder.is_file():
            message = f"{folder} is a file, or lies below one; a store is a folder: choose another"
        else:
            message = f"{folder} could not be written: {reason}"
        raise StoreError(message) from error


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk: until then a crash may undo a rename."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a crash does not lose them."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(made):
        sync_folder(path.parent)
