"""The most memory that a process held, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")


def begin() -> int | None:
    """Begin the high-water mark anew and return the bytes held now; None where nobody counts."""
    if not _CLEAR.exists():
        return None
    _CLEAR.write_text("5")
    return _status("VmRSS:")


def peak() -> int:
    """Return the most bytes that were held since."""
    return _status("VmHWM:")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))
