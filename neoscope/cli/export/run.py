"""Running an export from the command line: its bar, its end, and what Ctrl-C leaves."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.argument_words import errors_in_options
from neoscope.cli.options import human_bytes
from neoscope.errors import SiteError

if TYPE_CHECKING:
    from neoscope.export import ExportReport, FeatureSpec
    from neoscope.export.estimating import Estimate
    from neoscope.export.progress import Progress
    from neoscope.model import HookedGPTNeo


def check_input(source: Path, *, positions: Any = None, **reading: Any) -> None:
    """Look for the input and its columns, before a model is loaded and a folder made for it.

    Args:
        source: The file or folder.
        positions: A column's name, or what else a spec takes.
        **reading: As for ``read_chunks``.

    Raises:
        ExportError: The input or a column is not there, or no row can be read.
    """
    from neoscope.export.reading import read_chunks

    column = positions if isinstance(positions, str) else None
    with errors_in_options():
        next(read_chunks(source.expanduser(), positions_column=column, **reading))


def make_spec(**wanted: Any) -> FeatureSpec:
    """Return the spec that the options mean.

    Raises:
        ArgumentError: They contradict each other, in the words of the command line.
    """
    from neoscope.export import FeatureSpec

    with errors_in_options():
        return FeatureSpec(**wanted)


def run(
    model: HookedGPTNeo,
    source: Path,
    out: Path,
    spec: FeatureSpec,
    *,
    quiet: bool,
    truncation_warning: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Export, and return what was done and what stands in the folder.

    How far it is shows as a bar on a terminal, and in lines elsewhere.

    Args:
        model: The model.
        source: The file or folder that is read.
        out: The folder that is written.
        spec: What is extracted.
        quiet: Show no bar.
        truncation_warning: Warn of texts that were cut.
        **options: As for ``to_store``.

    Raises:
        NeoscopeError: As ``to_store`` does, in the words of the command line.
        KeyboardInterrupt: With a message that says how to go on.
    """
    from neoscope.export import TruncationWarning, to_store

    # Said each time, not once for every place in the code.
    warnings.simplefilter("always" if truncation_warning else "ignore", TruncationWarning)
    began = time.perf_counter()
    watch = _Watch()
    try:
        with named_layers(model, spec.layers), errors_in_options(), _bar(watch, quiet=quiet):
            report = to_store(model, source.expanduser(), out, spec, progress=watch, **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted(out, watch.now)) from None
    return _facts(report, out, time.perf_counter() - began)


def dry(
    model: HookedGPTNeo, source: Path, out: Path, spec: FeatureSpec, **options: Any
) -> Estimate:
    """Return what :func:`run` would do; the arguments are the same.

    Raises:
        NeoscopeError: As ``estimate`` does, in the words of the command line.
    """
    from neoscope.export.estimating import estimate

    with named_layers(model, spec.layers), errors_in_options():
        return estimate(model, source.expanduser(), spec, out=out, **options)


def _facts(report: ExportReport, out: Path, seconds: float) -> dict[str, Any]:
    store = report.store
    found = store.manifest
    files = [file for shard in found["shards"] for file in shard["files"].values()]
    return {
        "out": str(out),
        "file_format": found["file_format"],
        "rows": store.n_rows,
        "input_rows": found["summary"]["input_rows"],
        "resumed_rows": report.resumed_rows,
        "shards": len(found["shards"]),
        "bytes": sum(file["bytes"] for file in files),
        "written_bytes": report.nbytes,
        "tokens": report.tokens,
        "seconds": round(seconds, 3),
        "truncated": report.truncated,
        "cut_tokens": found["summary"]["cut_tokens"],
        "skipped": report.skipped,
        "nulled": report.nulled,
        "damaged": list(report.damaged),
        "columns": list(found["schema"]),
    }


@contextlib.contextmanager
def named_layers(model: HookedGPTNeo, layers: int | Sequence[int] | None) -> Iterator[None]:
    """Say what transformers calls the state that was meant, when a layer is one too high."""
    try:
        yield
    except SiteError as error:
        n = model.config.n_layers
        if n not in (layers if isinstance(layers, Sequence) else [layers]):
            raise
        raise SiteError(
            f"{error}; what transformers calls hidden_states[{n}] is --sites hidden, and its "
            "hidden_states[k] before that is resid_post of layer k - 1"
        ) from error


class _Watch:
    """Remembers how far an export is, and tells a bar."""

    def __init__(self) -> None:
        self.now: Progress | None = None
        self.bar: Any = None
        self.lines: Any = None
        self._began: tuple[float, Progress] | None = None

    def __call__(self, now: Progress) -> None:
        """Be told; from several threads, one at a time."""
        self.now = now
        clock = time.perf_counter()
        if now.tokens and self._began is None:
            # The first batch's own time is not known, so that counting begins after it.
            self._began = clock, now
        if self.bar is not None:
            self.bar.update(
                0, completed=now.rows, total=now.total_rows, said=self._said(now, clock)
            )
        if self.lines is not None:
            self.lines.total = now.total_rows
            self.lines.set_postfix_str(self._said(now, clock))
            self.lines.update(now.rows - self.lines.n)

    def _said(self, now: Progress, clock: float) -> str:
        said = [f"{human_bytes(now.nbytes)} written"]
        began, then = self._began or (clock, now)
        if clock > began and now.tokens > then.tokens:
            said.insert(0, f"{(now.tokens - then.tokens) / (clock - began):,.0f} tokens/s")
            if now.total_rows and now.rows > then.rows:
                left = (now.total_rows - now.rows) * (clock - began) / (now.rows - then.rows)
                said.insert(1, f"{duration(left)} left")
        return ", ".join(said)


@contextlib.contextmanager
def _bar(watch: _Watch, *, quiet: bool) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from neoscope.progress import Lines

    console = Console(stderr=True, quiet=quiet)
    if not (quiet or console.is_terminal):
        watch.lines = Lines(None, "row")
    columns = ("rows", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        bar.add_task("rows", total=None, said="")
        watch.bar = bar
        yield


def _interrupted(out: Path, now: Progress | None) -> str:
    from neoscope.errors import StoreError
    from neoscope.store import manifest

    goes_on = "the same command goes on"
    if now is None:
        return f"interrupted before anything was done; {goes_on}"
    try:
        shards = manifest.read(out.expanduser()).shards
    except StoreError:
        return f"interrupted before a shard was whole in {out}; {goes_on}"
    done = f"{sum(shard.stop - shard.start for shard in shards):,}"
    of = "" if now.total_rows is None else f" of {now.total_rows:,}"
    return f"interrupted; {done}{of} rows are whole in {out}; {goes_on}"


def duration(seconds: float) -> str:
    """Return e.g. ``"1.2 s"``, ``"3 min 20 s"`` or ``"2 h 5 min"``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
