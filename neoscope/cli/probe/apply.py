"""``neoscope probe apply``: what a kept probe says of new texts."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from neoscope.cli.options import Device, Dtype, DtypeOption, Revision, load_model
from neoscope.cli.probe import options as o
from neoscope.cli.probe.folders import check_lines
from neoscope.cli.probe.words import errors_in_options, shown_label
from neoscope.cli.table import new_table, visible
from neoscope.errors import ExportError, ProbeError

_TEXT = 60
_LEAST = 20
"""Letters of a text that are shown at least, before other columns give way."""
_MOST_CLASSES = 4
_GAP = 2


def apply(
    probe: o.Probe,
    file: o.File,
    text_column: o.TextColumn = "text",
    model: o.ApplyModel = None,
    any_source: o.AnySource = False,
    on_error: o.OnErrorOption = o.OnError.fail,
    out: o.ApplyOut = None,
    top: o.Top = 20,
    batch_tokens: o.BatchTokens = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: o.ApplyJson = False,
) -> None:
    """Say what a probe finds in new texts: labels, and of classes probabilities."""
    if out is not None:
        check_lines(out, file)
    from neoscope.cli.probe import run as probe_run

    rows = probe_run.read_rows(file, text_column)
    if rows.problems and on_error is o.OnError.fail:
        first = min(rows.problems)
        raise ExportError(
            f"{file}, row {first}: {rows.problems[first]}; --on-error null leaves such rows "
            "without a label"
        )
    import probes

    kept = probes.load(probe)
    name = model or _model_of(kept, probe)
    loaded = load_model(name, revision=revision, dtype=dtype, device=device, quiet=as_json)
    with _dtype_said(dtype), errors_in_options(applying=True), warnings.catch_warnings():
        said = probes.apply_texts(
            kept,
            loaded,
            rows.texts,
            ids=rows.ids,
            any_source=any_source,
            on_error=on_error.value,
            batch_tokens=batch_tokens,
            progress=probe_run.shows_bars(as_json),
        )
    if out is not None:
        said.save(out.expanduser())
    if as_json:
        for record in said.records():
            typer.echo(json.dumps(record, ensure_ascii=True))
        return
    _show(said, rows.texts, top)
    if out is not None:
        typer.echo(f"wrote {out}: {len(said):,} lines")


@contextlib.contextmanager
def _dtype_said(dtype: Dtype) -> Iterator[None]:
    """Say that another dtype may be why a model is another: its rounded weights are others."""
    try:
        yield
    except ProbeError as error:
        if dtype is Dtype.float32 or "another model's instead" not in str(error):
            raise
        raise ProbeError(
            f"{error}. With --dtype {dtype.value} even the same model has other weights: leave "
            "--dtype as it was in training"
        ) from error


def _model_of(kept: Any, folder: Path) -> str:
    card = kept.card_
    if card is None or card.source.model_name is None:
        raise ProbeError(f"{folder} does not say which model it was trained on; give --model")
    return str(card.source.model_name)


def _show(said: Any, texts: list[str | None], top: int) -> None:
    from rich.text import Text

    from neoscope.cli.probe.show import new_console

    console = new_console()
    records = said.records()[:top]
    columns = _columns(records, said.classes, console.width)
    room = console.width - sum(_width(name, cells) + _GAP for name, cells in columns.items())
    columns["text"] = [_cut(text or "", min(_TEXT, max(_LEAST, room))) for text in texts[:top]]
    table = new_table([(name, "right" if name[:1] == "p" else "left") for name in columns])
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    console.print(table, highlight=False)
    if len(said) > top:
        console.print(f"and {len(said) - top:,} more; --out or --json gives all", highlight=False)


def _columns(records: list[dict[str, Any]], classes: Any, width: int) -> dict[str, list[str]]:
    """Return columns beside the text: of many classes the probability of the likeliest alone."""
    columns = {
        "id": [visible(str(record["id"])) for record in records],
        "label": [_label(record) for record in records],
    }
    if classes is None:
        return columns
    known = [record.get("probabilities") or {} for record in records]
    names = [str(name) for name in classes]
    each = {
        f"p({shown_label(name)})": [f"{p[name]:.3f}" if p else "" for p in known] for name in names
    }
    wide = sum(_width(name, cells) + _GAP for name, cells in (columns | each).items())
    if len(names) <= _MOST_CLASSES and wide + _LEAST <= width:
        return columns | each
    if any(isinstance(record["label"], list) for record in records):
        return columns
    return columns | {"p": [f"{max(p.values()):.3f}" if p else "" for p in known]}


def _width(name: str, cells: list[str]) -> int:
    return max(map(len, (name, *cells)))


def _cut(text: str, longest: int) -> str:
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _label(record: dict[str, Any]) -> str:
    if "problem" in record:
        return visible(f"- ({record['problem']})")
    label = record["label"]
    return f"{label:.4g}" if isinstance(label, float) else shown_label(label)
