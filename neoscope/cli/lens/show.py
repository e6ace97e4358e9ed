"""What ``neoscope lens`` prints: layers down, positions across, and how far to trust each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.analysis.lens.words import cell, places
from neoscope.cli.options import human_bytes, print_json
from neoscope.cli.table import new_table, number, visible

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.analysis.lens.result import LensResult
    from neoscope.analysis.tuned.weights import TunedLens
    from neoscope.model import HookedGPTNeo

_PIPED = 80
_SURE = 0.5


def show(
    model: HookedGPTNeo,
    lens: LensResult,
    texts: Sequence[str],
    given: TunedLens | None,
    path: Path | None,
) -> None:
    """Print the first text's top tokens, every target, and the calibration."""
    console = _console()
    console.print(repr(model), highlight=False, markup=False)
    if given is not None:
        _trained(console, given)
    _cells(console, lens, texts)
    _targets(console, lens)
    _calibration(console, lens)
    if lens.caveat:
        console.print(f"\n{lens.caveat}", highlight=False, markup=False)
    if path is not None:
        size = human_bytes(path.stat().st_size)
        console.print(
            f"wrote {path} ({size}); read it with neoscope.analysis.load({str(path)!r})",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def show_json(
    lens: LensResult, texts: Sequence[str], given: TunedLens | None, path: Path | None
) -> None:
    """Print the calibration, and the top tokens of each row and token."""
    words = lens.top_tokens
    print_json(
        {
            "model": lens.model,
            "lens": lens.lens,
            "site": lens.site,
            "texts": list(texts),
            "trained": _card(given),
            "units": {"kl": "nats", "cross_entropy": "nats", "bias_bits": "bits"},
            "calibration": lens.calibration().to_dict("records"),
            "file": None if path is None else str(path),
            "tokens": [
                {"text": int(t), "position": int(p), "token": token}
                for t, p, token in zip(lens.text, lens.position, lens.tokens, strict=True)
            ],
            "rows": [
                {
                    "layer": label,
                    "kl": lens.kl[row].tolist(),
                    "entropy": lens.entropy[row].tolist(),
                    "next_rank": lens.next_rank[row].tolist(),
                    "top": words[row].tolist(),
                    "probability": lens.top_probability[row].tolist(),
                    "targets": {
                        lens.word(target): lens.target_rank[row, :, i].tolist()
                        for i, target in enumerate(lens.target_ids.tolist())
                    },
                }
                for row, label in enumerate(lens.labels)
            ],
        }
    )


def _card(given: TunedLens | None) -> dict[str, Any] | None:
    """What is known about a tuned lens, but for the loss of every step."""
    if given is None:
        return None
    return {name: value for name, value in given.card.items() if name != "losses"}


def _console() -> Console:
    from rich.console import Console

    console = Console()
    piped = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(width=_PIPED) if piped else console


def _trained(console: Console, given: TunedLens) -> None:
    card = given.card
    held = card["held_out"]
    console.print(
        f"{given.kind} lens: {card['steps']:,} steps on {card['data']['tokens']:,} tokens",
        highlight=False,
    )
    if not held:
        return
    names = [name for name in held if name != "tokens"]
    labels = ["embed", *map(str, range(card["n_layers"] - 1))]
    table = new_table([("layer", "left"), *((f"KL {name}", "right") for name in names)])
    for i, label in enumerate(labels):
        table.add_row(label, *(number(held[name][i]) for name in names))
    console.print(f"\nheld out, {held['tokens']:,} tokens, KL(output || lens) in nats:")
    console.print(table, highlight=False)


def _cells(console: Console, lens: LensResult, texts: Sequence[str]) -> None:
    """The first token of each row at as many positions of the first text as there is room for."""
    from rich.text import Text

    words = lens.top_tokens
    shown, n = places(lens, console.width)
    console.print()
    console.print(Text(visible(texts[0])), highlight=False)
    more = f" at {len(shown)} of {n} positions" if len(shown) < n else ""
    how = "; --positions chooses others, --out keeps all" if more else ""
    console.print(
        f"the likeliest token of each row{more}, bold from {_SURE:.0%}{how}",
        style="dim",
        highlight=False,
    )
    table = new_table([("layer", "left"), *((str(lens.position[i]), "left") for i in shown)])
    table.add_row("", *(Text(cell(lens.tokens[i], wide), "dim") for i, wide in shown.items()))
    for row, name in enumerate(lens.labels):
        cells = []
        for i, wide in shown.items():
            sure = lens.top_probability[row, i, 0] >= _SURE
            cells.append(Text(cell(str(words[row, i, 0]), wide), "bold" if sure else ""))
        table.add_row(name, *cells)
    console.print(table, highlight=False)
    others = len(texts) - 1
    if others:
        console.print(f"and {others:,} more text{'s' * (others > 1)}", style="dim", highlight=False)


def _targets(console: Console, lens: LensResult) -> None:
    """The rank of each target at the first text's last token."""
    if not len(lens.target_ids):
        return
    last = max(i for i, text in enumerate(lens.text.tolist()) if text == lens.text[0])
    names = [visible(lens.word(i)) for i in lens.target_ids.tolist()]
    console.print(f"\nrank after {visible(lens.tokens[last])!r}, 1 is the likeliest:", markup=False)
    table = new_table([("layer", "left"), *((repr(name), "right") for name in names)])
    for row, label in enumerate(lens.labels):
        ranks = (f"{lens.target_rank[row, last, i]:,}" for i in range(len(names)))
        table.add_row(label, *ranks)
    console.print(table, highlight=False)


def _calibration(console: Console, lens: LensResult) -> None:
    rows: list[dict[str, Any]] = lens.calibration().to_dict("records")
    n = len(lens.tokens)
    console.print(
        f"\n{lens.lens} lens of {lens.site} against the output, {n:,} token{'s' * (n != 1)}: nats, "
        "bias in bits",
        highlight=False,
    )
    names = ["KL", "cross-entropy", "bias", "agreement", "entropy"]
    table = new_table([("layer", "left"), *((name, "right") for name in names)])
    for row in rows:
        values = [number(row[key]) for key in ("kl", "cross_entropy", "bias_bits")]
        table.add_row(row["layer"], *values, f"{row['agreement']:.0%}", number(row["entropy"]))
    console.print(table, highlight=False)
