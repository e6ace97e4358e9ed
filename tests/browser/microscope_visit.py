"""A visit to the microscope, wherever it is shown, and how to find its parts."""

from __future__ import annotations

import torch
from playwright.sync_api import Page, expect

import neoscope as ns
from neoscope.edits import ablate

MARY = "When Mary and John went to the store, John gave a drink to"
JOHN = "When Mary and John went to the store, Mary gave a drink to"
expect.set_options(timeout=30_000)
# How long it takes from a click until what it asked for is drawn, in ms.
CLICK = """
(selector) => new Promise((done) => {
  const root = document.querySelector('.nsm'), start = performance.now();
  root.addEventListener('microscope-drawn', () => requestAnimationFrame(
    () => done(performance.now() - start)), {once: true});
  document.querySelector(selector).click();
})
"""


def head(page: Page, name: str) -> str:
    """Return how to find a head's thumbnail."""
    return f'.nsm-head[aria-label^="head {name}"]'


def numbers(page: Page) -> dict[str, list[str]]:
    """Return the table of next tokens: token to its numbers."""
    rows = page.locator(".nsm-next tbody tr").all()
    return {
        row.locator("th").inner_text(): row.locator("td.nsm-number").all_inner_texts()
        for row in rows
    }


def said(model: ns.HookedGPTNeo, text: str, word: str, *edits: ns.edits.Edit) -> str:
    """Return the probability of a word after a text, as the page writes it."""
    with torch.no_grad():
        logits = model.run_with_edits(text, list(edits))[0, -1]
    tokenizer = model.tokenizer
    assert tokenizer is not None
    return f"{float(logits.softmax(-1)[tokenizer.encode(word)[0]]):.3f}"


def check_a_visit(page: Page, model: ns.HookedGPTNeo) -> None:
    """Type, click a head, hover, switch it off: the page shows what Python computes."""
    page.wait_for_selector(".nsm-token")
    box = page.get_by_role("textbox", name="prompt", exact=True)
    box.fill(MARY)
    box.press("Enter")
    expect(page.locator(".nsm-token")).to_have_count(14)
    assert numbers(page)["·Mary"] == [said(model, MARY, " Mary")]
    page.locator(head(page, "2.1")).click()
    expect(page.locator(".nsm-pattern .nsm-title")).to_have_text("Head 2.1 (global)")
    page.locator(".nsm-token").nth(13).hover()
    _, cache = model.run_with_cache(MARY, sites="pattern", layers=2)
    pattern = cache["pattern", 2][0, 1]
    best = int(pattern[13].argmax())
    expect(page.locator(".nsm-hint")).to_contain_text(f"{best}\u00a0")
    expect(page.locator(".nsm-hint")).to_contain_text(f"{float(pattern[13, best]):.2f}")
    page.get_by_role("button", name="Switch 2.1 off").click()
    expect(page.locator(".nsm-loss")).to_contain_text("→")
    off = ablate("z", layer=2, head=1)
    shown = numbers(page)
    assert shown["·Mary"] == [said(model, MARY, " Mary"), said(model, MARY, " Mary", off)]
    assert shown["·Mary"][0] != shown["·Mary"][1]
    with torch.no_grad():
        loss = float(model(MARY, edits=off, return_type="loss"))
    expect(page.locator(".nsm-loss")).to_contain_text(f"→ {loss:.4f} nats")
