"""What ``neoscope attribute`` prints: the question, the largest contributions, and their sum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.options import human_bytes, print_json
from neoscope.cli.table import number, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from neoscope.analysis import Attribution, InputAttribution
    from neoscope.cli.attribute.command import Question
    from neoscope.model import HookedGPTNeo

    Found = Attribution | InputAttribution

_BAR = 16
_LABEL = 34


def show(
    model: HookedGPTNeo, found: Found, asked: Question, path: Path | None, *, top: int
) -> None:
    """Print what was found, in 80 columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from neoscope.analysis import Attribution

    console = Console(highlight=False)
    direct = isinstance(found, Attribution)
    console.print(repr(model), markup=False)
    console.print(Text(visible(asked.text)))
    console.print(Text(f"logit of {_names(found)}: {number(float(found.logit[0]))}", "bold"))
    rows = _rows(found, top, in_order=not direct)
    largest = max((abs(x) for _, x in rows), default=0.0)
    table = Table(box=None, pad_edge=False)
    table.add_column("component" if direct else "token", no_wrap=True, overflow="ellipsis")
    table.add_column("gradient" if is_saliency(found) else "logits", justify="right")
    table.add_column("", no_wrap=True)
    for label, value in rows:
        short = label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
        table.add_row(Text(visible(short)), f"{value:+.3f}", _bar(value, largest))
    console.print()
    console.print(table)
    console.print()
    _sums(console, found, rows)
    if path is not None:
        size = human_bytes(path.stat().st_size)
        console.print(
            f"wrote {path} ({size}); read it with neoscope.analysis.load({str(path)!r})",
            soft_wrap=True,
            markup=False,
        )


def is_saliency(found: Found) -> bool:
    """Whether values are lengths of gradients, which add up to nothing."""
    return getattr(found, "method", "") == "saliency"


def _names(found: Found) -> str:
    sides = [visible(repr(side[0])) for side in (found.answers, found.wrongs) if side]
    return " - ".join(sides)


def _rows(found: Found, top: int, *, in_order: bool) -> list[tuple[str, float]]:
    """Labels and values of the largest; of tokens in the order of the text."""
    table = found.top(top)
    if not in_order:
        from neoscope.analysis import Attribution

        assert isinstance(found, Attribution)
        # What adds nothing is counted below.
        table = table[: len(found.kind) - found.n_zero]
        pairs = zip(table["component"], table["attribution"], strict=True)
        return [(str(label), float(x)) for label, x in pairs]
    table = table.sort_values("position")
    triples = zip(table["position"], table["token"], table["attribution"], strict=True)
    return [(f"{at:>4} {token!r}", float(x)) for at, token, x in triples]


def _others(n: int) -> str:
    return f"the {n:,} others" if n > 1 else "the other"


def _bar(value: float, largest: float) -> Text:
    """A bar to the left of the middle for what is negative, to the right for what is positive."""
    from rich.text import Text

    n = round(_BAR * abs(value) / largest) if largest else 0
    full, empty = "█" * n, " " * (_BAR - n)
    if value < 0:
        return Text(f"{empty}{full}│", "red")
    return Text(f"{' ' * _BAR}│{full}", "green")


def _sums(console: Console, found: Found, rows: list[tuple[str, float]]) -> None:
    from rich.text import Text

    from neoscope.analysis import Attribution

    shown = sum(x for _, x in rows)
    if isinstance(found, Attribution):
        zeros = found.n_zero
        left = len(found.kind) - zeros - len(rows)
        more = f", {_others(left)} {number(float(found.total[0]) - shown)}" if left else ""
        more += f", {_others(zeros)} 0" if zeros and rows else ""
        those = f"these add up to {number(shown)}" if rows else "no component adds anything"
        said = (
            f"{those}{more}; all to {number(float(found.total[0]))}, "
            f"{abs(float(found.residual[0])):.1g} from the model's logit"
        )
    elif is_saliency(found):
        said = "length of the logit's gradient at each token's embedding"
    else:
        gap = float(found.convergence_delta[0])
        base = number(float(found.baseline_logit[0]))
        said = (
            f"against {found.baseline!r}, where the logit is {base}; all add up to "
            f"{number(float(found.logit[0] - found.baseline_logit[0]) + gap)}, convergence delta "
            f"{gap:+.2g}"
        )
    console.print(Text(said))


def show_json(found: Found, asked: Question, path: Path | None, *, top: int) -> None:
    """Print the facts and the largest contributions."""
    from neoscope.analysis import Attribution

    facts: dict[str, Any] = {
        "model": found.model,
        "text": asked.text,
        "answer": found.answers[0],
        "wrong": found.wrongs[0] if found.wrongs else None,
        "position": found.positions[0],
        "logit": float(found.logit[0]),
    }
    if isinstance(found, Attribution):
        facts |= {
            "by": found.by,
            "components": len(found.kind),
            "total": float(found.total[0]),
            "residual": float(found.residual[0]),
        }
    else:
        facts |= {
            "method": found.method,
            "baseline": found.baseline or None,
            "steps": found.steps or None,
            "baseline_logit": float(found.baseline_logit[0]),
            "convergence_delta": float(found.convergence_delta[0]),
        }
    table = found.top(top)
    plain = table.astype(object).where(table.notna(), None)
    facts["file"] = None if path is None else str(path)
    facts["top"] = plain.to_dict("records")
    print_json(facts)
