"""What ``neoscope eval`` prints: a table of scores, each beside its published figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.export.run import duration
from neoscope.cli.options import print_json

if TYPE_CHECKING:
    from neoscope.evaluate.comparing import Comparison
    from neoscope.evaluate.result import Evaluation

_HEADS = {"num_fewshot": "shots", "shortened": "cut", "stderr": "±"}
_SHARES = ("acc", "acc_norm", "em", "exact_match", "f1", "score")


def show(found: Evaluation | Comparison, written: Sequence[Path], *, seconds: float) -> None:
    """Print the scores: shares of 1 in percent, all else as it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(found.heading()))
    rows = [row for row in found.to_dataframe().to_dict("records") if row["main"]]
    columns = _columns(found, rows)
    table = Table(box=None, pad_edge=False)
    table.add_column("task", overflow="fold")
    for column in columns:
        justify: Any = "left" if column == "metric" else "right"
        table.add_column(_HEADS.get(column, column), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(Text(row["label"]), *(_cell(row, column) for column in columns))
    console.print(table, highlight=False)
    if not hasattr(found, "clean"):
        _say_source(found, console)
    more = len(found.task) - len(rows)
    if more:
        console.print(f"{more} more rows: --json or --out", highlight=False)
    for path in written:
        console.print(Text(f"written to {path}"), soft_wrap=True)
    console.print(f"in {duration(seconds)}", highlight=False)


def _columns(found: Any, rows: Sequence[dict[str, Any]]) -> list[str]:
    if hasattr(found, "clean"):
        return ["metric", "n", "clean", "edited", "difference", "stderr"]
    columns = ["metric", "num_fewshot", "n"]
    if any(row["shortened"] for row in rows):
        columns.append("shortened")
    beside = any(not math.isnan(row["published"]) for row in rows)
    return [*columns, "value", "stderr", *(["published", "difference"] if beside else [])]


def _say_source(found: Any, console: Any) -> None:
    from rich.text import Text

    if found.source is not None:
        said = f"published: gpt-neo-{found.published_as}, {found.source}"
        console.print(Text(said), soft_wrap=True)
    elif found.suite is not None:
        console.print("no figures of this suite are published for this model", highlight=False)


def _cell(row: dict[str, Any], column: str) -> Any:
    from rich.text import Text

    metric = row["metric"]
    if column == "metric":
        return Text(f"{metric} ({row['filter']})" if row["filter"] != "none" else metric)
    if column == "num_fewshot":
        return "" if row["task"] == "average" else str(row["num_fewshot"])
    if column in ("n", "shortened"):
        return f"{row[column]:,}"
    return number(row[column], metric, sign=column == "difference")


def number(value: float, metric: str, *, sign: bool = False) -> str:
    """Return a share of 1 in percent, another number with four figures, and nothing for NaN."""
    if math.isnan(value):
        return ""
    plus = "+" if sign else ""
    return f"{value:{plus}.2%}" if metric in _SHARES else f"{value:{plus}.4g}"


def show_json(
    found: Evaluation | Comparison, out: Path | None, samples: Path | None, *, seconds: float
) -> None:
    """Print all rows as JSON."""
    names = ("model", "suite", "published_as", "source", "edits", "limit", "seed", "left")
    facts = {name: getattr(found, name) for name in names if hasattr(found, name)}
    print_json(
        facts
        | {
            "rows": found.to_dataframe().to_dict("records"),
            "seconds": round(seconds, 3),
            "written": None if out is None else str(out),
            "samples": None if samples is None else str(samples),
        }
    )
