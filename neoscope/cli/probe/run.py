"""Running ``neoscope probe``: its texts and labels, the sweep, and what is written."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.options import load_model
from neoscope.cli.probe.folders import FEATURES, SWEEP
from neoscope.cli.probe.options import Kind
from neoscope.cli.probe.words import cuts_told_once, errors_in_options
from neoscope.errors import ExportError, ProbeError

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

TABLE = "sweep.csv"
_MANY = 20
"""Different numbers, from which on they may be no classes."""
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts of a file, with what stands beside them."""

    ids: list[Any]
    texts: list[str | None]
    problems: Mapping[int, str]
    """Number of a row that is no text, to what is wrong."""
    labels: list[Any]
    groups: list[Any] | None


@dataclass(frozen=True, eq=False)
class Found:
    """What a run found."""

    model: HookedGPTNeo
    sweep: Any
    n_rows: int
    seconds: float


def read_rows(
    file: Path, text_column: str, label_column: str | None = None, group_column: str | None = None
) -> Rows:
    """Read texts, and labels and groups where they are asked for.

    Args:
        file: As ``neoscope export`` reads them.
        text_column: The texts.
        label_column: Their labels.
        group_column: What a split keeps together.

    Raises:
        ExportError: The file cannot be read, or has no such column.
    """
    beside = [name for name in (label_column, group_column) if name is not None]
    ids: list[Any] = []
    texts: list[str | None] = []
    problems: dict[int, str] = {}
    columns: dict[str, list[Any]] = {name: [] for name in beside}
    # Only names that were asked for are read: a column of another kind is in nobody's way.
    with errors_in_options():
        for chunk in _chunks(file.expanduser(), text_column, beside):
            problems |= {chunk.start + at: why for at, why in chunk.problems.items()}
            ids += chunk.ids
            texts += chunk.texts
            for name, values in columns.items():
                values += chunk.columns.column(name).to_pylist()
    return Rows(
        _line_numbers(file.expanduser()) if file.suffix.lower() == ".txt" else ids,
        texts,
        problems,
        columns[label_column] if label_column else [],
        columns[group_column] if group_column else None,
    )


def _chunks(file: Path, text_column: str, beside: list[str]) -> Iterator[Any]:
    from neoscope.export.reading import read_chunks

    yield from read_chunks(file, text_column=text_column, keep=beside)


def _line_numbers(file: Path) -> list[Any]:
    """Return the numbers, from 0, of the lines that are not blank, as only those are read."""
    with file.open("rb") as lines:
        said = (line.removeprefix(_MARK) if not i else line for i, line in enumerate(lines))
        return [i for i, line in enumerate(said) if line.strip()]


def read(
    file: Path, text_column: str, label_column: str, group_column: str | None, *, regression: bool
) -> Rows:
    """Read labelled texts, all of which must be good.

    Args:
        file: As ``neoscope export`` reads them.
        text_column: The texts.
        label_column: Their labels.
        group_column: What a split keeps together.
        regression: Labels are numbers, which a .csv file holds as text.

    Raises:
        ExportError: The file cannot be read, has no such column, or a row is no text.
        ProbeError: A row has no label, or one that is no number, or classes are numbers of which
            hardly two are equal.
    """
    rows = read_rows(file, text_column, label_column, group_column)
    if rows.problems:
        first = min(rows.problems)
        raise ExportError(f"{file}, row {first}: {rows.problems[first]}")
    for i, label in enumerate(rows.labels):
        if label is None or label == "":
            raise ProbeError(f"{file}, row {i} has no label in column {label_column!r}")
        if regression:
            try:
                rows.labels[i] = float(label)
            except (TypeError, ValueError):
                raise ProbeError(f"{file}, row {i}: the label {label!r} is no number") from None
    if not regression:
        _check_classes(rows.labels, file, label_column)
    return rows


def _check_classes(labels: list[Any], file: Path, column: str) -> None:
    """Refuse numbers of which hardly two are equal: nobody would call them classes."""
    n = len(set(map(str, labels)))
    if n < _MANY or 2 * n <= len(labels):
        return
    try:
        for label in labels:
            float(label)
    except (TypeError, ValueError):
        return
    raise ProbeError(
        f"{file}: column {column!r} holds {n:,} different numbers in {len(labels):,} rows; did you "
        "mean --regression?"
    )


def shows_bars(quiet: bool) -> bool:
    """Whether there is somebody who would see a bar."""
    return not quiet and sys.stderr.isatty()


def run(
    model: str,
    rows: Rows,
    reading: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    kind: Kind | None,
    work: Path | None,
    quiet: bool,
    loading: Mapping[str, Any],
) -> Found:
    """Extract features and sweep; Ctrl-C ends with what is done.

    Args:
        model: As named.
        rows: Labelled texts.
        reading: As for ``ProbeData.from_texts``.
        options: As for ``sweep``.
        kind: Which probe; None for the default.
        work: Where features and finished places are kept.
        quiet: Show no bar.
        loading: As for ``load_model``.

    Raises:
        NeoscopeError: As the library does, in the words of the command line.
        KeyboardInterrupt: Before a place was done; says how to go on.
    """
    import probes

    loaded = load_model(model, quiet=quiet, **loading)
    bars = shows_bars(quiet)
    began = time.perf_counter()
    folder = None if work is None else work.expanduser()
    regression = reading.get("kind") == "regression"
    chosen = None
    if kind is not None:
        chosen = getattr(probes, kind.class_name(regression=regression))()
    cuts = cuts_told_once(reading.get("max_length"))
    with errors_in_options(work), _interrupts(work), warnings.catch_warnings(), cuts:
        # It is said at the end, beside what was done.
        warnings.filterwarnings("ignore", message="interrupted: ")
        given = dict(reading)
        given["layers"] = "all" if given["layers"] is None else given["layers"]
        data = probes.ProbeData.from_texts(
            loaded,
            rows.texts,
            rows.labels,
            groups=rows.groups,
            folder=None if folder is None else folder / FEATURES,
            progress=bars,
            **given,
        )
        sweep = probes.sweep(
            data,
            chosen,
            folder=None if folder is None else folder / SWEEP,
            progress=bars,
            **options,
        )
    return Found(loaded, sweep, len(rows.texts), time.perf_counter() - began)


@contextlib.contextmanager
def _interrupts(work: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted before a place was done; no probe was written; {_going_on(work)}"
        ) from None


def save(sweep: Any, out: Path) -> Path:
    """Write the best probe and the table of all, and return the folder.

    Args:
        sweep: What was found.
        out: The folder.

    Raises:
        ProbeError: It cannot be written.
    """
    from neoscope.files import atomic

    folder = out.expanduser()
    sweep.best().save(folder)
    with atomic(folder / TABLE) as path:
        sweep.to_dataframe().to_csv(path, index=False)
    return out


def interruption(found: Found, work: Path | None) -> str:
    """Return what to say of a run that was interrupted."""
    done = len(found.sweep.places)
    places = f"{done} place{'s' * (done != 1)}"
    return f"interrupted after {places}; no probe was written; {_going_on(work)}"


def _going_on(work: Path | None) -> str:
    if work is None:
        return "--work keeps what is done, so that it could go on"
    return f"what is done is kept in {work}; the same command goes on"
