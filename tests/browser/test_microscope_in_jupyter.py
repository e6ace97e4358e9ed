"""The microscope in JupyterLab: what is clicked is computed, and keys never reach the notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import neoscope as ns
from tests.browser.jupyter import (
    Lab,
    close_kernels,
    notebook,
    open_notebook,
    run_all,
    show_whole,
)
from tests.browser.microscope_visit import CLICK, JOHN, MARY, check_a_visit, head
from tests.browser.watch import Watch, shot


def test_a_visit_in_jupyterlab(page: Page, watch: Watch, lab: Lab, model: ns.HookedGPTNeo) -> None:
    first = (
        "import neoscope as ns\nfrom neoscope.views import Microscope\n"
        f'scope = Microscope(ns.load("organism"), "The keys near the cabinet", other={JOHN!r})\n'
        "scope"
    )
    path: Path = lab.write("microscope.ipynb", [first])
    open_notebook(page, lab, path)
    run_all(page)
    check_a_visit(page, model)
    page.get_by_role("button", name="stream").click()
    expect(page.locator(".nsm-patching canvas")).to_be_visible()
    times = [page.evaluate(CLICK, head(page, f"{i}.{i}")) for i in (0, 1, 2, 3)]
    times += [page.evaluate(CLICK, ".nsm-switch") for _ in range(4)]
    show_whole(page)
    picture = shot(page.locator(".nsm"), "microscope")
    # Kept beside the picture, and not judged: how long a click takes depends on the machine.
    record = {"ms from click to picture": [round(one) for one in times]}
    picture.with_name("microscope-clicks.json").write_text(json.dumps(record), encoding="utf-8")
    close_kernels(page)
    assert watch.outside(lab.url, lab.socket) == []
    assert watch.errors == []


_KEYS = (
    "import torch, neoscope as ns\nfrom neoscope.views import Microscope\n"
    "up, down = torch.ones(128), -torch.ones(128)\n"
    f"scope = Microscope(ns.load('organism'), {MARY!r}, directions={{'up': up, 'down': down}})\n"
    "scope"
)


def cells(page: Page) -> int:
    """Return how many cells the open notebook has."""
    return len(notebook(page)["cells"])


def test_keys_act_on_the_widget_and_never_on_jupyterlabs_cells(page: Page, lab: Lab) -> None:
    open_notebook(page, lab, lab.write("keys.ipynb", [_KEYS, "kept = 1"]))
    run_all(page)
    page.wait_for_selector(".nsm-token")
    page.locator(head(page, "2.1")).click()
    switch = page.locator(".nsm-switch")
    expect(switch).to_have_text("Switch 2.1 off")
    places = (".nsm-token >> nth=3", ".nsm-chip >> nth=0", ".nsm-pattern .nsm-title", ".nsm-facts")
    for i, place in enumerate(places):
        page.locator(place).click()
        page.keyboard.press("x")
        expect(switch).to_have_attribute("aria-pressed", "false" if i % 2 else "true")
        assert cells(page) == 2, place
    # d twice deletes a cell, b inserts one, arrows go to another.
    for key in ("d", "d", "b", "ArrowDown"):
        page.keyboard.press(key)
    assert cells(page) == 2
    page.get_by_role("textbox", name="prompt", exact=True).press("x")
    expect(switch).to_have_attribute("aria-pressed", "false")
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    step = float(slider.get_attribute("step") or 0)
    assert float(slider.input_value()) == pytest.approx(3 * step)
    expect(page.locator(".nsm-edit-label").last).to_contain_text(f"+{3 * step:.2f} along up")
    names = page.get_by_role("combobox", name="direction")
    names.focus()
    page.keyboard.press("ArrowDown")
    expect(names.locator("option:checked")).to_have_text("down")
    close_kernels(page)


def test_a_kernel_that_is_gone_is_told_of(page: Page, lab: Lab) -> None:
    open_notebook(page, lab, lab.write("gone.ipynb", [_KEYS]))
    run_all(page)
    page.wait_for_selector(".nsm-token")
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.sessionContext"
        ".session.kernel.restart()"
    )
    expect(page.get_by_role("alert")).to_contain_text("kernel that made this is gone")
    page.locator(head(page, "1.1")).click()
    expect(page.get_by_role("alert")).to_contain_text("run the cell again")
    expect(page.locator(".nsm-busy")).to_have_count(0)
    close_kernels(page)
