"""Ctrl-C, and the signal by which schedulers end a job: both end a command in the same way."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_LIBRARIES = frozenset(
    {
        "datasets", "lm_eval", "neoscope", "numpy", "pandas", "plotly", "probes", "pyarrow", "ray",
        "rich", "scipy", "sklearn", "torch", "transformer_lens", "transformers", "typer",
    }
)  # fmt: skip
_SHOW_CURSOR = b"\x1b[?25h"
_seen: list[int] = []


def listen() -> None:
    """Let both signals interrupt the command; what somebody else handles or ignores stays so.

    A process in the background ignores Ctrl-C, and a parent may have its own way with the other.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def status() -> int:
    """Return the exit status of an interrupted command: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_seen[-1] if _seen else signal.SIGINT)


def leave() -> NoReturn:
    """End the process at once: no library's own way of ending gets to print a traceback."""
    # Not by sys.stderr: the signal may have come in the midst of its writing.
    cursor = _SHOW_CURSOR if sys.stderr is not None and sys.stderr.isatty() else b""
    os.write(2, cursor + b"interrupted\n")
    os._exit(status())


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or end the process at once while libraries are being imported.

    Some catch the exception while they load, or leave themselves half loaded. Nothing has begun
    then, and files are whole in any case.
    """
    _seen.append(int(number))
    if _is_importing():
        leave()
    raise KeyboardInterrupt


def _is_importing() -> bool:
    """Whether a module of a library is half loaded."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _LIBRARIES:
            spec = getattr(module, "__spec__", None)
            if getattr(spec, "_initializing", False):
                return True
    return False
