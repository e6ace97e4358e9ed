"""Options of ``neoscope eval``, and how their values are read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neoscope.cli.spelling import one_of

_SUFFIXES = (".json", ".safetensors")


class SuiteName(StrEnum):
    """Published tables."""

    leaderboard_v1 = "leaderboard-v1"
    gpt_neo_readme = "gpt-neo-readme"


class KindName(StrEnum):
    """Kinds of local files."""

    minimal_pairs = "minimal_pairs"
    multiple_choice = "multiple_choice"
    perplexity = "perplexity"
    generate = "generate"


class PublishedName(StrEnum):
    """Models of which figures are published."""

    m125 = "125m"
    m350 = "350m"
    b13 = "1.3b"
    b27 = "2.7b"


Suite = Annotated[
    SuiteName | None,
    typer.Option(**one_of(SuiteName), help="A published table, with its shots and metrics."),
]
Tasks = Annotated[
    str | None,
    typer.Option(help="Tasks of lm-evaluation-harness, e.g. hellaswag,piqa or 'blimp_*'."),
]
File = Annotated[
    list[Path] | None,
    typer.Option(
        "--file", "--data", help="A local file as a task: JSON lines, or text for its perplexity."
    ),
]
Kind = Annotated[
    KindName | None,
    typer.Option(**one_of(KindName), help="What --file holds; without it the columns tell."),
]
Regex = Annotated[str | None, typer.Option(help="For generated answers: what to look for in them.")]
Name = Annotated[
    str | None, typer.Option(help="What the task of --file is called; else as the file.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        help="What the columns of --file are called, e.g. answer=solution,prompt=q.",
        metavar="COLUMN=NAME,...",
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(help="For generated answers: where one ends; else at the end of a line."),
]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="For generated answers: the longest; else 64.")
]
IgnoreCase = Annotated[
    bool, typer.Option("--ignore-case", help="For generated answers: compare without case.")
]
IgnorePunctuation = Annotated[
    bool,
    typer.Option("--ignore-punctuation", help="For generated answers: without punctuation."),
]
Include = Annotated[
    list[Path] | None, typer.Option(help="A folder with YAML files of further tasks.")
]
NumFewshot = Annotated[
    int | None, typer.Option(min=0, help="Solved examples before each question.")
]
Limit = Annotated[
    float | None, typer.Option(help="So many examples of each task, or such a share below 1.")
]
Ablate = Annotated[
    list[str] | None,
    typer.Option(
        help="Switch a part off meanwhile: 2.0 or z:2.0 is head 0 of layer 2, mlp_out:3 a layer.",
        metavar="SITE:LAYER[.HEAD]",
    ),
]
Published = Annotated[
    PublishedName | None,
    typer.Option(**one_of(PublishedName), help="Whose published figures to show beside a suite."),
]
BatchTokens = Annotated[
    int | None, typer.Option(min=1, help="About how many tokens are run at once.")
]
Seed = Annotated[
    int,
    typer.Option(
        help="Fixes which solved examples are drawn; as in lm-evaluation-harness 1234, not 0."
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Run without the --ablate too, and show both.")
]
Samples = Annotated[
    Path | None, typer.Option(help="Also write what was asked and answered: a .jsonl file.")
]
Out = Annotated[
    Path | None, typer.Option(help="Also write the result: a .json or .safetensors file.")
]


def check_what(suite: SuiteName | None, tasks: Sequence[str], files: Sequence[Path]) -> None:
    """Check that there is one thing to run.

    Raises:
        typer.BadParameter: There is none, or a suite beside something else.
    """
    if suite is not None and (tasks or files):
        raise typer.BadParameter("give either --suite, or --tasks and --file")
    if suite is None and not tasks and not files:
        raise typer.BadParameter(
            "there is nothing to run: give --suite leaderboard-v1, --tasks hellaswag or "
            "--file pairs.jsonl"
        )


def check_files(
    files: Sequence[Path], given: Mapping[str, object], answering: Mapping[str, object]
) -> None:
    """Check that what is said of files has files.

    Args:
        files: The files.
        given: Options of files that were given.
        answering: Those of generated answers.

    Raises:
        typer.BadParameter: It has none, or a name is for several.
    """
    if given and not files:
        raise typer.BadParameter(f"{flag(given)} is for --file; there is no --file")
    if answering and not files:
        raise typer.BadParameter(f"{flag(answering)} is for --file with generated answers")
    if "name" in given and len(files) > 1:
        raise typer.BadParameter("--name is for one --file; several are called as the files are")
    try:
        re.compile(str(answering.get("regex", "")))
    except re.error as error:
        raise typer.BadParameter(f"--regex is no regular expression: {error}") from error


def given_of(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value}


def flag(given: Mapping[str, object]) -> str:
    """Return how the first of some options is written."""
    return "--" + next(iter(given)).replace("_", "-")


def check_published(
    suite: SuiteName | None, published: PublishedName | None, *, compare: bool
) -> None:
    """Check that published figures have a table to stand in.

    Raises:
        typer.BadParameter: There is none.
    """
    if published is not None and (suite is None or compare):
        raise typer.BadParameter("--published shows the figures of a --suite, without --compare")


def check_compare(ablate: Sequence[str], samples: Path | None, *, compare: bool) -> None:
    """Check what a comparison is of.

    Raises:
        typer.BadParameter: Nothing is ablated, or samples are wanted of it.
    """
    if compare and not ablate:
        raise typer.BadParameter("--compare shows what --ablate changes; give --ablate z:2.0")
    if compare and samples is not None:
        raise typer.BadParameter("give either --compare or --samples")
    if samples is not None and samples.suffix.lower() != ".jsonl":
        raise typer.BadParameter(f"--samples {samples} does not end in .jsonl")
    _check_folder("--samples", samples)


def read_columns(text: str | None) -> dict[str, str]:
    """Read ``"answer=solution,prompt=q"``.

    Raises:
        typer.BadParameter: A part is something else.
    """
    found = {}
    for part in (text or "").split(",") if text is not None else []:
        name, _, called = (x.strip() for x in part.partition("="))
        if not name or not called:
            raise typer.BadParameter(f"--columns {part!r} is no COLUMN=NAME; e.g. answer=solution")
        found[name] = called
    return found


def read_limit(limit: float | None) -> int | float | None:
    """Read a number of examples, or a share below 1.

    Raises:
        typer.BadParameter: It leaves no example, or is no number of them.
    """
    if limit is not None and (not limit > 0 or not math.isfinite(limit)):
        raise typer.BadParameter(f"--limit {limit:g} leaves no example; write e.g. 100 or 0.1")
    if limit is not None and limit > 1 and limit % 1:
        raise typer.BadParameter(f"--limit {limit:g} is no number of examples; write e.g. 100")
    return limit if limit is None or limit < 1 else int(limit)


def check_out(out: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is run.

    Raises:
        typer.BadParameter: It has another suffix, or no folder.
    """
    if out is not None and out.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"--out {out} ends in neither .json nor .safetensors")
    _check_folder("--out", out)


def _check_folder(option: str, path: Path | None) -> None:
    if path is not None and not path.expanduser().absolute().parent.is_dir():
        raise typer.BadParameter(f"{option} {path} is in a folder that does not exist")
