"""What ``neoscope eval`` runs: local tasks made, tasks measured, what was found told."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.evaluate.options import flag

if TYPE_CHECKING:
    from neoscope.evaluate.comparing import Comparison
    from neoscope.evaluate.result import Evaluation
    from neoscope.model import HookedGPTNeo


def local_tasks(
    files: Sequence[Path],
    kind: str | None,
    name: str | None,
    columns: dict[str, str],
    answering: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Make tasks of files; options of generated answers are for those that have any.

    Raises:
        typer.BadParameter: There are such options, and no file has any.
    """
    from neoscope.evaluate.local_rows import kind_of
    from neoscope.evaluate.local_tasks import local_task

    kinds = [kind_of(path.expanduser(), columns) if kind is None else kind for path in files]
    if answering and "generate" not in kinds:
        raise typer.BadParameter(
            f"{flag(answering)} is for generated answers, and {files[0]} holds {kinds[0]}"
        )
    return [
        local_task(path, one, name=name, columns=columns,
                   **(answering if one == "generate" else {}))
        for path, one in zip(files, kinds, strict=True)
    ]  # fmt: skip


def measured(
    model: HookedGPTNeo, tasks: Any, *, compare: bool, quiet: bool, **options: Any
) -> tuple[Evaluation | Comparison, float]:
    """Run the tasks, with a line on stderr, if that is a terminal, that says how far it is.

    Returns:
        What was measured, and the seconds that it took.
    """
    from rich.console import Console

    from neoscope.evaluate.comparing import compare as compared
    from neoscope.evaluate.running import evaluate

    began = time.perf_counter()
    if compare:
        del options["samples"]
    with warnings.catch_warnings():
        # An interruption is told at the end, after what was measured.
        warnings.filterwarnings("ignore", message="interrupted: ", category=UserWarning)
        with Console(stderr=True, quiet=quiet).status("finding and reading the tasks") as status:

            def progress(done: int, total: int) -> None:
                status.update(f"answered {done:,} of {total:,} requests")

            run: Any = compared if compare else evaluate
            found: Evaluation | Comparison = run(model, tasks, progress=progress, **options)
    return found, time.perf_counter() - began


def tell(
    found: Evaluation | Comparison,
    out: Path | None,
    samples: Path | None,
    *,
    as_json: bool,
    seconds: float,
) -> None:
    """Save what was measured, and show it.

    Raises:
        KeyboardInterrupt: The run was interrupted; all that was done is saved and shown.
    """
    from neoscope.cli.evaluate import show as evaluate_show
    from neoscope.evaluate.result import Evaluation
    from neoscope.evaluate.samples import write_samples

    written = [] if out is None else [found.save(out)]
    if samples is not None and isinstance(found, Evaluation):
        written.append(write_samples(found.samples, samples))
    if as_json:
        evaluate_show.show_json(found, out, samples, seconds=seconds)
    else:
        evaluate_show.show(found, written, seconds=seconds)
    if found.left:
        kept = f"; {written[0]} holds the tasks that were done" if written else ""
        raise KeyboardInterrupt(f"interrupted before {', '.join(found.left)}{kept}")
