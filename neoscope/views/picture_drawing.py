"""A figure drawn by kaleido in a process of its own: a browser that fails cannot hang Python."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from neoscope.errors import ViewError

PATIENCE = 300.0
"""Seconds after which a picture is given up."""


def drawn(figure: str, wanted: dict[str, Any]) -> bytes:
    """Return a figure as a picture.

    Kaleido's threads may outlive a browser that broke down, and then Python never ends. So it
    works in a child, which is stopped together with its browser.

    Args:
        figure: In plotly's JSON.
        wanted: ``format``, ``width``, ``height`` and ``scale``.

    Raises:
        ViewError: The picture could not be drawn.
    """
    with tempfile.TemporaryDirectory(prefix="neoscope-") as folder:
        there = Path(folder)
        (there / "figure.json").write_text(figure, encoding="utf-8", errors="backslashreplace")
        (there / "wanted.json").write_text(json.dumps(wanted), encoding="utf-8")
        _run(there)
        try:
            return (there / "picture").read_bytes()
        except OSError:
            said = there / "problem"
            problem = said.read_text(encoding="utf-8") if said.exists() else "it ended without one"
            raise ViewError(_explained(problem)) from None


def command(folder: Path) -> list[str]:
    """Return what starts the child.

    Args:
        folder: What it draws.
    """
    return [sys.executable, "-m", __name__, str(folder)]


def _run(folder: Path) -> None:
    """Draw what lies in a folder; leave a picture or a problem there, and no process behind."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(
        command(folder), env=paths, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        (folder / "problem").write_text(f"no picture after {PATIENCE:.0f} s", encoding="utf-8")
    finally:
        if child.poll() is None:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and the browser that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


def _explained(problem: str) -> str:
    if "chrome" not in problem.lower() and "browser" not in problem.lower():
        return f"kaleido could not draw the figure: {problem}"
    named = os.environ.get("BROWSER_PATH")
    found = f"{named} (BROWSER_PATH) did not answer as one" if named else "none was found"
    return (
        f"a picture is drawn by a browser, and {found}: install chromium or Chrome (on "
        "Debian: apt install chromium; or run plotly_get_chrome), or set BROWSER_PATH to one; "
        "an .html file needs none"
    )


def main(folder: Path) -> None:
    """Draw the figure in a folder: what the child does.

    Args:
        folder: It holds ``figure.json`` and ``wanted.json``; ``picture`` or ``problem`` follows.
    """
    try:
        import plotly.io as pio

        figure = json.loads((folder / "figure.json").read_text(encoding="utf-8"))
        wanted = json.loads((folder / "wanted.json").read_text(encoding="utf-8"))
        data = pio.to_image(figure, validate=False, **wanted)
        part = folder / "part"
        part.write_bytes(data)
        part.replace(folder / "picture")
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}"
        (folder / "problem").write_text(said, encoding="utf-8", errors="replace")
    # No thread of kaleido's is waited for.
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
