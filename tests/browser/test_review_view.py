"""The review view in JupyterLab: its keys decide, and never act on the notebook's cells."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.jupyter import Lab, close_kernels, notebook, open_notebook, run_all

CELL = """
import pathlib, tempfile
import numpy as np
from neoscope import views
from probes.filtering.review import ReviewQueue
from probes.filtering.screened import Screened
done = Screened(("one", "two"), np.array([0.9, 0.8]), {0: "bad", 1: "bad"}, 0.5, "bad", "p", "m")
queue = ReviewQueue.open(pathlib.Path(tempfile.mkdtemp()) / "review.jsonl", done)
views.review(queue)
"""


def test_keys_decide_and_leave_the_cells_alone(page: Page, lab: Lab) -> None:
    open_notebook(page, lab, lab.write("review.ipynb", [CELL, "kept = 1"]))
    run_all(page)
    counts = page.locator(".ns-review-counts")
    page.locator(".ns-review-text").click()
    for key in ("d", "x", "b"):
        page.keyboard.press(key)
    expect(counts).to_have_text("1 of 2 decided: 0 kept, 1 dropped")
    page.keyboard.press("d")
    expect(counts).to_have_text("2 of 2 decided: 0 kept, 2 dropped")
    assert len(notebook(page)["cells"]) == 2
    close_kernels(page)
