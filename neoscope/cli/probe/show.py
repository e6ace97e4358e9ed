"""What ``neoscope probe`` prints: how well each layer does, beside its controls and baselines."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.export.run import duration
from neoscope.cli.options import print_json
from neoscope.cli.probe.run import TABLE, Found
from neoscope.cli.probe.words import shown_label
from neoscope.cli.table import new_table, number, visible

if TYPE_CHECKING:
    from rich.console import Console

_PIPED = 120
_GAP = 2
_MOST_CLASSES = 8
_NOTES = ("control", "embeddings", "random-init", "mdl")


def show(found: Found, data: Path, written: Path | None, *, as_json: bool) -> None:
    """Print what was found.

    Args:
        found: The sweep.
        data: The file of its texts.
        written: The folder of the best probe, if there is one.
        as_json: As JSON.
    """
    if as_json:
        print_json(_facts(found, data, written))
        return
    console = new_console()
    sweep = found.sweep
    console.print(repr(found.model), highlight=False, markup=False)
    console.print(
        f"{visible(str(sweep.label))}: {found.n_rows:,} texts{_classes(sweep)}, "
        f"{sweep.n_development:,} to train on and {sweep.n_test:,} to test on, "
        f"{duration(found.seconds)}\n",
        highlight=False,
        markup=False,
    )
    _table(console, sweep)
    _notes(console, sweep)
    if written is not None:
        plain = _plain_console()
        plain.print(f"wrote {written} (probe.json, its numbers, and {TABLE})")
        plain.print(f"apply it with neoscope probe apply {written} --file new.txt")


def new_console() -> Console:
    """Return a console; a file or a pipe has no width, and 80 would cut names off."""
    from rich.console import Console

    console = Console()
    piped = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(width=_PIPED) if piped else console


def _plain_console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=True)


def _classes(sweep: Any) -> str:
    names = getattr(sweep.best(), "classes_", None)
    if names is None:
        return ""
    shown = ", ".join(map(shown_label, names.tolist()[:_MOST_CLASSES]))
    more = ", ..." if len(names) > _MOST_CLASSES else ""
    return f" of {len(names)} classes ({shown}{more})"


def records(sweep: Any) -> list[dict[str, Any]]:
    """Return the rows of a sweep's table as plain values; None where there is none."""
    import pandas as pd

    rows = sweep.to_dataframe().to_dict("records")
    return [{k: None if pd.isna(v) else _plain(v) for k, v in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _table(console: Console, sweep: Any) -> None:
    rows, metric = records(sweep), sweep.metric
    best = str(sweep.best_place.place)
    columns: dict[str, list[str]] = {"place": [], "": []}
    columns |= {metric: [], "95 % interval": [], "validation": []}
    wanted = {
        "balanced": "balanced_accuracy" if metric == "accuracy" else "",
        "auc": "auc" if metric != "auc" else "",
        "control": f"control_{metric}",
        "selectivity": "selectivity",
        "random twin": f"random_init_{metric}",
        "compression": "compression",
    }
    some = {name: key for name, key in wanted.items() if any(r.get(key) is not None for r in rows)}
    columns |= {name: [] for name in some}
    for row in rows:
        place = _name(row)
        columns["place"].append(place)
        columns[""].append("best" if place == best and row["kind"] == "place" else "")
        columns[metric].append(_number(row.get(metric)))
        low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
        known = low is not None and high is not None
        columns["95 % interval"].append(f"{_number(low)} to {_number(high)}" if known else "")
        columns["validation"].append(_number(row.get("validation")))
        for name, key in some.items():
            columns[name].append(_number(row.get(key)))
    optional = ["balanced", "auc", "validation", "random twin", "control", "compression", ""]
    out: list[str] = []
    while optional and _width(columns) > console.width:
        if columns.pop(name := optional.pop(0), None) and name:
            out.append(name)
    table = new_table([(name, "left" if name in ("place", "") else "right") for name in columns])
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    console.print(table, highlight=False)
    if out:
        console.print(
            f"left out for want of width: {', '.join(reversed(out))}; --json shows all",
            highlight=False,
            markup=False,
        )


def _width(columns: dict[str, list[str]]) -> int:
    widths: Sequence[int] = [max(map(len, (name, *cells))) for name, cells in columns.items()]
    return sum(widths) + _GAP * (len(widths) - 1)


def _name(row: dict[str, Any]) -> str:
    """Return what a place or a baseline is called."""
    if row["kind"] != "place":
        return str(row["site"])
    if row.get("layer") is None:
        return str(row["site"])
    head = "" if row.get("head") is None else f".{row['head']}"
    return f"{row['site']} {row['layer']}{head}"


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else number(value)


def _notes(console: Console, sweep: Any) -> None:
    import probes

    metric, best = sweep.metric, sweep.best_place
    interval = best.task.intervals.get(metric)
    where = "" if interval is None else f" ({number(interval.low)} to {number(interval.high)})"
    first = (
        f"best: {best.place}, chosen on validation folds; {metric} "
        f"{number(best.task.scores[metric])}{where} on texts that no choice saw. That it can be "
        "read there does not say that the model uses it."
    )
    console.print(f"\n{first}", highlight=False, markup=False)
    notes = {name: sweep.notes.get(name) for name in _NOTES}
    if untested := sweep.notes.get("untested"):
        shown = ", ".join(map(shown_label, untested[:_MOST_CLASSES]))
        more = ", ..." if len(untested) > _MOST_CLASSES else ""
        s = "es" * (len(untested) != 1)
        notes["untested"] = (
            f"{len(untested)} class{s} of too few texts to test on any, only trained on ({shown}"
            f"{more})"
        )
    if metric in probes.judging.LOWER_IS_BETTER and any(
        one.selectivity is not None for one in sweep.places
    ):
        notes["selectivity"] = f"control minus task, as of {metric} less is better"
    for name, note in notes.items():
        if isinstance(note, str):
            console.print(f"{name}: {visible(note)}", highlight=False, markup=False)


def _facts(found: Found, data: Path, written: Path | None) -> dict[str, Any]:
    sweep, best = found.sweep, found.sweep.best_place
    rows = records(sweep)
    classes = getattr(sweep.best(), "classes_", None)
    return {
        "model": sweep.source.model_name,
        "fingerprint": sweep.source.model,
        "data": str(data),
        "label": sweep.label,
        "kind": sweep.kind,
        "classes": None if classes is None else classes.tolist(),
        "rows": found.n_rows,
        "groups": sweep.n_groups,
        "train_rows": sweep.n_development,
        "test_rows": sweep.n_test,
        "metric": sweep.metric,
        "best": {
            "site": best.place.site,
            "layer": best.place.layer,
            "head": best.place.head,
            sweep.metric: best.task.scores[sweep.metric],
        },
        "complete": sweep.complete,
        "seconds": round(found.seconds, 3),
        "out": None if written is None else str(written),
        "notes": {key: value for key, value in sweep.notes.items() if _is_plain(value)},
        "places": [row for row in rows if row["kind"] == "place"],
        "baselines": [row for row in rows if row["kind"] != "place"],
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
