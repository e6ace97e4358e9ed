"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from neoscope.model import HookedGPTNeo


class Dtype(StrEnum):
    """What weights are kept in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Model = Annotated[
    str,
    typer.Argument(
        help="A hub id, a folder, a weight file, or 'induction', the embedded circuit.",
        metavar="MODEL",
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
DtypeOption = Annotated[Dtype, typer.Option(help="What the weights are kept in.")]
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
    import torch
    from rich.console import Console

    from neoscope.errors import CheckpointError
    from neoscope.loading import load

    try:
        target = torch.device(device)
        if target.type == "cuda" and not torch.cuda.is_available():
            raise CheckpointError(
                f"--device {device}: torch finds no CUDA device; use --device cpu"
            )
    except RuntimeError as error:
        raise CheckpointError(
            f"--device {device!r} is no device: use cpu, cuda or cuda:0"
        ) from error
    with Console(stderr=True, quiet=quiet).status(f"loading {name}"):
        return load(name, revision=revision, dtype=torch_dtype(dtype), device=target)


def split_list(value: str | None) -> list[str] | None:
    """Read ``"a,b"``."""
    if value is None:
        return None
    return [part.strip() for part in value.split(",") if part.strip()]


def split_ints(value: str | None, option: str) -> list[int] | None:
    """Read ``"0,3,-1"`` and ranges such as ``"0-3"``.

    Raises:
        typer.BadParameter: Something in it is no whole number.
    """
    parts = split_list(value)
    if parts is None:
        return None
    out: list[int] = []
    for part in parts:
        first, dash, last = part[1:].partition("-") if part.startswith("-") else part.partition("-")
        sign = -1 if part.startswith("-") else 1
        try:
            if dash and sign > 0:
                out.extend(range(int(first), int(last) + 1))
            else:
                out.append(sign * int(first))
        except ValueError:
            raise typer.BadParameter(
                f"{part!r} is no whole number; write e.g. {option} 0,3,-1 or {option} 0-3"
            ) from None
    return out


def human_bytes(n: float) -> str:
    """Return e.g. ``"3.4 MiB"``."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"
