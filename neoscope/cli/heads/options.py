"""The options of ``neoscope heads``, and how their values are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.spelling import one_of, underscored

_TEXTS, _WHAT, _RUN = "The texts", "What is measured", "What is shown and kept"
_SUFFIXES = (".json", ".safetensors")


class Weighting(StrEnum):
    """What counts."""

    attention = "attention"
    norm = "norm"


Text = Annotated[
    list[str] | None,
    typer.Option(
        help="A text; repeat the option for several. Without texts: repeats of random tokens.",
        rich_help_panel=_TEXTS,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "--data",
        help="A text file: every line that is not blank is a text.",
        rich_help_panel=_TEXTS,
    ),
]
Gap = Annotated[
    str | None,
    typer.Option(
        help="Of repeats: tokens from a token to its repetition, e.g. 16,40; default one inside "
        "the window of local layers and one beyond it.",
        rich_help_panel=_TEXTS,
    ),
]
Length = Annotated[
    int | None,
    typer.Option(
        min=1, help="Of repeats: tokens that come again; default all.", rich_help_panel=_TEXTS
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n", "-n", min=1, help="Of repeats: texts for each gap; default 16.",
        rich_help_panel=_TEXTS,
    ),
]  # fmt: skip
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Put the beginning-of-text token first; default for repeats, but not for texts.",
        rich_help_panel=_TEXTS,
    ),
]
Score = Annotated[
    str | None,
    typer.Option(
        callback=underscored,
        help="One score, head by head, e.g. induction; default the best head of each.",
        rich_help_panel=_WHAT,
    ),
]
Weighted = Annotated[
    Weighting,
    typer.Option(
        **one_of(Weighting),
        help="Attention, or the share of the norms that it moves.",
        rich_help_panel=_WHAT,
    ),
]
Seed = Annotated[int, typer.Option(help="Of the random tokens.", rich_help_panel=_WHAT)]
Top = Annotated[int, typer.Option(min=1, help="With --score: heads shown.", rich_help_panel=_RUN)]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Keep the result: a .json or .safetensors file, which neoscope.analysis.load reads.",
        rich_help_panel=_RUN,
    ),
]
BatchTokens = Annotated[
    int, typer.Option(min=1, help="Most tokens run at once.", rich_help_panel=_RUN)
]


def check_out(out: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is run.

    Raises:
        typer.BadParameter: It has another suffix, or no folder.
    """
    if out is None:
        return
    out = out.expanduser()
    if out.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"--out {out}: its name must end in {' or '.join(_SUFFIXES)}")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"--out {out} is a folder, or in a folder that does not exist")


def read_texts(text: list[str] | None, file: Path | None) -> list[str] | None:
    """Return the texts of both options; None where neither was given.

    Raises:
        typer.BadParameter: The file cannot be read, or holds no text.
    """
    if file is None:
        return list(text) if text else None
    try:
        whole = file.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"cannot read {file}: it is no UTF-8 text") from error
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror or error}") from error
    # str.splitlines would also part lines at form feeds and other rare characters.
    lines = [line for line in whole.split("\n") if line.strip()]
    if not lines:
        raise typer.BadParameter(f"{file} holds no text: every line is blank")
    return [*(text or ()), *lines]
