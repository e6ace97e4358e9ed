"""``neoscope info``: what a checkpoint is, without loading its weights."""

from __future__ import annotations

import itertools
from typing import Any

from neoscope.cli.options import Json, Model, Revision, human_bytes, print_json


def info(model: Model = "organism", revision: Revision = None, as_json: Json = False) -> None:
    """Show a checkpoint's shape, layers, size and sites; its weights are not loaded."""
    from neoscope import organism

    facts = _facts(model, organism.locate(model, revision=revision))
    if as_json:
        print_json(facts)
    else:
        _show(facts)


def _facts(name: str, found: Any) -> dict[str, Any]:
    from neoscope.cache_size import estimate_nbytes
    from neoscope.run import switch_names
    from neoscope.site_kinds import KINDS

    c = found.config
    return {
        "model": name,
        "folder": str(found.folder),
        "revision": found.revision,
        "n_layers": c.n_layers,
        "layers": [
            {"layer": i, "kind": kind, "window": c.window(i)} for i, kind in enumerate(c.kinds)
        ],
        "d_model": c.d_model,
        "n_heads": c.n_heads,
        "d_head": c.d_head,
        "d_mlp": c.n_neurons,
        "n_ctx": c.n_ctx,
        "d_vocab": c.d_vocab,
        "activation": c.act_fn,
        "tied_embeddings": c.tie_word_embeddings,
        "parameters": c.n_params,
        "weight_bytes": {"float32": 4 * c.n_params, "bfloat16": 2 * c.n_params},
        "cache_bytes_128_tokens": estimate_nbytes(c, 1, min(128, c.n_ctx)),
        "switches": sorted(switch_names()),
        "sites": [
            {
                "site": kind.short,
                "name": kind.template,
                "axes": list(kind.axes),
                "switch": kind.switch,
                "meaning": kind.meaning,
            }
            for kind in KINDS
        ],
    }


def _show(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    grid = Table.grid(padding=(0, 2))
    vocab = f"{facts['d_vocab']:,} tokens" + ("" if facts["tied_embeddings"] else ", untied head")
    sizes = ", ".join(f"{human_bytes(n)} {name}" for name, n in facts["weight_bytes"].items())
    tokens = min(128, facts["n_ctx"])
    heads = f"{facts['n_heads']} heads x {facts['d_head']}"
    mlp = f"d_mlp {facts['d_mlp']} ({facts['activation']})"
    width = f"d_model {facts['d_model']}, {heads}, {mlp}"
    for label, value in (
        ("model", facts["model"]),
        ("folder", facts["folder"]),
        ("layers", layers_line(facts)),
        ("width", width),
        ("context", f"{facts['n_ctx']} tokens"),
        ("vocabulary", vocab),
        ("parameters", f"{facts['parameters']:,} ({sizes})"),
        ("a full cache", f"{human_bytes(facts['cache_bytes_128_tokens'])} for {tokens} tokens"),
    ):  # fmt: skip
        grid.add_row(Text(label, "bold"), Text(str(value), overflow="fold"))
    console.print(grid, highlight=False)
    table = Table(title="sites", title_justify="left", box=None, pad_edge=False)
    table.add_column("short name", no_wrap=True)
    # Whole names can be found with grep and pasted; a narrow terminal has no room for them.
    table.add_column("full name", no_wrap=console.width >= 80, overflow="fold")
    table.add_column("what it is", overflow="fold")
    for site in facts["sites"]:
        on = f"; model.set_{site['switch']}(True)" if site["switch"] else ""
        what = f"{site['meaning']} [{', '.join(site['axes'])}]{on}"
        table.add_row(site["site"], site["name"], Text(what))
    console.print()
    console.print(table, highlight=False)


def layers_line(facts: dict[str, Any]) -> str:
    """Return e.g. ``12: 0 global, 1 local (256), ...`` with repeats told once."""
    kinds = [(x["kind"], x["window"]) for x in facts["layers"]]
    if (
        len(kinds) > 2
        and kinds == [kinds[i % 2] for i in range(len(kinds))]
        and kinds[0] != kinds[1]
    ):
        pair = " and ".join(_kind(*kind) for kind in kinds[:2])
        return f"{len(kinds)}, alternating {pair}"
    parts, start = [], 0
    for kind, group in itertools.groupby(kinds):
        n = len(list(group))
        where = f"{start}" if n == 1 else f"{start} to {start + n - 1}"
        parts.append(f"{where} {_kind(*kind)}")
        start += n
    return f"{len(kinds)}: " + ", ".join(parts)


def _kind(kind: str, window: int | None) -> str:
    return kind if window is None else f"{kind} (window {window})"
