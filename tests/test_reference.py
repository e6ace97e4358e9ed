"""The API reference is built without a warning, holds every public name, and needs no network."""

from __future__ import annotations

import importlib
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "notebooks" / "reference"
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """The anchors of a page, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        self.loads.append(given.get(LOADED.get(tag, "")) or "")


def public_names() -> Iterator[str]:
    waiting = ["neoscope", "probes"]
    while waiting:
        package = waiting.pop()
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            home = getattr(module, "_HOMES", {}).get(name, "")
            # A function may be hidden by the module of its name that holds it.
            hidden = home == getattr(value, "__name__", None) and hasattr(value, name)
            if isinstance(value, ModuleType) and not hidden:
                waiting.append(value.__name__)
                yield f"module-{value.__name__}"
            else:
                yield f"{package}.{name}"


def is_remote(address: str) -> bool:
    return address.startswith(("http:", "https:", "//"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_reference_is_built_whole_and_works_offline(tmp_path: Path) -> None:
    out = tmp_path / "html"
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d"]
    built = subprocess.run(
        [sys.executable, *command, str(tmp_path / "doctrees"), str(SOURCES), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    ids: set[str] = set()
    remote: list[str] = []
    for path in out.glob("*.html"):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        ids |= page.ids
        remote += [f"{path.name}: {address}" for address in page.loads if is_remote(address)]
    for path in out.rglob("*.css"):
        styles = path.read_text(encoding="utf-8")
        loaded = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s]+)", styles)
        remote += [f"{path.name}: {address}" for address in loaded if is_remote(address)]
    assert not remote, f"loaded from a network: {remote}"
    missing = sorted(set(public_names()) - ids)
    assert not missing, f"public, but not in the reference: {missing}"
    text = (out / "analysis.html").read_text(encoding="utf-8")
    assert "DefaultValue" not in text and "jaxtyping." not in text
    commands = (out / "commands.html").read_text(encoding="utf-8")
    assert "neoscope probe apply" in commands and "--debug" in commands


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(SOURCES))
    yield importlib.import_module("public_names")
    sys.modules.pop("public_names")


def test_public_name_without_a_page_is_warned_of(
    listing: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "everything", lambda: {"neoscope.load": "neoscope.load"})
    logging.getLogger("sphinx").propagate = True
    domain = SimpleNamespace(objects={}, modules={})
    env = SimpleNamespace(domains=SimpleNamespace(python_domain=domain))
    listing._check(None, env)
    assert "neoscope.load is public and on no page" in caplog.text
    caplog.clear()
    domain.objects["neoscope.load"] = object()
    listing._check(None, env)
    assert not caplog.text


def test_unknown_name_in_a_page_is_an_error(listing: ModuleType) -> None:
    with pytest.raises(ValueError, match="nothing"):
        listing.public("neoscope.edits", "nothing")
