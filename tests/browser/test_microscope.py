"""The microscope in a browser: what is clicked and typed is what Python computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

import neoscope as ns
from neoscope.edits import ablate
from neoscope.views import Microscope
from tests.browser.microscope_page import open_widget, push
from tests.browser.microscope_visit import CLICK, JOHN, MARY, check_a_visit, head, numbers
from tests.browser.watch import Watch

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> שלום \u202e 👩‍👩‍👧"


def test_a_visit_in_a_plain_page(page: Page, watch: Watch, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, "The keys near the cabinet")
    open_widget(page, scope)
    check_a_visit(page, model)
    assert scope.text == MARY and scope.selected == (2, 1) and len(scope.edits) == 1
    assert watch.errors == []


def test_errors_are_shown_and_nothing_is_lost(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY)
    open_widget(page, scope)
    box = page.get_by_role("textbox", name="prompt", exact=True)
    box.fill("")
    expect(page.get_by_role("alert")).to_contain_text("empty")
    expect(page.locator(".nsm-token")).to_have_count(14)
    box.fill("the " * 200)
    expect(page.get_by_role("alert")).to_contain_text("the model's context is 128")
    assert box.input_value() == "the " * 200 and scope.text == MARY
    box.fill("The xylophone")  # without Enter: it is sent after a pause
    expect(page.get_by_role("status")).to_contain_text("xylophone")
    expect(page.get_by_role("alert")).to_be_empty()
    assert scope.text == "The xylophone"


def test_every_part_is_reached_by_keys(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY)
    open_widget(page, scope)
    page.locator(head(page, "0.0")).focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    expect(page.locator(head(page, "2.1"))).to_be_focused()
    expect(page.locator(".nsm-pattern .nsm-title")).to_contain_text("Head 2.1")
    page.keyboard.press("x")
    expect(page.locator(head(page, "2.1"))).to_have_attribute("aria-label", "head 2.1, off (zero)")
    page.keyboard.press("x")
    expect(page.locator(".nsm-none")).to_be_visible()
    page.locator(".nsm-token").nth(13).focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator(".nsm-lens .nsm-title")).to_contain_text("after 1")
    assert scope.position == 1
    page.locator(".nsm-pattern canvas").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".nsm-pattern .nsm-readout")).to_contain_text("looks at")
    for canvas in page.locator("canvas:not([aria-hidden])").all():
        if canvas.is_visible():
            assert canvas.get_attribute("aria-label")
    # One stop for all heads and one for all tokens.
    for group in (".nsm-head", ".nsm-token"):
        assert page.locator(f'{group}[tabindex="0"]').count() == 1


def test_steering_and_mlps(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY, directions={"up": torch.ones(model.config.d_model)})
    open_widget(page, scope)
    page.get_by_role("button", name="MLP 1, on").click()
    expect(page.locator(".nsm-edit")).to_have_count(1)
    page.get_by_role("radio", name="mean").click()
    page.get_by_role("button", name="MLP 2, on").click()
    expect(page.locator(".nsm-edit-label").nth(1)).to_have_text("MLP 2 off (mean)")
    slider = page.get_by_role("slider")
    slider.fill(str(float(slider.get_attribute("max") or 0)))
    expect(page.locator(".nsm-edit")).to_have_count(3)
    with torch.no_grad():
        expected = model.run_with_edits(MARY, scope.edits)[0]
    assert float((scope.logits - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    page.get_by_role("button", name="undo MLP 1 off (zero)").click()
    expect(page.locator(".nsm-edit")).to_have_count(2)
    page.get_by_role("button", name="Undo all").click()
    expect(page.locator(".nsm-edit")).to_have_count(0)
    assert slider.input_value() == "0" and scope.edits == []


def test_a_click_on_the_map_patches(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY)
    open_widget(page, scope)
    page.get_by_role("textbox", name="other prompt").fill(JOHN)
    page.get_by_role("button", name="stream").click()
    canvas = page.locator(".nsm-patching canvas")
    expect(canvas).to_be_visible()
    found = scope.patching
    assert found is not None
    canvas.focus()
    page.keyboard.press("ArrowUp")  # the last cell
    layer, position = found.mean.shape[0] - 1, found.mean.shape[1] - 1
    readout = page.locator(".nsm-patching .nsm-readout")
    expect(readout).to_contain_text(f"+{found.mean[layer, position]:.2f} logits")
    page.keyboard.press("Enter")
    expect(page.locator(".nsm-edit")).to_have_count(1)
    assert repr(scope.edits[0]) == f"replace('resid_post', layer={layer}, positions=[{position}])"
    expect(page.locator(".nsm-next tbody tr").first).to_contain_text("·John")
    page.get_by_role("button", name="heads").click()
    expect(canvas).to_have_attribute("aria-label", "map of patches, 4 layers by 4 heads, "
        f"largest effect {np.abs(scope.compare('z').mean).max():.2f} logits; "
        "arrow keys read it, Enter patches")  # fmt: skip


def test_what_python_sets_is_shown(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY)
    open_widget(page, scope)
    scope.text, scope.selected = "The keys near the cabinet", (1, 2)
    scope.edits = [ablate("mlp_out", layer=0)]
    push(page, scope)
    box = page.get_by_role("textbox", name="prompt", exact=True)
    expect(box).to_have_value("The keys near the cabinet")
    expect(page.locator(".nsm-pattern .nsm-title")).to_have_text("Head 1.2 (local, window 32)")
    expect(page.get_by_role("button", name="MLP 0, off (zero)")).to_be_visible()
    page.locator(".nsm-code summary").click()
    expect(page.locator(".nsm-pre")).to_contain_text('ablate("mlp_out", layer=0)')


@pytest.mark.filterwarnings("ignore::neoscope.UnseenWordWarning")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_in_a_prompt_is_run(
    page: Page, no_network: Watch, model: ns.HookedGPTNeo, theme: str
) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    scope = Microscope(model, EVIL, other=EVIL, directions={EVIL: torch.ones(128)})
    scope.steer(EVIL, 0, 1.0)
    open_widget(page, scope)
    assert page.locator(".nsm").get_attribute("data-theme") == theme
    assert page.locator(".nsm script, .nsm img").count() == 0
    page.set_content(scope.to_html())
    assert page.locator("script, img").count() == 0
    assert no_network.dialogs == [] and no_network.outside() == [] and no_network.errors == []


def test_every_click_on_a_head_is_drawn(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY)
    open_widget(page, scope)
    for i in (1, 0, 2, 3):
        # A click that is not drawn never returns.
        assert page.evaluate(CLICK, head(page, f"{i}.{i}")) > 0
        assert scope.selected == (i, i)


def test_a_kernel_that_does_not_answer_is_told_of(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY)
    page.clock.install()
    open_widget(page, scope)
    page.evaluate("() => { window.tellPython = () => new Promise(() => {}); }")
    page.locator(head(page, "1.1")).click()
    expect(page.locator(".nsm-busy")).to_have_count(1)
    page.clock.run_for(16_000)
    expect(page.get_by_role("alert")).to_contain_text("run the cell again")
    expect(page.locator(".nsm-busy")).to_have_count(0)


def test_a_long_measurement_says_how_far_it_is(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY, other=JOHN)
    page.clock.install()
    open_widget(page, scope)
    page.evaluate("() => { window.tellPython = () => new Promise(() => {}); }")
    page.get_by_role("button", name="stream").click()
    note = page.locator(".nsm-patching .nsm-note").first
    expect(note).to_have_text("measuring…")
    for done in (16, 32):
        page.clock.run_for(10_000)
        page.evaluate("(done) => window.hear({done, total: 384})", done)
        expect(note).to_have_text(f"measuring… {done} of 384 patched runs")
    expect(page.get_by_role("alert")).to_be_empty()
    page.clock.run_for(16_000)
    expect(page.get_by_role("alert")).to_contain_text("run the cell again")


@pytest.mark.filterwarnings("ignore:.*overflow.*")
def test_no_number_is_a_dash_and_an_error(page: Page, watch: Watch, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY, directions={"up": torch.linspace(-1, 1, 128)})
    scope.steer("up", 0, 1e30)
    assert not bool(scope.logits.isfinite().all())
    open_widget(page, scope)
    expect(page.get_by_role("alert")).to_contain_text("NaN or infinity")
    assert [one[1] for one in numbers(page).values()] == ["–"] * 10
    expect(page.locator(".nsm-loss")).to_contain_text("→ – nats")
    page.get_by_role("button", name="Undo all").click()
    expect(page.get_by_role("alert")).to_be_empty()
    assert watch.errors == []


def test_the_slider_keeps_its_width(page: Page, model: ns.HookedGPTNeo) -> None:
    scope = Microscope(model, MARY, directions={"up": torch.ones(128)})
    open_widget(page, scope)
    slider = page.get_by_role("slider")
    before = (slider.bounding_box() or {})["width"]
    slider.fill(slider.get_attribute("min") or "")
    expect(page.locator(".nsm-edit")).to_have_count(1)
    assert (slider.bounding_box() or {})["width"] == before


def test_a_long_prompt_is_whole_lines_and_its_last_token_is_seen(
    page: Page, model: ns.HookedGPTNeo
) -> None:
    scope = Microscope(model, " ".join([MARY] * 8))
    open_widget(page, scope)
    box = page.get_by_role("textbox", name="prompt", exact=True)
    expect(page.locator(".nsm-token-selected")).to_be_in_viewport()
    for width in (1000, 420, 700):
        page.evaluate("(width) => { document.body.style.width = `${width}px`; }", width)
        page.wait_for_timeout(200)
        shown, whole, line, rest = box.evaluate(
            "(node) => { const style = getComputedStyle(node); return [node.clientHeight,"
            " node.scrollHeight, parseFloat(style.lineHeight), parseFloat(style.paddingTop)]; }"
        )
        assert abs((shown - rest) / line - round((shown - rest) / line)) < 0.06 or shown >= whole, (
            width
        )
