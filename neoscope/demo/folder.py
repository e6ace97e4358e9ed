"""The demonstration's folder: made aside, put into place whole, and never over anything else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from neoscope.errors import ArgumentError

MARKER = ".neoscope-demo.json"
"""Says that a folder is a demonstration's, and which files are its own."""


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    )


def check(target: Path) -> None:
    """Refuse a folder that holds anything but an earlier demonstration.

    Args:
        target: Where the demonstration is to be written.

    Raises:
        ArgumentError: Something else is there, or there is no folder to write it in.
    """
    if not target.parent.is_dir():
        raise ArgumentError(f"{target} cannot be made: there is no folder {target.parent}")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ArgumentError(f"{target} is no folder; name another one")
    if not target.is_dir() or not any(target.iterdir()):
        return
    try:
        own = set(json.loads((target / MARKER).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ArgumentError(
            f"{target} is there already and is no demonstration's folder (it has no {MARKER}); "
            "nothing was written: name another folder"
        ) from None
    foreign = [name for name in _files(target) if name != MARKER and name not in own]
    if foreign:
        raise ArgumentError(
            f"{target} holds {foreign[0]!r}, which no demonstration wrote; nothing was written: "
            "move it away, or name another folder"
        )


@contextlib.contextmanager
def making(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target; it takes the target's place if all goes well.

    Args:
        target: The demonstration's folder.

    Raises:
        ArgumentError: As :func:`check`, or nothing can be written there.
    """
    check(target)
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ArgumentError(f"{target} cannot be written: {error.strerror or error}") from error
    try:
        yield aside
        (aside / MARKER).write_text(
            json.dumps({"files": _files(aside)}, indent=1), encoding="utf-8"
        )
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o777 & ~umask)
        # Someone may have put something there meanwhile.
        check(target)
        old = aside.with_name(f"{aside.name}.old")
        if target.exists():
            target.rename(old)
        aside.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
