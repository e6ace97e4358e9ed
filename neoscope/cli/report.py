"""``neoscope report``: a model seen from all sides, as one HTML file that needs no network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    human_bytes,
    load_model,
    print_json,
    split_list,
)
from neoscope.errors import ViewError

if TYPE_CHECKING:
    from neoscope.views.report import Report

Text = Annotated[
    str | None,
    typer.Argument(
        help="The text that attention, lenses and attribution are shown on, or a file that holds "
        "it; default a sentence that the model can read.",
        metavar="[TEXT|FILE]",
    ),
]
Out = Annotated[Path, typer.Option(help="The HTML file to write.")]
Sections = Annotated[
    str | None,
    typer.Option(
        help="Only these, e.g. model,heads,patching; all: model, contract, heads, attention, "
        "lenses, attribution, patching, probes, projection, provenance, citing."
    ),
]
Lens = Annotated[
    Path | None, typer.Option(help="A tuned lens's folder, to be shown beside the plain lens.")
]
Seed = Annotated[int, typer.Option(help="Of prompts, probes and all other choices.")]
PrependBos = Annotated[
    bool, typer.Option("--prepend-bos", help="Put the beginning-of-text token before the text.")
]
Dated = Annotated[bool, typer.Option("--dated", help="Write today's date under Provenance.")]


def report(
    model: Model = "organism",
    text: Text = None,
    out: Out = Path("report.html"),
    sections: Sections = None,
    lens: Lens = None,
    seed: Seed = 0,
    prepend_bos: PrependBos = False,
    dated: Dated = False,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML file: card, contract, heads, lenses, patching, probes.

    A section that fails shows its error in the page, and the exit code is 1.
    """
    read = None if text is None else _read(text)
    from neoscope.views.report.catalogue import CATALOGUE, chosen

    try:
        names = chosen(split_list(sections, "--sections"))
    except ViewError as error:
        raise typer.BadParameter(str(error)) from error
    from neoscope.views.report.target import check_path

    try:
        target = check_path(out)
    except ViewError as error:
        raise typer.BadParameter(str(error)) from error
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    from rich.console import Console

    from neoscope.views.report import Report

    began = time.perf_counter()
    titles = [CATALOGUE[name].title for name in names]
    with Console(stderr=True, quiet=as_json).status(titles[0]) as status:

        def progress(done: int, total: int) -> None:
            if done < total:
                status.update(titles[done])

        made = Report(
            loaded, read, sections=names, lens=lens, seed=seed, prepend_bos=prepend_bos,
            dated=dated, progress=progress,
        )  # fmt: skip
        made.save(target)
    seconds = time.perf_counter() - began
    if as_json:
        print_json(_facts(made, target, seconds))
    else:
        _show(made, target, seconds)
    if made.failed:
        raise typer.Exit(1)


def _read(text: str) -> str:
    """Return the text itself, or what the file of that name holds.

    Raises:
        typer.BadParameter: It looks like a file that is not there, or cannot be read.
    """
    path = Path(text).expanduser()
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        is_file = False
    if not is_file:
        if path.suffix in (".txt", ".md") and not any(map(str.isspace, text)):
            raise typer.BadParameter(f"there is no file {text}")
        return text
    try:
        return path.read_text(encoding="utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"cannot read {text}: it is no UTF-8 text") from error
    except OSError as error:
        raise typer.BadParameter(f"cannot read {text}: {error.strerror or error}") from error


def _facts(made: Report, target: Path, seconds: float) -> dict[str, object]:
    return {
        "file": str(target),
        "file_bytes": target.stat().st_size,
        "model": made.model,
        "text": made.text,
        "seconds": seconds,
        "sections": [
            {"section": one.name, "status": one.status, "note": one.note} for one in made.sections
        ],
    }


def _show(made: Report, target: Path, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    grid = Table.grid(padding=(0, 2))
    for one in made.sections:
        style = {"done": "green", "failed": "red"}.get(one.status, "yellow")
        note = Text(one.note, overflow="fold")
        grid.add_row(Text(one.name), Text(one.status, style), note)
    console.print(grid)
    Console(highlight=False, markup=False, soft_wrap=True).print(
        f"\nwrote {target} ({human_bytes(target.stat().st_size)}, {seconds:.0f} s); open it in a "
        "browser, it needs no network"
    )
