"""What a page did: its requests and its complaints; and pictures of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Route

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
_LOCAL = ("file:", "data:", "blob:", "about:")


@dataclass
class Watch:
    """Everything that a page asked for or complained about, in order."""

    requests: list[str] = field(default_factory=list)
    """Every URL that was asked for, WebSockets too, except data: and blob:."""
    errors: list[str] = field(default_factory=list)
    """Console messages of level error, and uncaught exceptions."""
    dialogs: list[str] = field(default_factory=list)
    """What ``alert`` and its like said: nothing may ever call them."""

    def outside(self, *allowed: str) -> list[str]:
        """List the requests for anything but files on disk and URLs that begin with ``allowed``."""
        return [url for url in self.requests if not url.startswith((*_LOCAL, *allowed))]

    def follow(self, page: Page) -> None:
        """Write down what this page does from now on."""
        page.on("request", self._request)
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._dialog)

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _dialog(self, dialog: object) -> None:
        self.dialogs.append(dialog.message)  # type: ignore[attr-defined]
        dialog.dismiss()  # type: ignore[attr-defined]


def refuse(route: Route) -> None:
    """Let a page read what is on this disk or in itself, and nothing else."""
    if route.request.url.startswith(_LOCAL):
        route.continue_()
    else:
        route.abort()


def shot(target: Page | Locator, name: str, **options: bool) -> Path:
    """Save a picture of a page, or of one element, as ``screenshots/NAME.png``.

    Options are playwright's: ``full_page=True``.
    """
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    target.screenshot(path=path, animations="disabled", **options)
    return path
