"""``neoscope cache --out store/``: activations of a corpus as a store, one row a token."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from neoscope.cli.export.options import Format
from neoscope.cli.export.run import check_input, make_spec, run
from neoscope.cli.export.show import show
from neoscope.cli.options import Dtype, load_model
from neoscope.errors import ExportError, StoreError

_SITES = ("resid_post",)


def is_store(out: str, file: Path | None, file_format: Format | None) -> bool:
    """Whether a store is asked for, not one file."""
    # An existing folder is one too, but where there is no corpus it was meant as a file's place.
    folder = file is not None and Path(out).expanduser().is_dir()
    return file_format is not None or out.endswith(("/", os.sep)) or folder


def check_usage(text: Sequence[str] | None, file: Path | None, positions: object) -> Path:
    """Return the corpus.

    Raises:
        typer.BadParameter: Something is missing, or means nothing for a store.
    """
    if text:
        raise typer.BadParameter("--text is for one file of activations; a store is made of --file")
    if positions is not None:
        raise typer.BadParameter(
            "--positions is for one file of activations; a store has a row for every token, and "
            "its column token_index says which"
        )
    if file is None:
        raise typer.BadParameter("a store of activations is made of a corpus: give --file")
    return file


def write(
    model: str,
    file: Path,
    out: Path,
    *,
    text_column: str,
    sites: list[str] | None,
    layers: list[int] | None,
    prepend_bos: bool,
    truncate: bool,
    file_format: Format,
    revision: str | None,
    dtype: Dtype,
    device: str,
    as_json: bool,
) -> None:
    """Write the store, or go on with it.

    Raises:
        NeoscopeError: The input, the model, a site or the folder cannot be used.
    """
    from neoscope.cli.cache.command import switch_on

    wanted = list(sites or _SITES)
    reading: dict[str, Any] = {"text_column": text_column}
    check_input(file, **reading)
    spec = make_spec(
        sites=wanted,
        layers=layers,
        pool="none",
        # Half the bytes hold all that such weights compute in; bfloat16 reaches further.
        dtype="float16" if dtype == "float16" else "float32",
        truncation="truncate" if truncate else "error",
        prepend_bos=prepend_bos,
    )
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    switch_on(loaded, wanted)
    reading |= {"kind": "activations", "file_format": file_format.value}
    try:
        done = run(
            loaded, file, out, spec, quiet=as_json, truncation_warning=not truncate, **reading
        )
    except (ExportError, StoreError) as error:
        raise type(error)(_own_advice(str(error))) from error
    show(done, as_json=as_json)


def _own_advice(message: str) -> str:
    """Leave out advice about options that this command lacks, and name those that it has."""
    message = message.replace("--feature-dtype: the folder", "--dtype: the folder")
    message = message.replace("--truncation: the folder", "--truncate: the folder")
    message = message.split("; --on-error", 1)[0]
    before, found, _ = message.partition("; --truncation")
    return f"{before}; --truncate cuts it" if found else before
