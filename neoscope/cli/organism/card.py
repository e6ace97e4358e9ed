"""``neoscope organism card``: what the bundled model is, how it came, and what is true of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neoscope.cli.options import Json, print_json
from neoscope.cli.organism.eval import gate_table

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 24
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.-=+*#@"
_MOMENTS = {
    "before": "before induction",
    "during": "while it appears",
    "after": "after it has appeared",
}


def card(as_json: Json = False) -> None:
    """Show what the bundled model is: shape, training, gates, and what its parts do."""
    from neoscope import organism

    told, truth = organism.card(), organism.truth_card()
    if as_json:
        print_json({"card": told, "truth_card": truth})
    else:
        _show(told, truth)


def _show(told: Mapping[str, Any], truth: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    _facts(console, told)
    gates = told["gates"]["gates"]
    _title(console, f"gates, on {gates[0]['n']} sentences a task that training never saw")
    console.print(gate_table(gates), highlight=False)
    if guidance := told["training"].get("guidance"):
        _title(console, "how its training was guided")
        for line in guidance:
            console.print(Text(f"- {line}"))
    _title(console, "while it was trained")
    _curves(console, told)
    for key, title in (
        ("theorems", "what must be true of this shape"),
        ("claims", f"what its parts do, and whether it is so for {_models(truth)}"),
    ):
        # Claims about a task begin with its name; the table below holds what they rest on.
        items = [item for item in truth.get(key, ()) if _task_of(item) is None]
        if items:
            _title(console, title)
            _claims(console, items, values=key == "claims")
    if any("tasks" in model for model in truth["models"]):
        _title(console, "what decides each task, by patching clean into corrupted prompts")
        _tasks(console, truth["models"])
    console.print(
        Text("\nneoscope organism card --json has every number; neoscope organism eval measures "
             "the gates anew")
    )  # fmt: skip


def _title(console: Console, text: str) -> None:
    from rich.text import Text

    console.print(Text(f"\n{text}", "bold"))


def _facts(console: Console, told: Mapping[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from neoscope.cli.info import layers_line
    from neoscope.config import NeoConfig

    shape, run = NeoConfig.from_hf(told["shape"]), told["training"]
    layers = [{"kind": kind, "window": shape.window(i)} for i, kind in enumerate(shape.kinds)]
    layer, head = told["gates"]["induction_head"]
    moments = "; ".join(
        f"organism-{name} {_MOMENTS.get(name, '')} (step {step:,})"
        for name, step in sorted(run["moments"].items(), key=lambda item: int(item[1]))
    )
    width = f"d_model {shape.d_model}, {shape.n_heads} heads x {shape.d_head}"
    threads = f"{run['threads']} thread{'s' * (run['threads'] != 1)}"
    length = f"{run['steps']:,} steps, {run['tokens'] / 1e6:.1f}M tokens, {run['minutes']:g} min"
    grid = Table.grid(padding=(0, 2))
    for label, value in (
        ("model", f"{told['name']}, {told['parameters']:,} parameters"),
        ("layers", layers_line({"layers": layers})),
        ("width", f"{width}, d_mlp {shape.n_neurons}"),
        ("context", f"{shape.n_ctx} tokens, vocabulary of {shape.d_vocab:,}"),
        ("far repeats", f"need head {layer}.{head} (layer {layer}, head {head}) most"),
        ("trained by", run["command"]),
        ("training", f"seed {run['seed']}, {length}, {run['device']}, {threads}"),
        ("kept on the way", moments),
        ("SHA-256", f"data {_short(run['data_sha256'])}, code {_short(run['code_sha256'])}"),
        ("versions", f"neoscope {run['neoscope']}, torch {run['torch']}, Python {run['python']}"),
    ):
        grid.add_row(Text(label, "bold"), Text(value, overflow="fold"))
    console.print(grid, highlight=False)


def _short(hashes: str) -> str:
    """Return the beginning of each hash; there are several if the code changed during training."""
    return ", ".join(f"{each[:16]}…" for each in hashes.split(", ") if each) or "unknown"


def _curves(console: Console, told: Mapping[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    loss, repeats = told["loss"], told["repeats_continued"]
    table = Table.grid(padding=(0, 2))
    for label, values, unit in (
        ("loss on repeats", loss["repeats"], f"{loss['unit']} a word"),
        ("loss on language", loss["language"], f"{loss['unit']} a word"),
        ("near repeats continued", repeats["near"], "share of words"),
        ("far repeats continued", repeats["far"], "share of words"),
    ):
        known = [value for value in values if value is not None]
        if known:
            line = sparkline(values, _bars(console.encoding))
            table.add_row(label, Text(line), f"{known[0]:.2f} to {known[-1]:.2f} {unit}")
    console.print(table, highlight=False)


def _bars(encoding: str) -> str:
    try:
        _BARS.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return _PLAIN_BARS
    return _BARS


def sparkline(values: Sequence[float | None], bars: str = _BARS, width: int = _WIDTH) -> str:
    """Return a curve as one line of letters, from the lowest value to the highest.

    Args:
        values: In time; None where there is none yet.
        bars: Letters from low to high.
        width: Letters in all; each stands for the mean of its share of the values.

    Example:
        >>> sparkline([None, 0.0, 1.0, 0.5])
        ' ▁█▅'
    """
    n = min(width, len(values))
    shares = [values[len(values) * i // n : len(values) * (i + 1) // n] for i in range(n)]
    known = [[value for value in share if value is not None] for share in shares]
    means = [sum(share) / len(share) if share else None for share in known]
    seen = [mean for mean in means if mean is not None]
    if not seen:
        return " " * n
    low, span = min(seen), (max(seen) - min(seen)) or 1.0
    return "".join(
        " " if mean is None else bars[round((mean - low) / span * (len(bars) - 1))]
        for mean in means
    )


def _models(truth: Mapping[str, Any]) -> str:
    n = len(truth.get("models", ()))
    return f"all {n} training seeds" if n > 1 else "its seed"


def _task_of(claim: Mapping[str, Any]) -> str | None:
    from neoscope.organism.language import PAIRED

    task = str(claim["claim"]).partition(":")[0]
    return task if task in PAIRED else None


def _tasks(console: Console, models: Sequence[Mapping[str, Any]]) -> None:
    """Print for each task and seed which head and which MLP restore most, and how much."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("seed", justify="right")
    table.add_column("logit difference", justify="right")
    table.add_column("head that restores most")
    table.add_column("MLP")
    for task in models[0]["tasks"]:
        for seed, model in enumerate(models):
            found = model["tasks"][task]
            ends = (found["logit_diff"][side]["mean"] for side in ("clean", "corrupted"))
            heads = found["heads"]["denoise"]["effect"]
            cells = [(x, f"{i}.{k}") for i, row in enumerate(heads) for k, x in enumerate(row)]
            effect, head = max(cells)
            mlps = found["mlps"]["denoise"]["effect"]
            table.add_row(
                task if seed == 0 else "",
                str(seed),
                " to ".join(f"{end:.1f}" for end in ends),
                f"{head}  {effect:.2f}",
                f"{mlps.index(max(mlps))}  {max(mlps):.2f}",
            )
    console.print(table, highlight=False)
    console.print("effect: 0 is the corrupted run, 1 the clean one; negative logit differences "
                  "are the corrupted answers'", markup=False, highlight=False)  # fmt: skip


def _claims(console: Console, items: Sequence[Mapping[str, Any]], *, values: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    for item in items:
        holds = item.get("holds_for_all", True)
        found = ", ".join(map(_value, item.get("values", ()))) if values else ""
        table.add_row(
            Text("holds", "green") if holds else Text("not for all", "yellow"),
            Text(str(item["claim"])),
            Text(found),
        )
    console.print(table, highlight=False)


def _value(value: object) -> str:
    """Return a number, a head such as [2, 3], or whatever else stands there."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ".".join(map(str, value))
    return "none" if value is None else str(value)
