"""What ``neoscope neurons`` prints: places in context, a histogram, tokens raised and lowered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.export.run import duration
from neoscope.cli.options import human_bytes, print_json
from neoscope.cli.table import number, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from neoscope.analysis import TopActivations
    from neoscope.model import HookedGPTNeo

_BARS, _BAR = 16, 40
_FEW = 5
_MOST_UNITS = 20


def show(
    model: HookedGPTNeo, found: TopActivations, written: Path | None, *, seconds: float
) -> None:
    """Print what was found, unit by unit."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(repr(model))
    console.print(f"{found.heading()}, {duration(seconds)}")
    for label in found.units[:_MOST_UNITS]:
        _unit(console, found, label)
    left = len(found.units) - _MOST_UNITS
    if left > 0:
        console.print(f"\nand {left:,} more units: --out keeps them all, --json prints them")
    if written is not None:
        size = human_bytes(written.stat().st_size)
        Console(highlight=False, markup=False, soft_wrap=True).print(
            f"\nwrote {written} ({size}); read it with neoscope.analysis.load({str(written)!r})"
        )


def _unit(console: Console, found: TopActivations, label: str) -> None:
    row = found.row(label)
    console.print()
    if len(found.units) > 1:
        console.print(label if label.startswith("direction") else f"unit {label}", style="bold")
    console.print(
        f"mean {number(found.mean[row])}, sd {number(found.sd[row])}, above zero "
        f"{found.share_positive[row]:.1%}, from {number(found.low[row])} to "
        f"{number(found.high[row])}"
    )
    console.print("\nmost active", style="bold")
    _places(console, found, row, "top", None)
    if found.low[row] < 0:
        console.print("\nmost negative", style="bold")
        _places(console, found, row, "bottom", _FEW)
    console.print("\ntokens by activation", style="bold")
    _histogram(console, found, label)
    if len(found.promoted_id[row]):
        console.print("\nlogits for each unit of activation, before the final scale", style="bold")
        for end, name in (("promoted", "raises"), ("suppressed", "lowers")):
            words, effects = getattr(found, end)[row], getattr(found, f"{end}_effect")[row]
            pairs = zip(words, effects.tolist(), strict=True)
            console.print(f"{name}  " + ", ".join(f"{visible(w)!r} {x:+.3g}" for w, x in pairs))


def _places(console: Console, found: TopActivations, row: int, end: str, most: int | None) -> None:
    from rich.table import Table

    values, where = getattr(found, f"{end}_value")[row], getattr(found, f"{end}_place")[row]
    held = [(values[i], p) for i, p in enumerate(where.tolist()) if p >= 0][:most]
    shown = [(number(value), visible(str(found.text[p]))[:12], p) for value, p in held]
    widths = [max(len(name), *(len(row[i]) for row in shown)) for i, name in enumerate(_HEAD[:2])]
    room = max(20, console.width - sum(widths) - 4)
    table = Table(box=None, pad_edge=False)
    for name, justify in zip(_HEAD, ("right", "right", "left"), strict=True):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for value, text, p in shown:
        table.add_row(value, text, marked(found.before[p], found.piece[p], found.after[p], room))
    console.print(table)


_HEAD = ("value", "text", "context")


def marked(before: str, piece: str, after: str, room: int) -> Text:
    """Return a context on one line with its token between « and », cut to fit.

    Args:
        before: The text before the token.
        piece: The token.
        after: The text after it.
        room: Letters there are.

    Example:
        >>> marked("one two three ", "four", " five six seven", 24).plain
        '…o three «four» five si…'
    """
    from rich.text import Text

    from neoscope.analysis.neuron.printing import cut_around

    before, opens, piece, closes, after = cut_around(before, piece, after, room)
    styled = ((opens, "dim"), (piece, "bold yellow"), (closes, "dim"))
    return Text.assemble(before, *styled, after)


def _histogram(console: Console, found: TopActivations, label: str) -> None:
    rows = bars(found, label)
    most = max(count for _, _, count in rows)
    ends = [(number(low), number(high)) for low, high, _ in rows]
    wide = max(len(end) for pair in ends for end in pair)
    count_wide = max(len(f"{count:,}") for _, _, count in rows)
    room = min(_BAR, max(5, console.width - 2 * wide - count_wide - 8))
    for (low, high), (_, _, count) in zip(ends, rows, strict=True):
        bar = "#" * max(round(room * count / most), 1 if count else 0)
        console.print(f"{low:>{wide}} to {high:>{wide}}  {count:>{count_wide},}  {bar}")


def bars(found: TopActivations, label: str) -> list[tuple[float, float, int]]:
    """Return the histogram in at most 16 bars: low, high, tokens.

    Neighbouring bins are put together; empty ones at the ends are left out.
    """
    row = found.row(label)
    counts, edges = found.counts[row].tolist(), found.edges[row].tolist()
    used = [i for i, count in enumerate(counts) if count]
    first, last = used[0], used[-1] + 1
    step = -(-(last - first) // _BARS)
    out = []
    for start in range(first, last, step):
        stop = min(start + step, len(counts))
        out.append((edges[start], edges[stop], sum(counts[start:stop])))
    return out


def show_json(found: TopActivations, written: Path | None, *, seconds: float) -> None:
    """Print the facts of every unit."""
    print_json(
        {
            "model": found.model,
            "site": found.site,
            "tokens": found.n_tokens,
            "texts": found.n_texts,
            "skipped": found.n_skipped,
            "complete": found.complete,
            "seconds": round(seconds, 3),
            "file": None if written is None else str(written),
            "units": [_facts(found, label) for label in found.units],
        }
    )


def _facts(found: TopActivations, label: str) -> dict[str, Any]:
    effect = found.logit_effect(label)
    row = found.row(label)
    return {
        "unit": label,
        "mean": float(found.mean[row]),
        "sd": float(found.sd[row]),
        "share_positive": float(found.share_positive[row]),
        "low": float(found.low[row]),
        "high": float(found.high[row]),
        **{
            end: found.places(label, end).drop(columns=["unit", "end"]).to_dict("records")
            for end in ("top", "bottom")
        },
        "histogram": found.histogram(label).to_dict("records"),
        **{
            end: effect[effect["end"] == end].drop(columns=["end"]).to_dict("records")
            for end in ("promoted", "suppressed")
        },
    }
