"""A real JupyterLab server for tests, and what a person does in it: open, run all, look."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator, Page

_START_SECONDS = 90
_SETTINGS = {
    # News, update checks and their notifications would ask the network.
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Every cell stays in the page, so that what is drawn can be counted.
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
}
# The panel of the open notebook, in JupyterLab's own objects.
_PANEL = "window.jupyterapp.shell.currentWidget"


@dataclass(frozen=True)
class Lab:
    """A running server."""

    url: str
    token: str
    root: Path
    """The folder that it serves."""

    @property
    def socket(self) -> str:
        """How the addresses of its WebSockets begin."""
        return self.url.replace("http:", "ws:")

    def write(self, name: str, cells: Sequence[str]) -> Path:
        """Write a notebook of code cells into the served folder."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
        book.metadata["kernelspec"] = {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        }
        path = self.root / name
        nbformat.write(book, path)
        return path


@contextlib.contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """Start a JupyterLab on a free loopback port; stop it, and its kernels, in the end."""
    root, log = folder / "root", folder / "server.log"
    root.mkdir(parents=True)
    token, port = secrets.token_hex(16), _free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}"),
        *("--ServerApp.terminals_enabled=False", "--ServerApp.allow_root=True"),
        *("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",),
        *("--LabApp.extension_manager=readonly",),
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=root,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Lab(f"http://127.0.0.1:{port}", token, root)
    try:
        _wait_until_up(server, started, log)
        yield started
    finally:
        _stop(server)


def kernel_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Jupyter sees this folder's settings and this Python alone."""
    kernel = folder / "data/kernels/python3"
    kernel.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    threads = {"OMP_NUM_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "PYTEST_"))}
    return inherited | {k: str(folder / v) for k, v in places.items()} | offline | threads


def _environment(folder: Path) -> dict[str, str]:
    for name, values in _SETTINGS.items():
        path = folder / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    return kernel_environment(folder)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_until_up(server: subprocess.Popen[bytes], lab: Lab, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{lab.url}/api?token={lab.token}", timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, which ends its kernels; then end whatever is left of its group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.terminate()
        server.wait(timeout=15)
    # A kernel whose server was killed ends by itself: ipykernel watches its parent.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def open_notebook(page: Page, lab: Lab, path: Path) -> None:
    """Show a notebook of the served folder, and wait until its kernel is idle."""
    place = path.relative_to(lab.root).as_posix()
    page.goto(f"{lab.url}/doc/tree/{place}?token={lab.token}")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(
        f"() => {_PANEL}?.context?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )


def run_all(page: Page, seconds: float = 150.0) -> None:
    """Run every cell, and wait until each has run or one has failed.

    Raises:
        AssertionError: A cell ended in an error; its traceback is the message.
    """
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(
        f"""() => {{
            const cells = {_PANEL}.content.model.sharedModel.toJSON().cells
                .filter(one => one.cell_type === 'code' && [].concat(one.source).join('').trim());
            const failed = cells.some(one => one.outputs.some(o => o.output_type === 'error'));
            const idle = {_PANEL}.context.sessionContext.session.kernel.status === 'idle';
            return idle && (failed || cells.every(cell => cell.execution_count !== null));
        }}""",
        timeout=seconds * 1000,
        polling=200,
    )
    failed = [one for one in outputs(page) if one["output_type"] == "error"]
    assert not failed, "\n".join(failed[0]["traceback"])


def notebook(page: Page) -> dict[str, Any]:
    """Return the open notebook as it would be saved, outputs included."""
    found: dict[str, Any] = page.evaluate(f"() => {_PANEL}.content.model.sharedModel.toJSON()")
    return found


def outputs(page: Page) -> list[dict[str, Any]]:
    """Return the outputs of all code cells of the open notebook, in order."""
    cells = notebook(page)["cells"]
    return [out for cell in cells if cell["cell_type"] == "code" for out in cell["outputs"]]


def cell(page: Page, number: int) -> Locator:
    """Return the element of one cell, counted from 0, text cells too."""
    return page.locator(".jp-Notebook .jp-Cell").nth(number)


def show_whole(page: Page) -> None:
    """Make the window as high as the open notebook, so that a picture shows all of it."""
    height = page.evaluate(
        "() => { const panel = document.querySelector('.jp-WindowedPanel-outer');"
        " const inner = panel.querySelector('.jp-WindowedPanel-viewport');"
        " return Math.ceil(panel.getBoundingClientRect().top + inner.scrollHeight + 40); }"
    )
    page.set_viewport_size({"width": 1280, "height": min(int(height), 16_000)})
    page.evaluate("() => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0; }")


def close_kernels(page: Page) -> None:
    """End the open notebook's kernel, so that the next one has the memory."""
    page.evaluate(f"() => {_PANEL}.context.sessionContext.shutdown()")
