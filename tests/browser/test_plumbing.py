"""The plumbing of the browser tests does what they rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.jupyter import Lab, close_kernels, open_notebook, outputs, run_all
from tests.browser.watch import Watch, shot


def test_requests_are_blocked_and_listed(page: Page, no_network: Watch, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        '<img src="https://example.org/a.png"><script>fetch("http://127.0.0.1:9/x")</script>',
        encoding="utf-8",
    )
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert set(no_network.outside()) == {"https://example.org/a.png", "http://127.0.0.1:9/x"}
    assert no_network.errors


def test_a_figure_is_drawn_in_jupyterlab(page: Page, watch: Watch, lab: Lab) -> None:
    path = lab.write(
        "figure.ipynb",
        ["import plotly.graph_objects as go", "go.Figure(go.Bar(x=[1, 2], y=[3, 4]))"],
    )
    open_notebook(page, lab, path)
    run_all(page)
    page.wait_for_selector(".jp-OutputArea .js-plotly-plot .main-svg .bars path")
    shot(page, "plumbing")
    close_kernels(page)
    assert watch.outside(lab.url, lab.socket) == []
    assert watch.errors == []


def test_a_failing_cell_fails_the_test(page: Page, lab: Lab) -> None:
    path = lab.write("fails.ipynb", ["1 / 0", "2"])
    open_notebook(page, lab, path)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_all(page)
    assert [one["output_type"] for one in outputs(page)] == ["error"]
    close_kernels(page)
