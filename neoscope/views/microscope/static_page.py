"""The microscope where no script runs: nbconvert, GitHub, papers."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from neoscope.views.labels import spoken
from neoscope.views.microscope.desk import MicroscopeDesk
from neoscope.views.microscope.quantising import thumbnails
from neoscope.views.microscope.showing import following

_LEVELS = 8
"""Shades in a picture: cells of one shade are one path."""
_SHADES = ("#e6f0f5", "#d3e6ee", "#a9d0de", "#7cb8cd", "#4596b5", "#1f648f", "#123f66", "#0a2440")
_CARD = (
    "background:#fff;color:#1b2430;border:1px solid #c3c9d1;border-radius:6px;padding:14px 18px;"
    "font:13px/1.5 'Segoe UI',Helvetica,Arial,sans-serif;max-width:960px;overflow-x:auto"
)
_TABLE = "font:inherit;color:inherit;border-collapse:collapse"
_HIDDEN = "#dfe3e8"
"""What cannot be seen: later tokens, and what is beyond a window."""
_LETTERS = 14
"""Most letters of a label in a picture."""
_SMALL, _LARGE = 12, 48
"""Most rows of a small and of the large picture."""


def static_page(desk: MicroscopeDesk) -> str:
    """Return what a microscope shows as HTML with inline SVG, without scripts.

    Args:
        desk: What is looked at.
    """
    setting, run = desk.setting, desk.run
    layer, head = setting.selected
    parts = [
        f"<p><b>Microscope</b>: {_said(desk)}</p>",
        _prompt(run.tokens, desk.position),
        _edits([one.label for one in setting.changes]),
        _next_table(desk),
        _lens_table(desk),
        "<div>",
        _block(
            f"Head {layer}.{head}: rows look at columns, dark is much, grey is hidden",
            _selected(desk),
        ),
        _block("All heads: one row a layer, one column a head", _heads(desk)),
        "</div>",
    ]
    return f'<div class="neoscope-microscope-static" style="{_CARD}">{"".join(parts)}</div>'


def _said(desk: MicroscopeDesk) -> str:
    config, run = desk.model.config, desk.run
    local = [str(i) for i, kind in enumerate(config.kinds) if kind == "local"]
    window = f"; layers {', '.join(local)} see {config.window_size} tokens back" if local else ""
    words = f"{len(run)} token{'' if len(run) == 1 else 's'}"
    name = html.escape(str(desk.model.cfg.model_name))
    loss = ""
    if run.loss is not None and desk.base.loss is not None:
        loss = f"; loss {desk.base.loss:.4f} nats a token"
        loss += f" unedited, {run.loss:.4f} edited" if desk.setting.changes else ""
    heads = f"{config.n_layers} layers of {config.n_heads} heads"
    return f"{name}, {heads}{window}; {words}{loss}"


def _prompt(tokens: Sequence[str], position: int) -> str:
    shown = []
    for i, token in enumerate(tokens):
        mark = "border-bottom:2px solid #d55e00;" if i == position else ""
        style = f"{mark}background:#eef2f5;border-radius:3px;padding:1px 4px;margin:1px"
        text = f"<bdi>{html.escape(spoken(token))}</bdi>"
        text = f"<b>{text}</b>" if i == position else text
        shown.append(f'<span style="{style};display:inline-block">{text}</span>')
    return f"<p>{' '.join(shown)}</p>"


def _edits(labels: Sequence[str]) -> str:
    if not labels:
        return "<p>No edits.</p>"
    return f"<p>Edits: {'; '.join(f'<bdi>{html.escape(one)}</bdi>' for one in labels)}</p>"


def _next_table(desk: MicroscopeDesk) -> str:
    rows = following(desk)
    edited = bool(desk.setting.changes)
    heads = ["next token", "unedited", "edited"] if edited else ["next token", "probability"]
    cells = [
        [word_cell(row["token"]), chance(row["before"])]
        + ([chance(row["after"])] if edited else [])
        for row in rows
    ]
    return _table(f"What comes next at position {desk.position}", heads, cells)


def _lens_table(desk: MicroscopeDesk) -> str:
    strip = desk.strip
    cells = [
        [html.escape(label), word_cell(spoken(token)), chance(p)]
        for label, token, p in zip(strip.labels, strip.tokens, strip.probabilities, strict=True)
    ]
    title = f"{strip.lens} lens at position {strip.position}"
    return _table(title[:1].upper() + title[1:], ["layer", "token", "probability"], cells)


def chance(value: float) -> str:
    """Return a probability as it is written; a dash for no number."""
    return f"{value:.4f}" if math.isfinite(value) else "–"


def word_cell(shown: object) -> str:
    """Return a token that is made visible already as a table's cell."""
    return f"<code><bdi>{html.escape(str(shown))}</bdi></code>"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th style="text-align:left;padding:2px 10px">{one}</th>' for one in heads)
    cell = '<td style="text-align:left;padding:2px 10px">'
    body = "".join(f"<tr>{''.join(f'{cell}{one}</td>' for one in row)}</tr>" for row in rows)
    table = f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return _block(title, table)


def _block(title: str, content: str) -> str:
    """Put a part beside its neighbours, where there is room."""
    return (
        '<div style="display:inline-block;vertical-align:top;margin:0 28px 12px 0">'
        f"<p><b>{html.escape(title)}</b></p>{content}</div>"
    )


def _selected(desk: MicroscopeDesk) -> str:
    layer, head = desk.setting.selected
    n = len(desk.run)
    size = min(_LARGE, n)
    return _picture(
        desk.run.pattern(layer, head)[None, None],
        _LARGE,
        max(5, min(28, 280 // size)),
        f"Pattern of head {layer}.{head}",
        # The first token of each row and column of the picture.
        labels=[spoken(desk.run.tokens[i * n // size])[:_LETTERS] for i in range(size)],
        windows=_windows(desk)[layer : layer + 1],
    )


def _windows(desk: MicroscopeDesk) -> list[int]:
    """Return how far back each layer sees, in tokens."""
    config, n = desk.model.config, len(desk.run)
    return [config.window_size if kind == "local" else n for kind in config.kinds]


def _heads(desk: MicroscopeDesk) -> str:
    n_layers, n_heads = desk.model.config.n_layers, desk.model.config.n_heads
    every = np.stack(
        [
            np.stack([desk.run.pattern(layer, head) for head in range(n_heads)])
            for layer in range(n_layers)
        ]
    )
    size = min(_SMALL, every.shape[-1])
    cell = max(3, 48 // size)
    return _picture(every, _SMALL, cell, "Patterns of all heads", windows=_windows(desk))


def _picture(
    patterns: np.ndarray,
    most: int,
    cell: int,
    title: str,
    *,
    windows: Sequence[int],
    labels: Sequence[str] = (),
) -> str:
    """Draw patterns [row, column, query, key] side by side, one path a shade.

    ``windows`` says of each row how far back it sees: what is hidden is grey, not the colour of 0.
    """
    n = patterns.shape[-1]
    rows, columns = patterns.shape[:2]
    small = thumbnails(patterns.reshape(-1, *patterns.shape[2:]), most)
    size = small.shape[-1]
    step = size + 1
    small = small.reshape(rows, columns, size, size)
    frames = "".join(
        f"M{x * step} {y * step}h{size}v{size}h-{size}z"
        for y in range(rows)
        for x in range(columns)
    )
    hidden = "".join(
        f"M{x * step + k} {y * step + q}h{length}v1h-{length}z"
        for y in range(rows)
        for q in range(size)
        for k, length in _hidden(q, size, n, windows[y])
        for x in range(columns)
    )
    paths = [f'<path d="{frames}" fill="#f7fafc"/><path d="{hidden}" fill="{_HIDDEN}"/>']
    level = np.minimum(small.astype(int) * _LEVELS // 256, _LEVELS - 1)
    for shade in range(_LEVELS):
        where = np.argwhere((level == shade) & (small > 2))
        d = "".join(f"M{x * step + k} {y * step + q}h1v1h-1z" for y, x, q, k in where.tolist())
        if d:
            paths.append(f'<path d="{d}" fill="{_SHADES[shade]}"/>')
    width, height = columns * step - 1, rows * step - 1
    note = f"; blocks by their largest share, {size} a side" if n > size else ""
    # In cells: the labels are as large on screen whatever a cell's size is.
    margin = (max(map(len, labels)) * 6.2 + 8) / cell if labels else 0.0
    width, height = round(width + margin, 2), round(height + margin, 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="{-margin:.2f} 0 {width} {height}" width="{width * cell:.0f}" '
        f'height="{height * cell:.0f}" style="max-width:100%;height:auto" '
        f'shape-rendering="crispEdges"><title>{html.escape(title + note)}</title>{"".join(paths)}'
        f"{_words(labels, cell)}</svg>"
    )


def _hidden(q: int, size: int, n: int, window: int) -> list[tuple[int, int]]:
    """Return where the hidden cells of a row begin, and how many they are."""
    later = [(q + 1, size - q - 1)] if q + 1 < size else []
    # A block is hidden where its nearest pair of tokens is.
    beyond = sum((q * n // size) - ((k + 1) * n // size - 1) >= window for k in range(q))
    return [*later, (0, beyond)] if beyond else later


def _words(labels: Sequence[str], cell: int) -> str:
    """Write labels left of the rows and, turned, below the columns; as many as have room."""
    font, gap, every = 10 / cell, 4 / cell, max(1, -(-11 // cell))
    said = []
    for i in range(0, len(labels), every):
        text, at = html.escape(labels[i]), i + 0.5
        below = len(labels) + gap
        said.append(
            f'<text x="{-gap:.2f}" y="{at}" dy=".35em">{text}</text>'
            f'<text transform="translate({at} {below:.2f}) rotate(-90)" dy=".35em">{text}</text>'
        )
    style = f'font-size="{font:.3f}" font-family="monospace" fill="#1b2430" text-anchor="end"'
    return f"<g {style}>{''.join(said)}</g>" if said else ""
