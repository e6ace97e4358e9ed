"""demo: everything neoscope does, once, on one model, in a folder to look at.

``demo.run()`` is what ``neoscope demo`` prints.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoscope.demo.folder import check, making
from neoscope.demo.result import Demo, Step
from neoscope.errors import ArgumentError
from neoscope.indices import whole

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo

    GivenModel = str | os.PathLike[str] | HookedGPTNeo
    GivenPath = str | os.PathLike[str]
else:
    GivenModel = GivenPath = Any

__all__ = ["STEPS", "Demo", "Step", "check", "run"]

STEPS: Mapping[str, str] = {
    "load": "load the model",
    "cache": "cache every layer of a text",
    "heads": "find the induction heads",
    "patch": "patch: which heads know who is given something",
    "probe": "probe every layer, beside control task and random twin",
    "export": "export features of sentences",
    "classifier": "train a classifier on the exported table",
    "figures": "draw figures",
    "report": "write the report",
}
"""Names and titles of all steps, in order."""
_FEWEST = 50


def run(
    model: GivenModel = "organism",
    out: GivenPath = "demo",
    *,
    seed: int = 0,
    n: int = 1000,
    n_pairs: int | None = None,
    progress: bool | Callable[[int, int], None] = True,
    finished: Callable[[Step], None] | None = None,
    **loading: Any,
) -> Demo:
    """Cache, find heads, patch, probe, export, classify, draw and report, on one model.

    Args:
        model: A bundled model, a hub id, a folder, or a model that is loaded.
        out: The folder to write. An earlier demonstration in it is replaced once the new one is
            whole; anything else is refused. What is interrupted leaves nothing.
        seed: Of every choice.
        n: Sentences exported.
        n_pairs: Pairs of prompts that are patched; default 256 for a small model, else 16.
        progress: True for a bar after two seconds, False for none, or a function of how many steps
            are done and how many there are.
        finished: Called with every step when it is done.
        **loading: What :func:`neoscope.load` takes: ``revision``, ``dtype``, ``device``.

    Raises:
        ArgumentError: The folder holds something else or cannot be written, or a number means
            nothing.
        CheckpointError: The model cannot be found.

    Example:
        >>> import tempfile, neoscope as ns
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = ns.demo.run(out=folder + "/demo", n=100, n_pairs=8, progress=False)
        ...     found.step("patch").facts["heads"][0]["head"]
        '3.2'
    """
    from neoscope.progress import Progress

    for name, value, least in (("n", n, _FEWEST), ("n_pairs", n_pairs, 2)):
        number = whole(value)
        if value is not None and (number is None or number < least):
            raise ArgumentError(f"{name}={value!r}; expected a whole number of at least {least}")
    target = Path(out).expanduser().absolute()
    done: list[Step] = []
    with making(target) as folder, Progress(progress, len(STEPS), "step") as bar:

        def finish(step: Step) -> None:
            done.append(step)
            bar.update()
            if finished is not None:
                finished(step)

        failed = _all(model, folder, seed, n, n_pairs, loading, finish)
    return Demo(_name(model), Path(out), tuple(done), failed)


def _all(
    model: Any, folder: Path, seed: int, n: int, n_pairs: int | None, loading: Any, finish: Any
) -> tuple[str, ...]:
    """Do everything in a folder, and return the sections of the report that failed."""
    began = time.perf_counter()
    steps = importlib.import_module("neoscope.demo.steps")
    from neoscope.loading import load
    from neoscope.views.report import Report
    from neoscope.views.report.parts import Unavailable
    from neoscope.views.report.study import Study, calm

    loaded = load(model, **loading) if isinstance(model, str | os.PathLike) else model
    study = Study(loaded, seed=seed, n_pairs=n_pairs)
    finish(Step("load", STEPS["load"], time.perf_counter() - began, (repr(loaded),)))
    with calm(loaded):
        for name, title in list(STEPS.items())[1:-1]:
            began = time.perf_counter()
            try:
                found = getattr(steps, name)(study, folder, n)
            except Unavailable as why:
                found = {"lines": (f"left out: {why}",), "facts": {"left_out": str(why)}}
            finish(Step(name, title, time.perf_counter() - began, **found))
    began = time.perf_counter()
    report = Report(loaded, study=study, progress=False)
    path = report.save(folder / "report.html")
    lines = [f"{len(report.sections)} sections, {path.stat().st_size / 1e6:.1f} MB: report.html"]
    lines += [f"section {one.name} failed: {one.note}" for one in report.sections
              if one.status == "failed"]  # fmt: skip
    facts = {"bytes": path.stat().st_size, "sections": {x.name: x.status for x in report.sections}}
    finish(Step("report", STEPS["report"], time.perf_counter() - began, tuple(lines), facts=facts))
    return report.failed


def _name(model: Any) -> str:
    return str(model) if isinstance(model, str | os.PathLike) else str(model.cfg.model_name)
