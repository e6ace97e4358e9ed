"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neoscope.cli.spelling import one_of

if TYPE_CHECKING:
    import torch

    from neoscope.model import HookedGPTNeo

_LONGEST_RANGE = 100_000


class Dtype(StrEnum):
    """What weights are kept in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Model = Annotated[
    str,
    typer.Argument(
        help="A hub id, a folder, a weight file, or 'organism', the bundled model.",
        metavar="MODEL",
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
DtypeOption = Annotated[Dtype, typer.Option(**one_of(Dtype), help="What the weights are kept in.")]
Device = Annotated[str, typer.Option(help="Where the model runs, e.g. cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """Return torch's own dtype."""
    import torch

    found: torch.dtype = getattr(torch, dtype.value)
    return found


def load_model(
    name: str, *, revision: str | None, dtype: Dtype, device: str, quiet: bool
) -> HookedGPTNeo:
    """Load a model, with a spinner on stderr while it takes time."""
    from rich.console import Console
    from rich.text import Text

    from neoscope.loading import load

    target = torch_device(device)
    with Console(stderr=True, quiet=quiet).status(Text(f"loading {name}")):
        return load(name, revision=revision, dtype=torch_dtype(dtype), device=target)


def torch_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises:
        typer.BadParameter: It is no device's name.
        ArgumentError: There is no such device here.
    """
    import torch

    from neoscope.device import read_device

    try:
        torch.device(name)
    except RuntimeError:
        raise typer.BadParameter(
            f"{name!r} is no device; write e.g. --device cpu, --device cuda or --device cuda:1"
        ) from None
    return read_device(name)


def print_json(facts: Mapping[str, Any]) -> None:
    """Print to stdout; what is not a finite number is null, as JSON has no word for it."""
    typer.echo(json.dumps(_finite(facts), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def split_list(value: str | None, option: str) -> list[str] | None:
    """Read ``"a,b"``.

    Raises:
        typer.BadParameter: There is nothing in it.
    """
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if not parts:
        raise typer.BadParameter(f"{option} names nothing; leave it out to get all")
    return parts


def split_sites(value: str | None, option: str) -> list[str] | None:
    """Read ``"resid_post,attn-out"``: ``-`` stands for ``_`` in a site's name.

    Raises:
        typer.BadParameter: There is nothing in it.
    """
    parts = split_list(value, option)
    return None if parts is None else [part.replace("-", "_") for part in parts]


def split_ints(value: str | None, option: str) -> list[int] | None:
    """Read ``"0,3,-1"`` and ranges such as ``"0-3"``.

    Raises:
        typer.BadParameter: Something in it is neither a whole number nor a range of them.
    """
    parts = split_list(value, option)
    if parts is None:
        return None
    out: list[int] = []
    for part in parts:
        match = re.fullmatch(r"(-?\d{1,9})(?:-(\d{1,9}))?", part)
        if match is None or (match[2] and part.startswith("-")):
            raise typer.BadParameter(
                f"{part!r} is no whole number or range; write e.g. {option} 0,3,-1 or {option} 0-3"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + _LONGEST_RANGE:
            raise typer.BadParameter(f"{option}: the range {part} is empty or too long")
        out.extend(range(first, last + 1))
    return out


def existing(path: Path) -> Path:
    """Return a file or folder that is there: what an argument's ``callback`` calls.

    Raises:
        typer.BadParameter: It is not; names what is spelled alike beside it.
    """
    from neoscope.errors import nearest

    there = path.expanduser()
    if there.exists():
        return path
    beside = [one.name for one in there.parent.iterdir()] if there.parent.is_dir() else []
    raise typer.BadParameter(f"there is no file {str(path)!r}{nearest(path.name, beside)}")


def human_bytes(n: int | float) -> str:
    """Return e.g. ``"3.4 MiB"``."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"
