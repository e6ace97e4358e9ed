"""JSON lines that are only ever added to: no crash loses an earlier line, and readers may look on.

Lines are added in one piece behind a lock and are on disk when the call returns. A line that a
crash cut short stands alone, is skipped, and is counted.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neoscope.errors import ProbeError


@dataclass(frozen=True)
class Read:
    """What a file of lines holds, from some byte on."""

    lines: tuple[tuple[int, Mapping[str, Any]], ...]
    """Numbers from 1, counted from that byte, and what the lines say."""
    damaged: tuple[int, ...]
    """Numbers of the lines that are no JSON objects."""
    n_lines: int
    """How many whole lines were read, damaged and blank ones included."""
    end: int
    """The byte behind the last whole line."""
    rest: bytes = b""
    """How the line goes that is not whole yet, its first bytes."""


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_appendable(path: Path) -> None:
    """Check that lines can be added to a file, before what is to be written is computed.

    Raises:
        ProbeError: They cannot.
    """
    folder = path.absolute().parent
    if path.exists() and not path.is_file():
        raise ProbeError(f"cannot write {path}: it is no ordinary file")
    if not folder.is_dir():
        raise ProbeError(f"cannot write {path}: the folder {folder} does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ProbeError(f"cannot write {path}: no permission")


def check_ours(path: Path, found: Read, before: int = 0) -> None:
    """Check that what was read of a file is of an audit or a review.

    Args:
        path: The file, for the error.
        found: What was read.
        before: How many lines stand before those.

    Raises:
        ProbeError: It is of something else.
    """
    for number, record in found.lines:
        if record.get("event") not in ("withheld", "keep", "drop", "undo"):
            raise ProbeError(
                f"{path}, line {before + number} is no line of an audit or a review: its event is "
                f"{record.get('event')!r}"
            )
    # A crash in the first line of all leaves the beginning of an object, and nothing else.
    alien = found.damaged and not found.lines
    if not before and (alien or found.rest.lstrip()[:1] not in (b"", b"{")):
        raise ProbeError(f"{path} holds no lines of an audit or a review")


def check_audit(path: Path, checked: dict[Path, tuple[int, int]]) -> None:
    """Check, before lines are added, that a file is not of something else.

    Args:
        path: It need not be there.
        checked: Of files that were looked at, the byte and the number of lines up to which; what is
            looked at now is put down there.

    Raises:
        ProbeError: It is of something else, or cannot be read.
    """
    if not path.exists():
        return
    end, n_lines = checked.get(path, (0, 0))
    if end > path.stat().st_size:
        end = n_lines = 0
    found = read(path, end)
    check_ours(path, found, n_lines)
    checked[path] = (found.end, n_lines + found.n_lines)


def append(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to a file, all or none; they are on disk on return.

    Args:
        path: Made if it is not there.
        records: Plain JSON values.

    Raises:
        ProbeError: It cannot be written; what stood in it is still there.
    """
    data = b"".join(_line(record) for record in records)
    if not data:
        return
    is_new = not path.exists()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            with _locked(handle):
                _add(handle, data)
        finally:
            os.close(handle)
        if is_new:
            _sync_folder(path.absolute().parent)
    except OSError as error:
        raise ProbeError(f"cannot write {path}: {error.strerror or error}") from error


def read(path: Path, start: int = 0) -> Read:
    """Read the whole lines of a file; one that is still being written is left for later.

    Args:
        path: The file.
        start: The byte to begin at, the end of an earlier read.

    Raises:
        ProbeError: It is not there or cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror or error}") from error
    whole = data[: data.rfind(b"\n") + 1]
    lines: list[tuple[int, Mapping[str, Any]]] = []
    damaged = []
    pieces = whole.split(b"\n")[:-1]
    for number, piece in enumerate(pieces, 1):
        if not piece.strip():
            continue
        try:
            record = json.loads(piece.decode("utf-8"))
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            lines.append((number, record))
        else:
            damaged.append(number)
    rest = data[len(whole) :][:80]
    return Read(tuple(lines), tuple(damaged), len(pieces), start + len(whole), rest)


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        said = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair is no text that UTF-8 can write.
        said = json.dumps(record, allow_nan=False).encode("ascii")
    return said + b"\n"


def _add(handle: int, data: bytes) -> None:
    size = os.fstat(handle).st_size
    if size:
        os.lseek(handle, size - 1, os.SEEK_SET)
        if os.read(handle, 1) != b"\n":
            data = b"\n" + data
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except BaseException:
        # A disk that is full leaves no half line behind.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, size)
        raise


def _sync_folder(folder: Path) -> None:
    """See that a new file's name is on disk too; not every system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _locked(handle: int) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        # Where there are no such locks, one process at a time may write.
        yield
        return
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
