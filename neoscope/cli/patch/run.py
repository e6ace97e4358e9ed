"""Running ``neoscope patch``: its metric, its bar, its files, and what Ctrl-C leaves."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.cli.patch.options import MetricName
from neoscope.cli.patch.pairs import Given
from neoscope.cli.patch.words import errors_in_options
from neoscope.errors import PatchingError

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo
    from neoscope.patching.engine.progress import Progress
    from neoscope.patching.metrics import Metric
    from neoscope.patching.results.result import PatchingResult

_SUFFIXES = (".json", ".parquet")
Results = dict[str, "PatchingResult"]
"""By name, "" where there is only one."""


def targets(out: Path | None, *, every: bool) -> dict[str, Path]:
    """Return the files to write by the name of what they hold; checked before anything is run.

    Args:
        out: As asked for.
        every: Two results are to be written.

    Raises:
        PatchingError: One cannot be written, or is something that is no result.
    """
    if out is None:
        return {}
    out = out.expanduser()
    folder = out.absolute().parent
    if out.is_dir():
        raise PatchingError(f"cannot write {out}: it is a folder; name a file, e.g. result.json")
    if out.suffix.lower() not in _SUFFIXES:
        raise PatchingError(f"cannot write {out}: its name must end in {' or '.join(_SUFFIXES)}")
    if not folder.is_dir():
        raise PatchingError(f"cannot write {out}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PatchingError(f"cannot write {out}: no permission to write in {folder}")
    parts = ("stream", "heads")
    found = {part: out.with_stem(f"{out.stem}-{part}") for part in parts} if every else {"": out}
    for path in found.values():
        if path.exists():
            _check_replaceable(path)
    return found


def _check_replaceable(path: Path) -> None:
    from neoscope.patching.results.result import PatchingResult

    try:
        PatchingResult.load(path)
    except PatchingError as error:
        raise PatchingError(
            f"cannot write {path}: something that is no result of neoscope's is there already; "
            "choose another name, or remove it"
        ) from error


def check_site(site: str) -> None:
    """Check that a site can be patched, before a model is loaded.

    Raises:
        SiteError: It cannot; the message names the nearest one.
    """
    from neoscope.patching.engine.cells import read_site

    with errors_in_options():
        read_site(site)


def make_metric(name: MetricName, given: Given, *, scaled: bool) -> Metric:
    """Return the metric that the options mean.

    Args:
        name: Which.
        given: Its answers.
        scaled: Whether 0 shall be the corrupted and 1 the clean run.
    """
    from neoscope.patching import metrics

    made: Callable[..., Metric] = getattr(metrics, name.name)
    metric = made(*(getattr(given, field) for field in name.fields))
    return metrics.normalised(metric) if scaled else metric


def run(
    model: HookedGPTNeo, given: Given, metric: Metric, *, every: bool, quiet: bool, **options: Any
) -> Results:
    """Sweep, with a bar on a terminal; Ctrl-C ends with what is done.

    Args:
        model: The model.
        given: The prompts.
        metric: What is measured.
        every: The first look, instead of one site.
        quiet: Show no bar.
        **options: As for ``sweep``, or ``every``.

    Raises:
        NeoscopeError: As the sweep does, in the words of the command line.
        KeyboardInterrupt: Nothing was done yet.
    """
    from neoscope.patching.sweeps.first_look import every as sweep_every
    from neoscope.patching.sweeps.sweeping import sweep

    prompts = given.clean, given.corrupted, metric
    try:
        with warnings.catch_warnings(), errors_in_options(given), _bar(quiet=quiet) as progress:
            # It is said at the end, beside the file that holds what was done.
            warnings.filterwarnings("ignore", message="interrupted: ")
            options["progress"] = progress
            if every:
                both = sweep_every(model, *prompts, **options)
                return {"stream": both.stream, "heads": both.heads}
            return {"": sweep(model, *prompts, **options)}
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted before a cell was done; nothing was written") from None


def save(results: Results, files: Mapping[str, Path]) -> None:
    """Write each result to its file."""
    for name, path in files.items():
        results[name].save(path)


def interruption(results: Results, files: Mapping[str, Path]) -> str | None:
    """Return what to say of a sweep that was interrupted; None for one that was not."""
    import numpy as np

    if all(result.complete for result in results.values()):
        return None
    done = sum(int(np.isfinite(result.patched).sum()) for result in results.values())
    total = sum(result.patched.size for result in results.values())
    names = " and ".join(map(str, files.values()))
    kept = f"; {names} hold{'s' * (len(files) == 1)} what is done, the rest is NaN" if names else ""
    return f"interrupted; {done:,} of {total:,} patched runs are done{kept}"


def done_cells(results: Results) -> tuple[int, int]:
    """Return how many cells are measured, in one pair at least, and how many there are."""
    import numpy as np

    counts = [np.isfinite(result.mean) for result in results.values()]
    return sum(int(x.sum()) for x in counts), sum(x.size for x in counts)


@contextlib.contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, quiet=quiet)
    columns = ("patched runs", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task("runs", total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.total)
