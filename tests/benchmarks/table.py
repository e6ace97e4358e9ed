"""The Markdown tables of the README and of the guide, from the JSON that ``all`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks import record, targets
from tests.benchmarks.shortfalls import SHORTFALLS

_SHORT = ("work", "beside", "ratio", "target", "ours")
_LONG = (
    *("work", "one call", "beside", "ratio", "rounds", "target", "ours", "of the matrix rate"),
    *("peak memory, ours / theirs", "disagreement"),
)


def brief(path: Path) -> str:
    """Return the README's table: every row that has a target, then why some are missed."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    lines = [machine_line(kept["machine"]), "", *_head(_SHORT)]
    missed = []
    for benchmark, row, found in _rows(kept["rows"]):
        if row.has_target:
            lines.append(_line(_brief_cells(row, found)))
            missed += _missed(benchmark, row, found)
    short = ["", "**Bold** falls short of its target:", "", *missed, ""] if missed else [""]
    return "\n".join(lines + short)


def full(path: Path) -> str:
    """Return the guide's tables: every row with all that was measured, by benchmark."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    lines = [machine_line(kept["machine"])]
    last = ""
    for benchmark, row, found in _rows(kept["rows"]):
        if benchmark != last:
            lines += ["", f"`python -m tests.benchmarks {benchmark}`", "", *_head(_LONG)]
        lines += [_line(cells) for cells in _full_cells(row, found)]
        last = benchmark
    return "\n".join([*lines, ""])


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return what was measured on, and with which versions."""
    single, half = (machine["matrix_rates"][name] / 1e9 for name in ("float32", "bfloat16"))
    versions = {"Python": machine["python"], **machine["versions"]}
    libraries = ", ".join(f"{k} {v}" for k, v in versions.items() if k != "neoscope")
    return (
        f"{machine['processor']}, {machine['threads']} threads: matrix products at {single:,.0f} "
        f"GFLOP/s in float32 and {half:,.0f} in bfloat16, {machine['memory_bandwidth'] / 1e9:.0f} "
        f"GB/s from memory. {libraries}."
    )


def shortfalls(path: Path) -> list[tuple[str, str, str]]:
    """Return benchmark, row and peer of every missed target."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [
        (benchmark, row.name, peer)
        for benchmark, row, found in _rows(rows)
        for peer in _misses(found)
    ]


def _rows(kept: list[dict[str, Any]]) -> list[tuple[str, targets.Row, dict[str, Any] | None]]:
    """Every known row with what was measured of it."""
    return [
        (benchmark, row, record.find(kept, benchmark, row.name))
        for benchmark, rows in targets.ROWS.items()
        for row in rows
    ]


def _misses(found: Mapping[str, Any] | None) -> list[str]:
    """Peers beside which a target is missed; ``"rate"`` for the share, ``""`` for a figure."""
    if found is None:
        return []
    said = {name: peer["met"] for name, peer in found["peers"].items()}
    said |= {"rate": found["matrix_rate"]["met"], "": found["met"]}
    return [name for name, met in said.items() if met is False]


def _missed(benchmark: str, row: targets.Row, found: dict[str, Any] | None) -> list[str]:
    lines = []
    for peer in _misses(found):
        known = SHORTFALLS.get((benchmark, row.name, peer))
        said = f"{known.reason} Next: {known.idea}" if known else "why is not known yet."
        beside = {"rate": ", share of the matrix rate", "": ""}.get(peer) or _beside([peer], {})
        where = f" beside {beside}" if peer in targets.PEERS else beside
        lines.append(f"- {row.work}{where}: {said}")
    return lines


def _brief_cells(row: targets.Row, found: dict[str, Any] | None) -> list[str]:
    aims = {**row.at_least, "": row.at_most}
    if found is None or found["not_run"] or not found["agrees"]:
        aim = " / ".join(f"{a:g}" for a in row.at_least.values())
        said = "not measured" if found is None else found["not_run"] or "wrong answer"
        return [row.work, "", said, aim or f"at most {_figure(row, row.at_most)}", ""]
    missed = _misses(found)
    if not found["peers"]:
        aim = f"at most {_figure(row, aims[''])}"
        return [row.work, "", _bold(_figure(row, found["value"]), "" in missed), aim, ""]
    peers = found["peers"]
    ratios = " / ".join(_bold(_ratio(p["ratio"]), n in missed) for n, p in peers.items())
    wanted = [row.at_least.get(name) for name in peers]
    aim = " / ".join("none" if w is None else f"{w:g}" for w in wanted) if row.at_least else ""
    if row.share is not None:
        aim += f"; {row.share:.0%} of the rate"
    ours = _seconds(found["value"])
    if found["matrix_rate"]["share"] is not None:
        ours += f", {_share(found)} of the rate"
    return [row.work, _beside(list(peers), peers), ratios, aim, ours]


def _full_cells(row: targets.Row, found: dict[str, Any] | None) -> list[list[str]]:
    if found is None or found["not_run"] or not found["agrees"]:
        said = "not measured" if found is None else found["not_run"] or "wrong answer"
        return [[row.work, "", "", said, "", "", "", "", "", ""]]
    if found["points"]:
        return [[row.work, *_point_cells(found, point)] for point in found["points"]]
    if not found["peers"]:
        aim = "" if row.at_most is None else f"at most {_figure(row, row.at_most)}"
        value = _bold(_figure(row, found["value"]), "" in _misses(found))
        return [[row.work, found["unit"], "", value, "", aim, "", "", "", ""]]
    lines: list[list[str]] = []
    for name, peer in found["peers"].items():
        first = not lines
        aim = "" if peer["target"] is None else f"{peer['target']:g}"
        low, high = (_ratio(ratio) for ratio in peer["spread"])
        lines.append([
            row.work if first else "the same",
            found["unit"] if first else "",
            _beside([name], found["peers"]),
            _bold(_ratio(peer["ratio"]), peer["met"] is False),
            f"{len(peer['seconds'])}: {low} to {high}",
            aim,
            _seconds(found["value"]) if first else "",
            _share(found) if first else "",
            " / ".join(filter(None, (_bytes(p["peak_memory"]) for p in (found, peer)))),
            f"{found['disagreement']:.0e}" if first else "",
        ])  # fmt: skip
    return lines


def _point_cells(found: dict[str, Any], point: Mapping[str, Any]) -> list[str]:
    taken, peak = _seconds(point["seconds"]), _bytes(point["peak"])
    return [f"{point['work']:,} {found['unit']}", "", "", "", "", taken, "", peak, ""]


def _beside(names: list[str], peers: Mapping[str, Any]) -> str:
    """Peers by their names in tables, the first of each with its version."""
    said, last = [], ""
    for name in names:
        label, package = targets.PEERS.get(name, (name, ""))
        who, comma, how = label.partition(", ")
        version = peers[name]["version"] if package and name in peers else None
        said.append(how if how and who == last else f"{who} {version or ''}".strip() + comma + how)
        last = who
    return " / ".join(said)


def _head(columns: tuple[str, ...]) -> list[str]:
    return [_line(list(columns)), "|" + "---|" * len(columns)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bold(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


def _share(found: Mapping[str, Any]) -> str:
    """Of the matrix rate, so exactly that a miss shows."""
    share, missed = found["matrix_rate"]["share"], found["matrix_rate"]["met"] is False
    return "" if share is None else f"**{share:.1%}**" if missed else f"{share:.0%}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _figure(row: targets.Row, value: float | None) -> str:
    return "" if value is None else row.form.format(value)


def _seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def _bytes(value: int | None) -> str:
    return "" if value is None else f"{max(value, 0) / 1e6:,.0f} MB"
