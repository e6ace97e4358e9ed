"""The whole demonstration, watched: no network, no code out of a file. Run as a script.

    python watched_demo.py FOLDER TOLD

Runs ``neoscope demo`` into FOLDER/organism as its user does, and prints what it prints; then the
demonstrations of three other bundled models. Writes to TOLD, as JSON, their steps and every event
that Python's audit hooks tell of and that must not be. A hook cannot see what libraries do that are
not Python: where the system allows it, the process stands in a network of its own, without a way
out, whose counters say whether anyone tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

N, N_PAIRS = 200, 16
OTHERS = ("organism-random", "gates", "induction")
NETWORK = (
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
    "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request", "http.client.connect",
    "webbrowser.open",
)  # fmt: skip
CODE = ("pickle.find_class", "marshal.load", "marshal.loads", "os.system", "os.exec")
_NEWNET, _NEWUSER = 0x40000000, 0x10000000


class Forbidden(Exception):  # noqa: N818  # it is no error of anyone's
    """Something happened that must not."""


def watch() -> list[str]:
    """Refuse, and note, every event of the network and every one in which a file is code."""
    noted: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in NETWORK and event not in CODE:
            return
        # What Python compiled of its own modules is code, and is read as such.
        if event.startswith("marshal.") and "importlib" in sys._getframe(1).f_code.co_filename:
            return
        stack = traceback.format_stack(sys._getframe(1), limit=6)
        noted.append(f"{event} {str(args)[:100]}\n{''.join(stack)}")
        raise Forbidden(event)

    sys.addaudithook(hook)
    return noted


def stand_alone() -> bool:
    """Enter a network of this process's own, in which there is nobody; whether it could."""
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None:
        return False
    if not unshare(_NEWNET):
        return True
    user, group = os.getuid(), os.getgid()
    if unshare(_NEWNET | _NEWUSER):
        return False
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def packets() -> int:
    """How often anyone tried to send something since this network began."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()]
    counted = {
        f"{names[0]}{name}": int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }
    return counted["Ip:OutNoRoutes"] + counted["Ip:OutRequests"] + counted["Tcp:ActiveOpens"]


@contextlib.contextmanager
def kept(demos: list[Any]) -> Iterator[None]:
    """Keep the demonstrations that the command line runs."""
    from neoscope import demo

    run = demo.run
    demo.run = lambda *args, **options: demos.append(run(*args, **options)) or demos[-1]
    try:
        yield
    finally:
        demo.run = run


def main(folder: Path, told: Path) -> None:
    """Run the demonstrations, and write what was found and what was refused."""
    alone, noted = stand_alone(), watch()
    demos: list[Any] = []
    code: Any = 0
    from neoscope.cli import main as command

    sys.argv = ["neoscope", "demo", "--n", str(N), "--out", str(folder / "organism")]
    try:
        with kept(demos):
            command()
    except SystemExit as exit_:
        code = exit_.code
    sys.stdout.flush()

    from dataclasses import asdict

    from neoscope import demo

    options: dict[str, Any] = {"n": N, "n_pairs": N_PAIRS, "progress": False}
    demos += [demo.run(name, folder / name, **options) for name in OTHERS]
    facts = {
        "code": code or 0,
        "noted": noted,
        "packets": packets() if alone else None,
        "demos": [asdict(one) for one in demos],
    }
    told.write_text(json.dumps(facts, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
