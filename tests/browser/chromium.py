"""Which Chromium the browser tests drive."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Return a Chromium's path: ``NEOSCOPE_CHROMIUM``, one on the PATH, or playwright's own."""
    chosen = os.environ.get("NEOSCOPE_CHROMIUM")
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise FileNotFoundError(f"NEOSCOPE_CHROMIUM={chosen!r} is not a program")
        return chosen
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin"])
    found = next((path for name in _NAMES if (path := shutil.which(name, path=search))), None)
    return found or _playwrights_own()


def _playwrights_own() -> str | None:
    folder = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright"
    found = sorted(Path(folder).glob("chromium-*/chrome-linux*/chrome"))
    return str(found[-1]) if found else None
