"""The options of ``neoscope cache``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neoscope.cli.export.options import Format
from neoscope.cli.spelling import one_of

Text = Annotated[list[str] | None, typer.Option(help="A text; repeat the option for several.")]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "--data",
        help="A text file: every line that is not blank is a text. For a store also .parquet, "
        ".jsonl, .csv and what else export reads.",
    ),
]
Sites = Annotated[
    str | None,
    typer.Option(
        "--sites",
        "--site",
        help="Comma-separated, e.g. resid_post,pattern; default all, of a store resid_post.",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option("--layers", "--layer", help="Comma-separated, e.g. 0,3,-1 or 0-3; default all."),
]
Positions = Annotated[
    str | None, typer.Option(help="Tokens of each text, e.g. 0,-1; -1 is its last; default all.")
]
Out = Annotated[
    str,
    typer.Option(
        help="The file to write. A folder (store/) for a store: a row for every token of --file, "
        "as many as the disk holds, and the same command goes on where it was interrupted.",
        metavar="PATH",
    ),
]
StoreFormat = Annotated[
    Format | None,
    typer.Option("--format", **one_of(Format), help="Of a store; parquet if not given."),
]
TextColumn = Annotated[
    str | None, typer.Option(help="Of a store: the column of the texts, 'text' if not given.")
]
PrependBos = Annotated[
    bool, typer.Option("--prepend-bos", help="Put the beginning-of-text token first.")
]
Truncate = Annotated[bool, typer.Option("--truncate", help="Cut texts at the context length.")]
