"""The report, as a reader sees it: opened from disk with the network off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page

from tests.browser.watch import Watch, shot

SCRIPT = "<script>alert(1)</script>"
READING = "model,attention,lenses,attribution,provenance,citing"


def report(folder: Path, *options: str) -> Path:
    """Write a report as a user does: through the command line, in a process of its own."""
    path = folder / "report.html"
    command = [sys.executable, "-m", "neoscope", "report", "organism", *options]
    subprocess.run([*command, "--out", str(path)], check=True, capture_output=True, timeout=240)
    return path


def wait_for_figures(page: Page) -> int:
    """Scroll through the page, so that figures drawn on sight are drawn; return how many."""
    page.wait_for_load_state("load")
    height = page.evaluate("() => document.documentElement.scrollHeight")
    for top in range(0, int(height), 800):
        page.evaluate("top => window.scrollTo(0, top)", top)
        page.wait_for_timeout(50)
    page.wait_for_function(
        "() => document.querySelectorAll('.js-plotly-plot').length > 0 &&"
        " [...document.querySelectorAll('.js-plotly-plot')]"
        ".every(one => one.querySelector('.main-svg'))"
    )
    page.evaluate("() => window.scrollTo(0, 0)")
    return page.locator(".js-plotly-plot").count()


def test_the_report_opens_with_the_network_off(
    page: Page, no_network: Watch, tmp_path: Path
) -> None:
    path = report(tmp_path)
    assert path.stat().st_size < 10e6
    page.goto(path.as_uri())
    assert wait_for_figures(page) >= 5
    shot(page, "report-top")
    shot(page, "report", full_page=True)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot .main-svg')]"
        ".every(one => getComputedStyle(one).backgroundColor !== 'rgb(255, 255, 255)')"
    )
    shot(page, "report-dark")
    assert no_network.requests == [path.as_uri()]
    assert no_network.errors == []


def test_a_script_in_the_prompt_is_shown_and_not_run(
    page: Page, no_network: Watch, tmp_path: Path
) -> None:
    text = f"The film {SCRIPT} <img src=x onerror=alert(2)> was"
    page.goto(report(tmp_path, text, "--sections", READING).as_uri())
    wait_for_figures(page)
    assert no_network.dialogs == []
    assert no_network.errors == []
    assert page.locator("img[src=x]").count() == 0
    assert SCRIPT in page.locator("body").inner_text()
