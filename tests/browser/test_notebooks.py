"""Every notebook, as a person sees it: opened in JupyterLab, run, its figures drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.jupyter import Lab, close_kernels, open_notebook, outputs, run_all, show_whole
from tests.browser.watch import Watch, shot

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
FIGURE = "application/vnd.plotly.v1+json"
# Of every figure in the page: how wide it is, and how many marks it drew.
DRAWN = """() => [...document.querySelectorAll('.jp-OutputArea .js-plotly-plot')].map(figure => ({
    width: figure.getBoundingClientRect().width,
    marks: figure.querySelectorAll('.main-svg :is(path, image, text)').length,
}))"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[one.stem for one in NOTEBOOKS])
def test_a_notebook_runs_and_its_figures_are_drawn(
    path: Path, page: Page, watch: Watch, lab: Lab
) -> None:
    copy = Path(shutil.copy(path, lab.root))
    open_notebook(page, lab, copy)
    run_all(page)
    figures = [one for one in outputs(page) if FIGURE in one.get("data", {})]
    assert len(figures) >= 2
    page.wait_for_function(
        "n => document.querySelectorAll('.jp-OutputArea .js-plotly-plot .main-svg').length >= n",
        arg=len(figures),
    )
    show_whole(page)
    page.wait_for_timeout(500)
    shot(page, f"notebook-{path.stem}")
    drawn = page.evaluate(DRAWN)
    close_kernels(page)
    assert len(drawn) >= len(figures)
    assert all(one["width"] > 300 and one["marks"] > 10 for one in drawn), drawn
    assert watch.outside(lab.url, lab.socket) == []
    assert watch.errors == []
