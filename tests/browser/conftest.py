"""A Chromium and a JupyterLab for the tests, each started once and stopped whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import neoscope as ns
from tests.browser.chromium import find_chromium
from tests.browser.jupyter import Lab, running_lab
from tests.browser.watch import Watch, refuse

_MISSING = (
    "no Chromium: install one (Debian: apt-get install chromium) or name it in NEOSCOPE_CHROMIUM"
)


# Of a module, not of the session: playwright's event loop runs in this thread as long as it is
# open, and a test of another module could not start its own. Each pytest-xdist worker has its own
# browser and server: they share nothing, so that no lock is needed.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium that can reach this machine alone."""
    path = find_chromium()
    if path is None:
        # On a developer's machine that is no fault; in CI these tests must not silently vanish.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_MISSING)
    options = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture
def watch() -> Watch:
    """What the page of this test asks for and complains about."""
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A fresh page in a fresh profile; ``watch`` follows it."""
    context = browser.new_context(viewport={"width": 1280, "height": 960})
    context.set_default_timeout(30_000)
    opened = context.new_page()
    watch.follow(opened)
    try:
        yield opened
    finally:
        context.close()


@pytest.fixture
def no_network(page: Page, watch: Watch) -> Watch:
    """Block every request of the page that is not for a file on disk; the watch lists them."""
    page.context.route("**/*", refuse)
    return watch


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab on loopback with a folder and settings of its own."""
    folder: Path = tmp_path_factory.mktemp("lab")
    with running_lab(folder) as started:
        yield started


@pytest.fixture(scope="session")
def model() -> ns.HookedGPTNeo:
    """The organism; no test changes it."""
    return ns.load("organism")
