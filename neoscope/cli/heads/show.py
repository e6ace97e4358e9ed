"""What ``neoscope heads`` prints: the best head of each kind, or all heads of one."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.export.run import duration
from neoscope.cli.options import human_bytes, print_json
from neoscope.cli.table import new_table, number

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.analysis import HeadScores
    from neoscope.model import HookedGPTNeo

_PIPED = 80
_CANNOT, _NOTHING = "cannot", "-"


def show(
    model: HookedGPTNeo,
    found: HeadScores,
    score: str | None,
    top: int,
    written: Path | None,
    *,
    seconds: float,
) -> None:
    """Print the ranking, or the heads of one score."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_PIPED, highlight=False, markup=False)
    console.print(repr(model))
    console.print(f"{found.heading()}, {duration(seconds)}\n")
    if score is None:
        _ranking(console, found)
    else:
        _heads(console, found, score, top)
    if found.n_short:
        from neoscope.analysis.result import counted

        have = "has" if found.n_short == 1 else "have"
        few = counted(found.n_short, "text")
        console.print(f"{few} of a single token {have} nothing to measure")
    if written is not None:
        size = human_bytes(written.stat().st_size)
        Console(highlight=False, markup=False, soft_wrap=True).print(
            f"\nwrote {written} ({size}); read it with neoscope.analysis.load({str(written)!r})"
        )


def _ranking(console: Console, found: HeadScores) -> None:
    heads = found.score.shape[1] * found.score.shape[2]
    columns = ("score", "head", "value", "±", "next", "lead", "±", _CANNOT)
    left = {"score"}
    table = new_table([(name, "left" if name in left else "right") for name in columns])
    nothing = False
    for row in found.ranking().to_dict("records"):
        known = not math.isnan(row["score"])
        head = f"{row['layer']}.{row['head']}" if known else ""
        if row["cannot"] == heads:
            head = _CANNOT
        elif not known:
            head, nothing = _NOTHING, True
        cannot = f"{row['cannot']} of {heads}" if row["cannot"] else ""
        numbers = [number(row[name]) for name in ("score", "stderr")]
        lead = [number(row[name]) for name in ("lead", "lead_stderr")]
        unit = {"nats": " (nats)", "tokens": " (tokens)"}.get(row["unit"], "")
        table.add_row(f"{row['kind']}{unit}", head, *numbers, row["next"], *lead, cannot)
    console.print(table)
    beyond = any(name.endswith("_beyond") for name in found.names)
    window = next((w for w in found.windows if w is not None), None)
    console.print(
        "\nhead: layer.head of the highest score; lead: its distance to the next; ±: standard error"
    )
    if beyond:
        console.print(f"cannot: heads whose window of {window} does not reach so far")
    if nothing:
        console.print(f"{_NOTHING}: there was nothing to measure it on")
    console.print("one score, head by head: --score induction")


def _heads(console: Console, found: HeadScores, score: str, top: int) -> None:
    from neoscope.analysis.head.kinds import HEAD_SCORES
    from neoscope.analysis.head.result import CONFIDENCE

    rows = found.top(score, top).to_dict("records")
    twin = "beyond_window" in rows[0]
    columns = ["layer", "head", score, "±", "95 % interval", "window"]
    table = new_table([(name, "right") for name in (*columns, *(["beyond it"] if twin else []))])
    for row in rows:
        known = not math.isnan(row["score"])
        value = number(row["score"]) if known else _NOTHING if row["possible"] else _CANNOT
        interval = ""
        if not math.isnan(row["stderr"]):
            off = CONFIDENCE * row["stderr"]
            interval = f"{number(row['score'] - off)} to {number(row['score'] + off)}"
        window = "all" if _missing(row["window"]) else str(row["window"])
        cells = [str(row["layer"]), str(row["head"]), value, number(row["stderr"]), interval]
        table.add_row(*cells, window, *([row["beyond_window"]] if twin else []))
    console.print(table)
    kind = HEAD_SCORES[score]
    console.print(f"\n{score} ({kind.unit}): {kind.formula} ({kind.source})")
    left = found.score[0].size - len(rows)
    if left:
        console.print(f"and {left:,} more heads: --top, --json")


def _missing(value: Any) -> bool:
    return not isinstance(value, int)


def show_json(
    found: HeadScores, score: str | None, top: int, written: Path | None, *, seconds: float
) -> None:
    """Print the facts, the ranking, and of one score its best heads."""
    names = [score] if score is not None else []
    print_json(
        {
            "model": found.model,
            "corpus": found.corpus,
            "weighted": found.weighted,
            "texts": found.n_texts,
            "tokens": found.n_tokens,
            "gaps": list(found.gaps),
            "lengths": list(found.lengths),
            "prepend_bos": found.prepend_bos,
            "seed": found.seed,
            "edits": list(found.edits),
            "single_token_texts": found.n_short,
            "in_context": found.in_context,
            "complete": found.complete,
            "seconds": round(seconds, 3),
            "file": None if written is None else str(written),
            "ranking": [_plain(row) for row in found.ranking().to_dict("records")],
            "heads": {
                name: [_plain(row) for row in found.top(name, top).to_dict("records")]
                for name in names
            },
        }
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row in JSON's own values; what the window rules out says so in words."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        plain = value.item() if hasattr(value, "item") else value
        known = isinstance(plain, str | bool | int | float)
        out[str(name)] = plain if known else None
    if row.get("possible") is False:
        out["score"] = _CANNOT
    return out
