"""Whether the files of a store are as they were written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from neoscope.store.manifest import SHARD_FILE, FileRecord, Shard


def file_record(path: Path) -> FileRecord:
    """Return the size and hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(os.fstat(file.fileno()).st_size, digest)


def file_problems(
    folder: Path,
    shard: Shard,
    *,
    hashed: bool = True,
    progress: Callable[[int], None] | None = None,
) -> tuple[str, ...]:
    """Return what is wrong with a shard's files, one line a file; empty if they are as written.

    Args:
        folder: The store.
        shard: What the manifest says of the shard.
        hashed: Read every byte; else only sizes are looked at.
        progress: Called with the bytes of each file when it was looked at.
    """
    problems = []
    for name, expected in shard.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected.bytes:
                how = "truncated" if size < expected.bytes else "longer than written"
                problems.append(f"{name}: {how}: {size:,} bytes, {expected.bytes:,} were written")
            elif hashed and file_record(path).sha256 != expected.sha256:
                problems.append(f"{name}: altered: its sha256 is not the one that was written")
        except FileNotFoundError:
            problems.append(f"{name}: missing")
        except OSError as error:
            problems.append(f"{name}: cannot be read: {error.strerror}")
        if progress is not None:
            progress(expected.bytes)
    return tuple(problems)


def check_shards(
    folder: Path, shards: Iterable[Shard], progress: Callable[[int, int], None] | None = None
) -> dict[int, tuple[str, ...]]:
    """Return what is wrong with each shard, by index, after reading every byte.

    Args:
        folder: The store.
        shards: Its shards.
        progress: Called with the bytes read and those in all after each file.
    """
    shards = tuple(shards)
    total = sum(file.bytes for shard in shards for file in shard.files.values())
    seen = 0

    def advance(n: int) -> None:
        nonlocal seen
        seen += n
        if progress is not None:
            progress(seen, total)

    return {s.index: file_problems(folder, s, progress=advance) for s in shards}


def extra_files(folder: Path, shards: Iterable[Shard]) -> list[str]:
    """Return the names of shard files that no shard names."""
    listed = {name for shard in shards for name in shard.files}
    names = sorted(os.listdir(folder))
    return [name for name in names if SHARD_FILE.fullmatch(name) and name not in listed]
