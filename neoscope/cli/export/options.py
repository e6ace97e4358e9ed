"""The options of ``neoscope export``, and how their values are read."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.options import existing, split_ints, split_list, split_sites
from neoscope.cli.spelling import one_of, spelled
from neoscope.errors import nearest


class Format(StrEnum):
    """What the shards are."""

    parquet = "parquet"
    safetensors = "safetensors"
    npy = "npy"


class Pool(StrEnum):
    """How the tokens of a text become a row."""

    mean = "mean"
    weighted_mean = "weighted_mean"
    last = "last"
    first = "first"
    max = "max"
    token = "token"
    spans = "spans"
    none = "none"


class FeatureDtype(StrEnum):
    """What features are stored in."""

    float32 = "float32"
    float16 = "float16"


class Truncation(StrEnum):
    """What becomes of a text that is too long."""

    truncate = "truncate"
    error = "error"
    stride = "stride"


class OnError(StrEnum):
    """What a row that cannot be used does."""

    fail = "fail"
    skip = "skip"
    null = "null"


class Engine(StrEnum):
    """Who computes."""

    local = "local"
    ray = "ray"


_INPUT, _FEATURES, _RUN = "The input", "The features", "The run"

Input = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        callback=existing,
        help="A .parquet, .jsonl, .ndjson, .csv, .tsv or .txt file (one text a line), or a folder "
        "of .parquet files.",
    ),
]
Out = Annotated[Path, typer.Option(help="The folder to write, or to go on with.")]
TextColumn = Annotated[str, typer.Option(help="The texts.", rich_help_panel=_INPUT)]
IdColumn = Annotated[
    str | None,
    typer.Option(
        help="What names the rows; default 'id' if there is one, else row numbers.",
        rich_help_panel=_INPUT,
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        help="Columns to carry along, comma-separated, e.g. label,source; default all; '' for the "
        "id alone.",
        rich_help_panel=_INPUT,
    ),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        **one_of(OnError),
        help="What a row that cannot be used does: end the run, be left out, or stay without "
        "features. _manifest.json lists the rows of the last two.",
        rich_help_panel=_INPUT,
    ),
]
Sites = Annotated[
    str,
    typer.Option(
        "--sites",
        "--site",
        help="Comma-separated, e.g. resid_post,mlp_out; hidden is the stream after the final "
        "LayerNorm; loss, surprisal, entropy, attn_to_first, attn_to_previous and attn_entropy "
        "are derived from sites.",
        rich_help_panel=_FEATURES,
    ),
]
Layers = Annotated[
    str,
    typer.Option(
        "--layers",
        "--layer",
        help="Comma-separated, e.g. 0,3,-1 or 0-3, or all; -1 is the last.",
        rich_help_panel=_FEATURES,
    ),
]
PoolOption = Annotated[
    str,
    typer.Option(
        help=f"Comma-separated: {', '.join(Pool)}; none gives a row for every token.",
        rich_help_panel=_FEATURES,
    ),
]
Positions = Annotated[
    str | None,
    typer.Option(
        help="Tokens of each text that are pooled, e.g. 0,-1 or 1: (all but the first); for token "
        "and spans, the column that says where.",
        rich_help_panel=_FEATURES,
    ),
]
FeatureDtypeOption = Annotated[
    FeatureDtype,
    typer.Option(
        **one_of(FeatureDtype),
        help="What the features are stored in.",
        rich_help_panel=_FEATURES,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        min=1, help="Most tokens of a text; default the context.", rich_help_panel=_FEATURES
    ),
]
TruncationOption = Annotated[
    Truncation,
    typer.Option(
        **one_of(Truncation),
        help="Longer texts are cut on the right, refused, or read in windows.",
        rich_help_panel=_FEATURES,
    ),
]
Overlap = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With stride: tokens that a window shares with the one before; default half of one.",
        rich_help_panel=_FEATURES,
    ),
]
Normalize = Annotated[
    bool,
    typer.Option("--normalize", help="Make every vector of length 1.", rich_help_panel=_FEATURES),
]
PrependBos = Annotated[
    bool,
    typer.Option(
        "--prepend-bos",
        help="Put the beginning-of-text token first.",
        rich_help_panel=_FEATURES,
    ),
]
FormatOption = Annotated[
    Format, typer.Option("--format", **one_of(Format), help="What the shards are.")
]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Most tokens run at once; default by device.", rich_help_panel=_RUN),
]
ShardRows = Annotated[
    int | None,
    typer.Option(min=1, help="Input rows a shard; default by size.", rich_help_panel=_RUN),
]
EngineOption = Annotated[
    Engine,
    typer.Option(**one_of(Engine), help="This process, or workers of Ray.", rich_help_panel=_RUN),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="With ray: a running cluster, e.g. auto; default a new one here.",
        rich_help_panel=_RUN,
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="With ray: how many.", rich_help_panel=_RUN)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Run a sample, and say what the whole would be.", rich_help_panel=_RUN
    ),
]


def read_keep(value: str | None) -> list[str] | None:
    """Read ``"label,source"``; None for all columns, an empty list for none."""
    return [] if value is not None and not value.strip(" ,") else split_list(value, "--keep")


def read_layers(value: str) -> list[int] | None:
    """Read layers; None for all.

    Raises:
        typer.BadParameter: They are neither whole numbers nor "all".
    """
    return None if value.strip() == "all" else split_ints(value, "--layers")


def read_pools(value: str) -> list[str]:
    """Read ``"mean,last"``.

    Raises:
        typer.BadParameter: One of them is unknown.
    """
    known = [pool.value for pool in Pool]
    pools = [spelled(pool, known) for pool in _required(value, "--pool")]
    for pool in pools:
        if pool not in known:
            raise typer.BadParameter(
                f"--pool {pool!r} is unknown{nearest(pool, known)}; known: {', '.join(known)}"
            )
    return pools


def read_sites(value: str) -> list[str]:
    """Read ``"resid_post,mlp_out"``.

    Raises:
        typer.BadParameter: There is nothing in it.
    """
    return split_sites(",".join(_required(value, "--sites")), "--sites") or []


def read_positions(value: str | None) -> list[int] | slice | str | None:
    """Read ``"0,-1"``, a slice such as ``"1:"`` or ``"-5:"``, or the name of a column."""
    if value is None:
        return None
    if match := re.fullmatch(r"\s*(-?\d{1,9})?:(-?\d{1,9})?\s*", value):
        start, stop = (None if end is None else int(end) for end in match.groups())
        return slice(start, stop)
    return split_ints(value, "--positions") if re.fullmatch(r"[-\d\s,]*", value) else value


def _required(value: str, option: str) -> list[str]:
    parts = split_list(value, option) if value.strip(" ,") else None
    if parts is None:
        raise typer.BadParameter(f"{option} names nothing")
    return parts
