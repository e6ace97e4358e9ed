"""A microscope in a plain page: anywidget's model as its view sees it, bridged to the real one."""

from __future__ import annotations

import base64
from typing import Any

from playwright.sync_api import Page

from neoscope.views.microscope.page_widget import script, style
from neoscope.views.microscope.widget import Microscope

BYTES = ("thumbs", "pattern", "effects")
_PAGE = """
async ({script, style, traits}) => {
  const read = (name, value) => {
    if (!['thumbs', 'pattern', 'effects'].includes(name)) return value;
    const bytes = Uint8Array.from(atob(value), (c) => c.charCodeAt(0));
    return new DataView(bytes.buffer);
  };
  const values = {}, listeners = [], hearers = [];
  const take = (given) => {
    for (const [name, value] of Object.entries(given)) values[name] = read(name, value);
    for (const call of listeners) call();
  };
  const model = {
    get: (name) => values[name],
    on: (name, call) => {
      if (name.startsWith('change:')) listeners.push(call);
      if (name === 'msg:custom') hearers.push(call);
    },
    off: () => {},
    send: async (message) => take(await window.tellPython(message)),
  };
  take(traits);
  window.takeTraits = take;
  window.hear = (message) => { for (const call of hearers) call(message); };
  const sheet = document.createElement('style');
  sheet.textContent = style;
  document.head.append(sheet);
  const url = URL.createObjectURL(new Blob([script], {type: 'text/javascript'}));
  const module = await import(url);
  module.default.render({model, el: document.getElementById('here')});
}
"""


def traits(scope: Microscope) -> dict[str, Any]:
    """Return what is synchronised, bytes as base64."""
    names = ("state", *BYTES, "turn")
    found = {name: getattr(scope, name) for name in names}
    return {
        name: base64.b64encode(value).decode() if name in BYTES else value
        for name, value in found.items()
    }


def open_widget(page: Page, scope: Microscope, *, width: int = 1000) -> None:
    """Show a microscope in an empty page; what the page tells it is answered by the real one."""

    def tell(message: Any) -> dict[str, Any]:
        scope._answer(scope, message, [])  # type: ignore[attr-defined]
        return traits(scope)

    page.expose_function("tellPython", tell)
    page.set_content(
        f'<!doctype html><meta charset="utf-8"><body style="margin:8px;width:{width}px">'
        '<div id="here"></div>'
    )
    page.evaluate(_PAGE, {"script": script(), "style": style(), "traits": traits(scope)})


def push(page: Page, scope: Microscope) -> None:
    """Bring to the page what was set in Python."""
    page.evaluate("(traits) => window.takeTraits(traits)", traits(scope))
