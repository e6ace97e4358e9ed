"""Saved files: which class is in one, where one may be written, and why one cannot be read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from neoscope.errors import PatchingError, nearest
from neoscope.files import atomic

RESULT_KEY = "neoscope_patching"
TRACE = "causal trace"
"""What the details of a trace are marked with."""
KINDS = {
    "neoscope attribution": "AttributionResult",
    "neoscope edge scores": "EdgeScores",
    "neoscope circuit": "Circuit",
    "neoscope faithfulness": "Faithfulness",
    "neoscope minimality": "Minimality",
    "neoscope audit": "Audit",
    "neoscope first look": "Every",
    "neoscope das": "DasResult",
}
"""By the format, less its number, that a file names."""
_MOST_SAID = 100
_WRONG = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return the name of the class whose ``save`` wrote a file; None for any other file.

    Args:
        path: What stands there is looked at, its name is not.
    """
    try:
        said = _said(Path(path).expanduser())
        if RESULT_KEY not in said:
            return KINDS.get(said["format"].rpartition(" ")[0])
        traced = said[RESULT_KEY].get("details", {}).get("kind") == TRACE
    except (*_WRONG, OSError):
        return None
    return "TraceResult" if traced else "PatchingResult"


def _said(path: Path) -> dict[str, Any]:
    """What a file says of itself: the head of Parquet or safetensors, or all of a JSON file."""
    found: dict[str, Any]
    with path.open("rb") as file:
        begin = file.read(9)
        if begin[:4] == b"PAR1":
            import pyarrow.parquet as pq

            metadata = pq.read_metadata(path).metadata or {}
            return {RESULT_KEY: json.loads(metadata[RESULT_KEY.encode()])}
        size = int.from_bytes(begin[:8], "little")
        if begin[8:] == b"{" and size < path.stat().st_size:
            head = json.loads(b"{" + file.read(size - 1))
            found = json.loads(head["__metadata__"]["neoscope"])
            return found
    if begin.lstrip()[:1] != b"{":  # a large file of something else is not read
        raise ValueError("it is no JSON")
    found = json.loads(path.read_text(encoding="utf-8"))
    return found


def kind(form: str) -> str:
    """Return the name of the class that writes a format.

    Args:
        form: Name and number, such as ``"neoscope circuit 1"``.
    """
    return KINDS[form.rpartition(" ")[0]]


def check_format(source: Path, found: str, expected: str) -> None:
    """Check the format that a file names.

    Args:
        source: The file.
        found: Name and number of its format.
        expected: What the caller reads.

    Raises:
        PatchingError: It is another number of the same format, or holds something else.
    """
    if found == expected:
        return
    if found.rpartition(" ")[0] == expected.rpartition(" ")[0]:
        raise PatchingError(
            f"{source} is of the format {found!r}; this neoscope reads {expected!r}: upgrade it"
        )
    raise unreadable(source, kind(expected))


def write(
    path: str | os.PathLike[str],
    suffixes: Sequence[str],
    kinds: Sequence[str],
    writer: Callable[[Path], None],
) -> Path:
    """Write a file whole or not at all.

    Args:
        path: Where; an older file of the same kinds is replaced, no other file is.
        suffixes: What its name may end in.
        kinds: Names of classes, as :func:`kind_of` has them.
        writer: Writes to a temporary path.

    Returns:
        Where it stands.

    Raises:
        PatchingError: Another suffix, something else is there, or it cannot be written.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in suffixes:
        ends = f"its name ends in {target.suffix!r}" if target.suffix else "its name has no suffix"
        raise PatchingError(
            f"cannot write {target}: {ends}; expected {' or '.join(suffixes)}"
            f"{nearest(target.suffix, suffixes)}"
        )
    try:
        if target.exists() and kind_of(target) not in kinds:
            raise PatchingError(
                f"cannot write {target}: something that is no {' or '.join(kinds)} is there "
                "already; choose another name, or remove it"
            )
        with atomic(target) as temporary:
            writer(temporary)
    except OSError as error:
        raise PatchingError(f"cannot write {target}: {error.strerror or error}") from error
    return target


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], kind: str) -> Iterator[Path]:
    """Yield the path of a file that is there; what goes wrong with it becomes a PatchingError.

    Args:
        path: The file.
        kind: Name of the class that it should hold.

    Raises:
        PatchingError: There is no such file, it is damaged, or it is something else.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise PatchingError(f"there is no result file {source}")
    try:
        yield source
    except PatchingError:
        raise
    except OSError as error:
        if error.errno:
            raise PatchingError(f"cannot read {source}: {error.strerror}") from error
        raise unreadable(source, kind, error) from error
    except _WRONG as error:
        raise unreadable(source, kind, error) from error


def unreadable(path: Path, kind: str, error: Exception | None = None) -> PatchingError:
    """Return what to raise for a file that does not hold what it should.

    Args:
        path: The file.
        kind: Name of the class that it should hold.
        error: What went wrong; a short line of it is told, which may quote a little of the file.
    """
    found = kind_of(path)
    if found is not None and found != kind:
        article = "an" if found[0] in "AE" else "a"
        return PatchingError(
            f"{path} holds {article} {found}, no {kind}; read it with neoscope.patching.load"
        )
    why = "" if error is None else f": {_brief(error)}"
    return PatchingError(f"{path} is damaged or no {kind} of neoscope's{why}")


def _brief(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    said = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    said = said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}..."
    return f"{type(error).__name__}: {said}"
