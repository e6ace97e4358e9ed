"""``neoscope patch``: which parts of a model decide between two prompts, cell by cell."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neoscope.cli.options import (
    Device,
    Dtype,
    DtypeOption,
    Json,
    Model,
    Revision,
    load_model,
)
from neoscope.cli.patch import options as o
from neoscope.cli.patch import pairs as prompts

if TYPE_CHECKING:
    from neoscope.model import HookedGPTNeo
    from neoscope.patching.results.result import PatchingResult


def patch(
    model: Model = "organism",
    clean: o.Clean = None,
    corrupted: o.Corrupted = None,
    answer: o.Answer = None,
    wrong: o.Wrong = None,
    pairs: o.PairsFile = None,
    task: o.Task = None,
    n: o.Count = None,
    prepend_bos: o.PrependBos = False,
    site: o.Site = None,
    every: o.Every = False,
    layers: o.Layers = None,
    heads: o.Heads = None,
    positions: o.Positions = None,
    keys: o.Keys = None,
    units: o.Units = None,
    source: o.SourceOption = None,
    direction: o.DirectionOption = None,
    metric: o.MetricOption = o.MetricName.logit_diff,
    metric_positions: o.MetricPositions = None,
    normalised: o.Normalised = False,
    top: o.Top = 10,
    out: o.Out = None,
    seed: o.Seed = 0,
    batch_tokens: o.BatchTokens = None,
    revision: Revision = None,
    dtype: DtypeOption = Dtype.float32,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Patch every cell of a grid by itself, and show what each changes in the model's answer.

    Without prompts: the bundled model on 64 pairs of its own (--task ioi).
    """
    one = {"clean": clean, "corrupted": corrupted, "answer": answer, "wrong": wrong}
    need: dict[str, Any] = {"needed": metric.fields, "alone": source is not None}
    task = prompts.check_usage(model, one, pairs, task, n, **need)
    # An ablation asks what the clean run needs.
    way = direction or (o.Direction.noise if source else o.Direction.denoise)
    options: dict[str, Any] = {
        **_where(every, site, heads=heads, positions=positions, keys=keys, units=units),
        "layers": o.read_layers(layers),
        "metric_positions": o.read_metric_positions(metric_positions),
        "direction": way.value,
        "source": None if source is None else source.value,
        "batch_tokens": batch_tokens,
        "seed": seed,
        "prepend_bos": prepend_bos,
    }
    given = _given(task, n, seed, one, pairs, need, scaled=normalised)
    from neoscope.cli.patch import run as patch_run

    files = patch_run.targets(out, every=every)
    if not every:
        patch_run.check_site(options["site"])
    measured = patch_run.make_metric(metric, given, scaled=normalised)
    loaded = load_model(model, revision=revision, dtype=dtype, device=device, quiet=as_json)
    began = time.perf_counter()
    results = patch_run.run(loaded, given, measured, every=every, quiet=as_json, **options)
    seconds = time.perf_counter() - began
    _tell(loaded, results, files, as_json=as_json, top=top, seconds=seconds)


def _given(
    task: str | None,
    n: int | None,
    seed: int,
    one: dict[str, str | None],
    pairs: Path | None,
    need: dict[str, Any],
    *,
    scaled: bool,
) -> prompts.Given:
    """Return the prompts of a task, of the command line, or of a file."""
    if task is not None:
        return prompts.of_task(task, n, seed)
    given = prompts.of_options(one) if pairs is None else prompts.read_file(pairs, **need)
    if scaled and given.corrupted is None:
        raise typer.BadParameter("--normalised needs corrupted prompts: its 0 is their run")
    return given


def _tell(
    loaded: HookedGPTNeo,
    results: dict[str, PatchingResult],
    files: Mapping[str, Path],
    *,
    as_json: bool,
    top: int,
    seconds: float,
) -> None:
    """Save what was found, and show it.

    Raises:
        KeyboardInterrupt: The run was interrupted; all that was done is saved and shown.
    """
    from neoscope.cli.patch import run as patch_run
    from neoscope.cli.patch import show as patch_show

    if as_json:
        patch_run.save(results, files)
        patch_show.show_json(results, files, top=top, seconds=seconds)
    else:
        patch_show.show(loaded, results, top=top, seconds=seconds)
        patch_run.save(results, files)
        patch_show.show_files(files)
    if said := patch_run.interruption(results, files):
        raise KeyboardInterrupt(said)


def _where(every: bool, site: str | None, **axes: str | None) -> dict[str, Any]:
    """Return what is patched, but for layers, as the sweep takes it."""
    if every:
        given = {"site": site, **axes}
        for name, value in given.items():
            if value is not None:
                raise typer.BadParameter(
                    f"--{name} is for a sweep of one site; --every has sites and places of its own"
                )
        return {}
    return {
        "site": site or "resid_pre",
        "heads": o.read_heads(axes["heads"]),
        "positions": o.read_places(axes["positions"], "--positions"),
        "keys": o.read_keys(axes["keys"]),
        "units": o.read_units(axes["units"]),
    }
