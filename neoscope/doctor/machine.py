"""The machine: memory, disk, and a compiler."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from neoscope.doctor.checkup import Fact

_LITTLE_MEMORY, _LITTLE_DISK = 2 * 2**30, 2 * 2**30


def facts() -> Iterator[Fact]:
    """Yield the system, free memory, free disk where neoscope writes, and the compiler."""
    yield Fact(
        "machine", "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    )
    yield _memory()
    yield from _disks()
    found = next(
        (path for name in ("cc", "gcc", "clang", "cl") if (path := shutil.which(name))), None
    )
    yield Fact("machine", "compiler", found or "none; neoscope needs none, only torch.compile and "
               "packages that pip finds no wheel of")  # fmt: skip


def nearest_folder(path: Path) -> Path:
    """Return a folder, or the nearest one above it that exists.

    Args:
        path: A folder that may be still to be made.
    """
    for folder in (path, *path.parents):
        if folder.is_dir():
            return folder
    return Path(path.anchor or ".")


def free_memory() -> int | None:
    """Return the bytes of memory that can still be taken; None where that cannot be told."""
    found = []
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            found = [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable")]
    except (OSError, ValueError):
        pass
    group = Path("/sys/fs/cgroup")
    try:
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        if most != "max":
            taken = (group / "memory.current").read_text(encoding="ascii")
            found.append(max(0, int(most) - int(taken)))
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def _memory() -> Fact:
    free = free_memory()
    if free is None:
        return Fact("machine", "memory", "unknown")
    said = f"{free / 2**30:.1f} GiB free"
    if free >= _LITTLE_MEMORY:
        return Fact("machine", "memory", said)
    cure = "close other programs; --dtype bfloat16 halves a model, smaller batches help"
    return Fact("machine", "memory", said, "note", "models of 125M parameters and more", cure)


def _disks() -> Iterator[Fact]:
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        yield Fact("machine", "temporary folder", str(error), "broken", "compiled models, pictures",
                   "set TMPDIR to a folder that can be written")  # fmt: skip
    else:
        yield _disk("temporary folder", temporary)
    yield _disk("this folder", Path(os.curdir).absolute())


def _disk(name: str, folder: Path) -> Fact:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        said, cure = f"{folder}: {error.strerror or error}", "go to a folder that exists"
        return Fact("machine", name, said, "note", "what is written", cure)
    said = f"{folder}: {free / 2**30:.1f} GiB free"
    if not os.access(folder, os.W_OK):
        cure = "go to a folder that can be written, or give --out"
        return Fact("machine", name, f"{folder} cannot be written", "note", "what is written", cure)
    if free >= _LITTLE_DISK:
        return Fact("machine", name, said)
    cure = "free some, or write elsewhere (--out, HF_HOME, TMPDIR)"
    return Fact("machine", name, said, "note", "checkpoints and features", cure)
