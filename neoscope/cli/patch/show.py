"""What ``neoscope patch`` prints: the prompts, the baselines, and the cells of largest effect."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neoscope.cli.export.run import duration
from neoscope.cli.options import human_bytes, print_json
from neoscope.cli.patch.run import Results, done_cells
from neoscope.cli.table import new_table, number, show_cells, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from neoscope.model import HookedGPTNeo
    from neoscope.patching.results.result import PatchingResult

_PIPED = 120
_SIDES = ("clean", "corrupted")


def show(model: HookedGPTNeo, results: Results, *, top: int, seconds: float) -> None:
    """Print what was measured, and the cells of largest effect."""
    console = _console()
    one = next(iter(results.values()))
    console.print(repr(model), highlight=False, markup=False)
    _prompts(console, one, results, seconds)
    _baselines(console, one)
    for name, result in results.items():
        title = {"stream": "\nthe residual stream, attention and MLPs by position",
                 "heads": "\nheads, at all positions at once"}.get(name, "")  # fmt: skip
        console.print(title, style="bold", highlight=False)
        show_cells(console, result, top)
    _notes(console, one, results)


def _console() -> Console:
    from rich.console import Console

    # A file or a pipe has no width; 80 would cut labels off.
    console = Console()
    piped = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(width=_PIPED) if piped else console


def _prompts(console: Console, one: PatchingResult, results: Results, seconds: float) -> None:
    from rich.table import Table
    from rich.text import Text

    n = one.n_pairs
    lengths = sorted({len(row) for row in one.clean_strings})
    tokens = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    done, total = done_cells(results)
    sites = " and ".join(result.site for result in results.values())
    cells = f"{total:,} cells" if done == total else f"{done:,} of {total:,} cells"
    console.print(
        f"{one.direction}, {n:,} pair{'s' * (n > 1)} of {tokens} tokens, {cells} of {sites}, "
        f"{duration(seconds)}",
        highlight=False,
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    rows = (one.clean_strings, one.corrupted_strings)
    for side, strings in zip(_SIDES, rows, strict=True):
        if strings:
            grid.add_row(side, _prompt(strings[0], [row[0] for row in rows if row]))
    console.print(grid, highlight=False)
    if n > 1:
        console.print(Text(f"and {n - 1:,} more", "dim"), highlight=False)


def _prompt(strings: Sequence[str], sides: Sequence[Sequence[str]]) -> Text:
    """Return a prompt in which what differs is marked."""
    from rich.text import Text

    text = Text()
    for i, token in enumerate(strings):
        changed = len({side[i] for side in sides}) > 1
        inner = token.lstrip(" ") if changed else token
        text.append(token[: len(token) - len(inner)])
        text.append(visible(f"*{inner}*" if changed else inner), "bold yellow" if changed else "")
    text.rstrip()
    return text[1:] if text.plain[:1] == " " else text


def _baselines(console: Console, one: PatchingResult) -> None:
    import numpy as np

    names = [one.metric, *(f"logit of {name}" for name in one.components)]
    table = new_table([("unpatched", "left"), *((name, "right") for name in names)])
    for side in _SIDES:
        values = getattr(one, side)
        if values is not None:
            parts = [float(np.mean(sides[side])) for sides in one.base_components.values()]
            table.add_row(side, *(number(x) for x in (float(np.mean(values)), *parts)))
    console.print()
    console.print(table, highlight=False)


def _notes(console: Console, one: PatchingResult, results: Results) -> None:
    other = "clean" if one.base_name == "corrupted" else "corrupted"
    from_ = f"the {other} run" if one.source == "other prompt" else one.source
    unit = f" ({one.unit})" if one.unit and one.unit != one.metric else ""
    said = (
        f"patched: the {one.base_name} run, with values from {from_}; effect: the change in "
        f"{one.metric}{unit}"
    )
    if one.n_pairs > 1:
        said += "; p: sign flips over pairs, corrected over all cells"
        said += " of its table" if len(results) > 1 else ""
    ran = sum(_ran(result) for result in results.values())
    done, _ = done_cells(results)
    if 0 < ran < done:
        said += f"; {done - ran:,} cells cannot move, and are 0"
    console.print(f"\n{said}", highlight=False, markup=False)


def show_files(files: Mapping[str, Path]) -> None:
    """Print what was written."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for path in files.values():
        size = human_bytes(path.stat().st_size)
        console.print(
            f"wrote {path} ({size}); read it with "
            f"neoscope.patching.PatchingResult.load({str(path)!r})"
        )


def show_json(results: Results, files: Mapping[str, Path], *, top: int, seconds: float) -> None:
    """Print the facts and the cells of largest effect."""
    import numpy as np

    one = next(iter(results.values()))
    done, total = done_cells(results)
    sides = {side: getattr(one, side) for side in _SIDES}
    baselines = {
        side: {
            one.metric: float(np.mean(x)),
            **{f"logit_{k}": float(np.mean(v[side])) for k, v in one.base_components.items()},
        }
        for side, x in sides.items()
        if x is not None
    }
    print_json(
        {
            "model": one.model,
            "fingerprint": one.fingerprint,
            "pairs": one.n_pairs,
            "metric": one.metric,
            "unit": one.unit,
            "direction": one.direction,
            "patched": one.base_name,
            "source": one.source,
            "seed": one.seed,
            "baselines": baselines,
            "cells": total,
            "done": done,
            "complete": all(result.complete for result in results.values()),
            "seconds": round(seconds, 3),
            "results": [
                {
                    "site": result.site,
                    "axes": {axis.name: list(axis.labels) for axis in result.axes},
                    "ran": _ran(result),
                    "file": None if name not in files else str(files[name]),
                    "top": result.top(top).to_dict("records"),
                }
                for name, result in results.items()
            ],
        }
    )


def _ran(result: PatchingResult) -> int:
    assert result.ran is not None
    return int(result.ran.sum())
