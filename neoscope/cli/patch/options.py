"""The options of ``neoscope patch``, and how their values are read."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.options import split_ints, split_list
from neoscope.cli.spelling import hyphened, one_of, underscored, word_of


class Direction(StrEnum):
    """Which run is patched."""

    denoise = "denoise"
    noise = "noise"


class SourceName(StrEnum):
    """What is put in, if not the other prompt's values."""

    zero = "zero"
    mean = "mean"
    noise = "noise"
    resample = "resample"


class MetricName(StrEnum):
    """What is measured."""

    logit_diff = "logit-diff"
    logit = "logit"
    probability = "probability"
    log_prob = "log-prob"
    rank = "rank"
    kl = "kl"
    loss = "loss"

    @property
    def fields(self) -> tuple[str, ...]:
        """What a pair must have for it, beside its prompts."""
        if self is MetricName.logit_diff:
            return ("answer", "wrong")
        return () if self in (MetricName.kl, MetricName.loss) else ("answer",)


_PROMPTS, _PATCH, _METRIC, _RUN = "The prompts", "What is patched", "What is measured", "The run"

Clean = Annotated[str | None, typer.Option(help="The clean prompt.", rich_help_panel=_PROMPTS)]
Corrupted = Annotated[
    str | None,
    typer.Option(help="The corrupted prompt, of as many tokens.", rich_help_panel=_PROMPTS),
]
Answer = Annotated[
    str | None,
    typer.Option(
        help="The clean prompt's answer, one token with its space: ' Mary'.",
        rich_help_panel=_PROMPTS,
    ),
]
Wrong = Annotated[
    str | None,
    typer.Option(help="The corrupted prompt's answer: ' John'.", rich_help_panel=_PROMPTS),
]
PairsFile = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        help="A .jsonl file, a pair a line with clean, corrupted, answer and wrong (texts, or "
        "token ids), as 'neoscope organism sample --pairs --out' writes.",
        rich_help_panel=_PROMPTS,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        callback=hyphened,
        help="Pairs in the bundled model's words: ioi, agreement, sentiment, facts, pronoun, "
        "tense, induction or far-induction.",
        rich_help_panel=_PROMPTS,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n", "-n", min=1, max=10_000, help="With --task: how many pairs; default 64.",
        rich_help_panel=_PROMPTS,
    ),
]  # fmt: skip
PrependBos = Annotated[
    bool,
    typer.Option(
        "--prepend-bos",
        help="Put the beginning-of-text token first.",
        rich_help_panel=_PROMPTS,
    ),
]
Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        "--sites",
        callback=underscored,
        help="embed, resid_pre, resid_mid, resid_post, attn_out, mlp_out, z, result, q, k, v, "
        "attn_scores, pattern, pre or post; default resid_pre.",
        rich_help_panel=_PATCH,
    ),
]
Every = Annotated[
    bool,
    typer.Option(
        "--every",
        help="The first look: the residual stream, attention and MLPs by position, and all heads.",
        rich_help_panel=_PATCH,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        "--layer",
        help="Comma-separated, e.g. 0,3,-1 or 0-3; default each.",
        rich_help_panel=_PATCH,
    ),
]
Heads = Annotated[
    str | None,
    typer.Option(
        help="Of sites by head: 0,3 or 0-3, each, or all (at once); default each.",
        rich_help_panel=_PATCH,
    ),
]
Positions = Annotated[
    str | None,
    typer.Option(
        help="Tokens of each prompt: 0,3,-1 or 0-3, each, or all (at once); 2:5 is a span that is "
        "patched at once; default each.",
        rich_help_panel=_PATCH,
    ),
]
Keys = Annotated[
    str | None,
    typer.Option(
        help="Of patterns and scores: source positions, as --positions; default all at once.",
        rich_help_panel=_PATCH,
    ),
]
Units = Annotated[
    str | None,
    typer.Option(
        help="Entries of the site, such as neurons of post: 0,3 or 0-3, or each; default all at "
        "once.",
        rich_help_panel=_PATCH,
    ),
]
SourceOption = Annotated[
    SourceName | None,
    typer.Option(
        **one_of(SourceName),
        help="Put in zeros, means, noise or another pair's values instead of those of the other "
        "prompt; --corrupted is then not needed.",
        rich_help_panel=_PATCH,
    ),
]
DirectionOption = Annotated[
    Direction | None,
    typer.Option(
        **one_of(Direction),
        help="denoise patches the corrupted run, noise the clean one; default denoise, or noise "
        "where --source is given.",
        rich_help_panel=_PATCH,
    ),
]
MetricOption = Annotated[
    MetricName,
    typer.Option(
        parser=word_of(MetricName),
        metavar="NAME",
        help=f"{', '.join(MetricName)}; kl and loss need no answers.",
        rich_help_panel=_METRIC,
    ),
]
MetricPositions = Annotated[
    str | None,
    typer.Option(
        help="Where kl and loss read: 0,-1 or 1:, last, or all; default last, of loss all.",
        rich_help_panel=_METRIC,
    ),
]
Normalised = Annotated[
    bool,
    typer.Option(
        "--normalised",
        help="Scale the metric: 0 is the corrupted run, 1 the clean one.",
        rich_help_panel=_METRIC,
    ),
]
Top = Annotated[int, typer.Option(min=1, help="How many cells are shown, the largest effects.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Write all cells and pairs to this .json or .parquet file; with --every to two, "
        "NAME-stream and NAME-heads.",
        metavar="PATH",
    ),
]
Seed = Annotated[
    int,
    typer.Option(min=0, help="Of --task, of --source and of the intervals.", rich_help_panel=_RUN),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tokens of patched runs held at once; default by device.",
        rich_help_panel=_RUN,
    ),
]


def read_layers(value: str | None) -> list[int] | None:
    """Read layers; None for each."""
    return None if _word(value) == "each" else split_ints(value, "--layers")


def read_heads(value: str | None) -> list[int] | str | None:
    """Read heads: ``"all"``, or None for each."""
    word = _word(value)
    if word in ("each", "all"):
        return None if word == "each" else word
    return split_ints(value, "--heads")


def read_places(value: str | None, option: str) -> list[int | slice] | str | None:
    """Read positions: ``"all"``, or None for each; ``"2:5"`` is one span."""
    word = _word(value)
    if word in ("each", "all"):
        return None if word == "each" else word
    return _places(value, option)


def read_keys(value: str | None) -> list[int | slice] | str | None:
    """Read source positions: ``"each"``, or None for all at once."""
    word = _word(value)
    if word in ("each", "all"):
        return "each" if word == "each" else None
    return _places(value, "--keys")


def read_units(value: str | None) -> list[int] | str | None:
    """Read units: ``"each"``, or None for all at once."""
    word = _word(value)
    if word in ("each", "all"):
        return "each" if word == "each" else None
    return split_ints(value, "--units")


def read_metric_positions(value: str | None) -> list[int] | slice | str | None:
    """Read where a metric reads: ``"all"``, or None for the default.

    Raises:
        typer.BadParameter: A span among several positions.
    """
    word = _word(value)
    if word in ("all", "last"):
        return word
    found = _places(value, "--metric-positions")
    if found is None or not any(isinstance(place, slice) for place in found):
        return found  # type: ignore[return-value]  # no slice is left in it
    if len(found) > 1:
        raise typer.BadParameter("--metric-positions: give positions, or one span such as 1:")
    return found[0]  # type: ignore[return-value]  # it is the slice


def _places(value: str | None, option: str) -> list[int | slice] | None:
    parts = split_list(value, option)
    if parts is None:
        return None
    found: list[int | slice] = []
    for part in parts:
        if match := re.fullmatch(r"(-?\d{1,9})?:(-?\d{1,9})?", part):
            ends = [None if end is None else int(end) for end in match.groups()]
            found.append(slice(*ends))
        else:
            found += split_ints(part, option) or ()
    return found


def _word(value: str | None) -> str | None:
    return None if value is None else value.strip().lower()
