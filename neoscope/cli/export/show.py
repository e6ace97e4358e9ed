"""What ``neoscope export`` prints when it is done, and what its dry run prints."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.argument_words import in_options
from neoscope.cli.export.run import duration
from neoscope.cli.options import human_bytes, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from neoscope.export.estimating import Estimate

_COLUMNS = 30


def show(done: dict[str, Any], *, as_json: bool) -> None:
    """Print the end of an export."""
    from rich.console import Console

    if as_json:
        print_json(done)
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    out, n, before = done["out"], done["input_rows"], done["resumed_rows"]
    if not done["written_bytes"]:
        console.print(f"{out} is complete: all {_count(n, 'row')} were there, nothing was run")
    elif before:
        console.print(f"went on with {out}, where {before:,} of {_count(n, 'row')} were whole")
    for line in done["damaged"]:
        console.print(f"written anew: {line}")
    size = human_bytes(done["bytes"])
    shards = _count(done["shards"], "shard")
    console.print(
        f"{out}: {_count(done['rows'], 'row')}, {size} in {shards} ({done['file_format']})"
    )
    _columns(console, [(c["name"], c["type"], c["feature"]) for c in done["columns"]])
    took = f"; this run took {duration(done['seconds'])}" if done["written_bytes"] else ""
    console.print(f"input: {_count(n, 'row')}, {_count(done['tokens'], 'token')}{took}")
    for name, said in (
        ("truncated", f"cut on the right ({_count(done['cut_tokens'], 'token')})"),
        ("skipped", "left out, for reasons that _manifest.json lists"),
        ("nulled", "without features, for reasons that _manifest.json lists"),
    ):
        if done[name]:
            console.print(f"{_count(done[name], 'text')} {said}")
    ways = [f"neoscope.store.FeatureStore.open({out!r}).to_pandas()"]
    if done["file_format"] == "parquet":
        ways.insert(0, f"polars.read_parquet({str(Path(out) / '*.parquet')!r})")
    console.print(f"read it with {' or '.join(ways)}")


def show_estimate(
    guess: Estimate, out: Path, file_format: str, engine: str, *, as_json: bool
) -> None:
    """Print a dry run of an input whose rows are known."""
    from rich.console import Console

    if as_json:
        keys = ("name", "type", "feature")
        columns = [dict(zip(keys, column, strict=True)) for column in guess.columns]
        head = {"dry_run": True, "out": str(out), "file_format": str(file_format)}
        print_json({**head, **dataclasses.asdict(guess), "columns": columns})
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    assert guess.input_rows is not None and guess.rows is not None
    assert guess.tokens is not None and guess.nbytes is not None and guess.seconds is not None
    whole = guess.read_rows == guess.input_rows
    console.print("dry run: nothing was written")
    console.print(f"input     {_count(guess.input_rows, 'row')}", end="")
    console.print(f", {'' if whole else 'about '}{_count(guess.tokens, 'token')}")
    for share, said in ((guess.truncated, "are cut"), (guess.problems, "cannot be used")):
        if share:
            console.print(f"          {_share(share)} of the texts {said}")
    console.print(f"rows      {_count(guess.rows, 'row')}")
    _columns(console, list(guess.columns))
    console.print(f"on disk   about {human_bytes(guess.nbytes)} ({file_format})")
    left = guess.input_rows - guess.done_rows
    each = " for one process" if engine == "ray" else ""
    rest = f" for the {_count(left, 'row')} that are left" if guess.done_rows else ""
    if left:
        console.print(
            f"time      about {duration(guess.seconds * left / guess.input_rows)}{rest}{each}, at "
            f"{guess.tokens_per_second:,.0f} tokens/s, measured on {guess.sample_rows:,} of the "
            f"first {_count(guess.read_rows, 'row')}"
        )
    console.print(f"out       {_where(guess, out)}")


def _where(guess: Estimate, out: Path) -> str:
    if guess.refused:
        return f"cannot be used: {in_options(guess.refused)}"
    if guess.done_rows == guess.input_rows:
        return f"{out} has all rows already"
    if guess.done_rows:
        return f"{out} has {guess.done_rows:,} of them already, and the same command goes on"
    return f"{out}, which is {'empty' if out.expanduser().exists() else 'not there yet'}"


def _columns(console: Console, columns: list[tuple[str, str, bool]]) -> None:
    computed = [(name, kind) for name, kind, feature in columns if feature]
    width = max(len(name) for name, _ in computed)
    for name, kind in computed[:_COLUMNS]:
        console.print(f"  {name:{width}}  {readable(kind)}")
    if len(computed) > _COLUMNS:
        console.print(f"  and {len(computed) - _COLUMNS} more, up to {computed[-1][0]}")
    carried = [name for name, _, feature in columns if not feature]
    console.print(f"  beside {', '.join(carried)}")


def readable(kind: str) -> str:
    """Return an Arrow type as people write it.

    Example:
        >>> readable("fixed_size_list<element: float>[128]")
        'float32 x 128'
    """
    if match := re.fullmatch(r"fixed_size_list<\w+: (.*)>\[(\d+)\]", kind):
        return f"{readable(match[1])} x {match[2]}"
    if match := re.fullmatch(r"list<\w+: (.*)>", kind):
        return f"lists of {readable(match[1])}"
    return {"float": "float32", "halffloat": "float16", "double": "float64"}.get(kind, kind)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"
