"""What draws figures as pictures beside kaleido, which is the extra ``pictures``: a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from neoscope.doctor.checkup import Fact

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PURPOSE = "figures as .png, .svg and .pdf; .html needs none"


def facts() -> Iterator[Fact]:
    """Yield the browser which kaleido would start; it is not started."""
    yield _browser()


def _browser() -> Fact:
    cure = "install chromium or Chrome (on Debian: apt install chromium), or run plotly_get_chrome"
    named = os.environ.get("BROWSER_PATH")
    if named:
        if os.path.isfile(named) and os.access(named, os.X_OK):
            return Fact("pictures", "browser", f"{named} (BROWSER_PATH)", "ok", _PURPOSE)
        said = f"{named} (BROWSER_PATH) is no program"
        return Fact(
            "pictures", "browser", said, "missing", _PURPOSE, "correct or unset BROWSER_PATH"
        )
    path = next((path for name in _NAMES if (path := shutil.which(name))), None) or _kaleidos()
    if path is None:
        return Fact("pictures", "browser", "none found", "missing", _PURPOSE, cure)
    return Fact("pictures", "browser", path, "ok", _PURPOSE)


def _kaleidos() -> str | None:
    """Return the browser that kaleido would find elsewhere, such as one that it downloaded."""
    try:
        from choreographer.browsers.chromium import Chromium

        found = Chromium.find_browser(skip_local=False)
    except Exception:  # not installed, or of another version: then it finds none for us
        return None
    return str(found) if found else None
