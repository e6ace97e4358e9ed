"""The options of ``neoscope neurons``, and how their values are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neoscope.cli.spelling import one_of, underscored

if TYPE_CHECKING:
    import numpy as np

_WHAT, _TEXTS, _RUN = "What is watched", "The texts", "What is shown and kept"


class Unique(StrEnum):
    """What counts once."""

    context = "context"
    token = "token"


class Truncation(StrEnum):
    """What becomes of a text longer than the model's context."""

    stride = "stride"
    truncate = "truncate"
    error = "error"


class OnError(StrEnum):
    """What becomes of a text that cannot be used."""

    fail = "fail"
    skip = "skip"


Layer = Annotated[
    int | None,
    typer.Option(
        "--layer",
        "--layers",
        help="The layer, from 0 or (negative) from the last.",
        rich_help_panel=_WHAT,
    ),
]
Unit = Annotated[
    str | None,
    typer.Option(help="The units: 17, or several: 0-3,17.", rich_help_panel=_WHAT),
]
Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        "--sites",
        callback=underscored,
        help="Any site with a vector a token; default post, the neurons after their activation, "
        "or resid_post with --direction.",
        rich_help_panel=_WHAT,
    ),
]
Direction = Annotated[
    str | None,
    typer.Option(
        help="Instead of units: a .npy or .safetensors file of one vector or several "
        "(FILE:NAME where it holds more than one tensor).",
        rich_help_panel=_WHAT,
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "--data",
        help="The corpus: .txt (a text a line), .jsonl, .csv, .tsv or .parquet. Without it: the "
        "bundled model's own sentences.",
        rich_help_panel=_TEXTS,
    ),
]
TextColumn = Annotated[
    str, typer.Option(help="Of a table: the column of the texts.", rich_help_panel=_TEXTS)
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        help="Without --file: how many sentences of its own; default 500.",
        rich_help_panel=_TEXTS,
    ),
]
PrependBos = Annotated[
    bool,
    typer.Option(
        "--prepend-bos", help="Put the beginning-of-text token first.", rich_help_panel=_TEXTS
    ),
]
TruncationOption = Annotated[
    Truncation,
    typer.Option(
        "--truncation",
        **one_of(Truncation),
        help="A text longer than the context: read in windows, cut, or refused.",
        rich_help_panel=_TEXTS,
    ),
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(
        "--on-error",
        **one_of(OnError),
        help="A text that cannot be used: stop, or skip it.",
        rich_help_panel=_TEXTS,
    ),
]
K = Annotated[
    int,
    typer.Option("-k", "--k", "--top", min=1, help="Places shown.", rich_help_panel=_RUN),
]
Context = Annotated[
    int, typer.Option(min=0, help="Tokens kept on each side.", rich_help_panel=_RUN)
]
UniqueOption = Annotated[
    Unique | None,
    typer.Option(
        "--unique",
        **one_of(Unique),
        help="Count places once that have the same token and context before it, or the same token.",
        rich_help_panel=_RUN,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Keep the result: a .json or .safetensors file, which neoscope.analysis.load reads.",
        rich_help_panel=_RUN,
    ),
]
BatchTokens = Annotated[
    int | None, typer.Option(min=1, help="Most tokens run at once.", rich_help_panel=_RUN)
]


def check_out(out: Path | None) -> None:
    """Refuse a file that could not be written, before anything is run.

    Raises:
        typer.BadParameter: It has another suffix, or its folder is not there.
    """
    if out is None:
        return
    if out.suffix.lower() not in (".json", ".safetensors"):
        raise typer.BadParameter(f"--out {out} ends in neither .json nor .safetensors")
    if not out.expanduser().parent.is_dir():
        raise typer.BadParameter(f"--out {out}: there is no folder {out.parent}")


def check_file(file: Path | None) -> None:
    """Refuse a corpus that is not there, before a model is loaded.

    Raises:
        AnalysisError: There is no such file.
    """
    from neoscope.errors import AnalysisError

    if file is not None and not file.exists():
        raise AnalysisError(f"--file: there is no file {str(file)!r}")


def read_direction(given: str) -> np.ndarray[Any, Any]:
    """Read vectors from ``FILE.npy``, ``FILE.safetensors`` or ``FILE.safetensors:NAME``.

    Raises:
        AnalysisError: There is no such file or tensor, or it is damaged.
    """
    import numpy as np

    from neoscope.errors import AnalysisError

    file, _, name = given.rpartition(":") if ".safetensors:" in given else (given, "", "")
    path = Path(file).expanduser()
    if not path.is_file():
        raise AnalysisError(f"--direction: there is no file {path}")
    if path.suffix not in (".npy", ".safetensors"):
        raise AnalysisError(f"--direction {path} is neither .npy nor .safetensors")
    try:
        if path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
            return np.asarray(found, np.float32)
        return _tensor(path, name)
    except AnalysisError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:100]
        raise AnalysisError(f"--direction {path} cannot be read: {said}") from error


def _tensor(path: Path, name: str) -> np.ndarray[Any, Any]:
    import numpy as np
    from safetensors import safe_open

    from neoscope.errors import AnalysisError, nearest

    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if not name and len(names) != 1:
            raise AnalysisError(
                f"{path} holds {len(names)} tensors; name one, as {path.name}:NAME: "
                f"{', '.join(names)}"
            )
        name = name or names[0]
        if name not in names:
            raise AnalysisError(
                f"{path} has no tensor {name!r}{nearest(name, names)}; it has {', '.join(names)}"
            )
        return np.asarray(file.get_tensor(name).float().numpy())
