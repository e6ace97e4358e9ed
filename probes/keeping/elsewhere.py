"""What reads a saved thing that is no probe, for the message of who took it for one."""

from __future__ import annotations

import json
from pathlib import Path

_FOLDERS = {
    "result.json": ("a saved sweep", "probes.SweepResult.load"),
    "eraser.safetensors": ("a saved eraser", "probes.Eraser.load"),
    "scrubbing.safetensors": ("a saved scrubbing", "probes.Scrubbing.load"),
}
_MOST_BYTES = 2**26


def loaded_by(path: Path) -> str:
    """Return what a file or folder holds and what reads it, as the end of a message.

    Args:
        path: Where a probe was looked for.

    Returns:
        ``"; it is a saved sweep: probes.SweepResult.load reads it"``, or ``""``.
    """
    if path.is_dir():
        held = [said for name, said in _FOLDERS.items() if (path / name).is_file()]
        return f"; it is {held[0][0]}: {held[0][1]} reads it" if held else ""
    kind = _kind_of(path)
    return f"; it is a saved {kind}: {kind}.load reads it" if kind else ""


def _kind_of(path: Path) -> str:
    """Return the class of the result in a file of JSON, or nothing."""
    try:
        if path.suffix != ".json" or path.stat().st_size > _MOST_BYTES:
            return ""
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] == "neoscope.filter-calibration":
            return "FilterCalibration"
        return str(dict(facts["result"]["$pairs"])["$result"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
