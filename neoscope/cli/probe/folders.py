"""The files and folders that ``neoscope probe`` writes, checked before anything is run."""

from __future__ import annotations

from pathlib import Path

from neoscope.errors import ProbeError

FEATURES, SWEEP = "features", "sweep"
"""What is kept below the folder of --work."""
_LINES = (".jsonl", ".ndjson")


def check_folders(out: Path | None, work: Path | None) -> None:
    """Check that a probe can be written, and that work can be kept.

    Args:
        out: The folder of the probe.
        work: The folder of features and finished places.

    Raises:
        ProbeError: Something else stands there, or they are in each other's way.
    """
    if out is not None:
        _check_out(out)
    if work is not None:
        _check_work(work)
    if out is None or work is None:
        return
    probe, kept = _absolute(out), _absolute(work)
    inside = (kept / FEATURES, kept / SWEEP)
    if probe in (kept, *kept.parents) or any(one in (probe, *probe.parents) for one in inside):
        raise ProbeError(f"--out {out} and --work {work} are in each other's way; name two folders")


def check_lines(out: Path, file: Path) -> None:
    """Check that lines of JSON can be written.

    Args:
        out: The file that is to be written.
        file: The file that is read.

    Raises:
        ProbeError: They cannot, or what is read would be lost.
    """
    path = out.expanduser()
    if path.is_dir() or not path.absolute().parent.is_dir():
        problem = "it is a folder" if path.is_dir() else "its folder does not exist"
        raise ProbeError(f"cannot write {out}: {problem}")
    if _absolute(out) == _absolute(file) or (path.exists() and _is_same(path, file.expanduser())):
        raise ProbeError(f"cannot write {out}: it is the --file that is read")
    if path.suffix.lower() not in _LINES:
        raise ProbeError(
            f"cannot write {out}: it would be lines of JSON; call it for example "
            f"{path.with_suffix('.jsonl').name}"
        )


def _check_out(out: Path) -> None:
    folder = out.expanduser()
    _check_folder(folder, "--out", out)
    if folder.exists() and any(folder.iterdir()) and not (folder / "probe.json").is_file():
        raise ProbeError(
            f"cannot write {out}: it holds something that is no probe; choose a new or an empty "
            "folder"
        )


def _check_work(work: Path) -> None:
    folder = work.expanduser()
    _check_folder(folder, "--work", work)
    if not folder.exists():
        return
    ours = any((folder / name).is_dir() for name in (FEATURES, SWEEP))
    if any(folder.iterdir()) and not ours:
        raise ProbeError(
            f"--work {work} holds something that is no work of 'neoscope probe'; choose a new or "
            "an empty folder"
        )


def _check_folder(folder: Path, option: str, named: Path) -> None:
    """Refuse a path on which, or above which, a file stands."""
    for path in (folder, *folder.absolute().parents):
        try:
            if path.is_dir():
                return
            found = path.exists()
        except OSError as error:
            raise ProbeError(f"cannot write {option} {named}: {error.strerror}") from error
        if found:
            said = "it is no folder" if path == folder else f"{path} is no folder"
            raise ProbeError(f"cannot write {option} {named}: {said}")


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


def _is_same(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)
