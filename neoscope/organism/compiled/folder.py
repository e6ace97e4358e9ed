"""Writing a checkpoint to a folder, whole or not at all, and keeping it in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from neoscope.errors import CheckpointError


def write(folder: str | os.PathLike[str], files: Mapping[str, bytes], *, repair: bool) -> Path:
    """Make a folder hold these files; a new folder appears whole or not at all.

    Args:
        folder: Where to; its parents are made.
        files: Content by name.
        repair: Whether to replace files that are there with another content. Missing files are
            written in any case, in the order given, and other files left alone.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder holds another checkpoint and this is no repair, or it cannot be
            written.
    """
    folder = Path(folder)
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write_new(folder.absolute(), files)
        old = {name: (folder / name).read_bytes() for name in files if (folder / name).exists()}
        differs = [name for name in old if old[name] != files[name]]
        if differs and not repair:
            raise CheckpointError(
                f"{folder} already holds another {' and '.join(differs)} than the compiled "
                "model's; choose another folder, or remove this one if it is a damaged copy"
            )
        for name, content in files.items():
            if old.get(name) != content:
                # File by file, so that a process that is reading never finds the folder gone.
                temporary = folder / f".{name}.{uuid.uuid4().hex}"
                temporary.write_bytes(content)
                os.replace(temporary, folder / name)
    except OSError as error:
        raise CheckpointError(f"{folder}: the compiled model cannot be written: {error}") from error
    return folder


def cached(name: str, files: Mapping[str, bytes]) -> Path:
    """Return the folder in the user's cache that holds these files, written if need be.

    It is below ``$XDG_CACHE_HOME`` or ``~/.cache`` and named by its content: what another version
    wrote there is not used, and what has been damaged is repaired.

    Args:
        name: What the folder's own name begins with.
        files: Content by name.

    Raises:
        CheckpointError: The cache cannot be written.
    """
    digest = hashlib.sha256()
    for file, content in sorted(files.items()):
        digest.update(f"{file} {len(content)}\n".encode() + content)
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # Unset; or relative, which the XDG specification has ignored.
        root = Path.home() / ".cache"
    folder = root / "neoscope" / "organism" / f"{name}-{digest.hexdigest()[:16]}"
    return write(folder, files, repair=True)


def _write_new(folder: Path, files: Mapping[str, bytes]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():
                raise
            # Another process was faster; the caller looks at what it wrote.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
