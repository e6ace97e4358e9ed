"""Saves that are killed: run as a script, so that its children inherit what is saved by fork.

    python killed_saves.py FOLDER

Saves one thing of every kind, then another over it, in a process that is killed before each of the
calls that change what is on disk. Prints as JSON, for each kind, what was read after each kill.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import neoscope as ns
import probes
from neoscope import analysis, organism, patching, views
from neoscope.analysis import TunedLens

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")


@dataclass(frozen=True)
class Kind:
    """Something that is saved: two of it, and how it is written and read."""

    file: str
    old: Any
    new: Any
    load: Callable[[Path], Any]
    save: Callable[[Any, Path], object] = lambda thing, path: thing.save(path)


def kinds() -> dict[str, Kind]:
    """Two small ones of everything that neoscope and probes save."""
    model = ns.load("organism")
    pairs = organism.pairs("ioi", n=2)
    metric = patching.logit_diff(pairs.answer, pairs.wrong)
    texts = [sentence.text for sentence in organism.sentences("filler", 12, seed=0)]

    def swept(layer: int) -> Any:
        return patching.sweep(model, pairs.clean, pairs.corrupted, metric, layers=layer,
                              positions=[-1], progress=False)  # fmt: skip

    def attributed(steps: int) -> Any:
        return patching.attribution(model, pairs.clean, pairs.corrupted, metric, steps=steps,
                                    progress=False)  # fmt: skip

    scores = [patching.eap_ig(model, pairs.clean, pairs.corrupted, metric, steps=n, progress=False)
              for n in (1, 2)]  # fmt: skip
    caches = [model.run_with_cache(text)[1] for text in texts[:2]]
    lenses = [TunedLens.train(model, texts, steps=n, held_out=0, progress=False) for n in (1, 2)]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6)), np.arange(40) % 2
    fitted = [probes.LogisticProbe().fit(x + i * y[:, None], y) for i in (0, 1)]
    erasers = [probes.fit_leace(x[:, :n], y) for n in (5, 6)]
    written = [model.generate(texts[i], max_new_tokens=2, return_type="result", progress=False)
               for i in (0, 1)]  # fmt: skip
    scrubbed = [probes.Scrubbing("resid_post", {1: one, 2: one}) for one in erasers]
    data = probes.ProbeData({probes.Place("resid_post", 1): x}, y, np.arange(40))
    found = [probes.sweep(data, n_bootstrap=5, controls=False, seed=seed) for seed in (0, 1)]
    looks = [analysis.heads(model, n=n, progress=False) for n in (2, 3)]
    return {
        "cache": Kind("run.safetensors", *caches, ns.ActivationCache.load),
        "sweep, JSON": Kind("sweep.json", swept(0), swept(1), patching.PatchingResult.load),
        "sweep, Parquet": Kind("sweep.parquet", swept(0), swept(1), patching.PatchingResult.load),
        "attribution": Kind("a.safetensors", attributed(1), attributed(2), patching.load),
        "edges": Kind("edges.safetensors", *scores, patching.load),
        "circuit": Kind("circuit.json", scores[0].circuit(5), scores[1].circuit(9), patching.load),
        "lens": Kind("lens.safetensors", *(analysis.logit_lens(c, model) for c in caches),
                     analysis.load),
        "tuned lens": Kind("tuned", *lenses, TunedLens.load,
                           lambda lens, path: lens.save(path, overwrite=True)),
        "probe": Kind("probe", *fitted, probes.load),
        "eraser": Kind("eraser", *erasers, probes.Eraser.load),
        "generated": Kind("said.json", *written, type(written[0]).load),
        "scrubbing": Kind("scrubbing", *scrubbed, probes.Scrubbing.load),
        "probes of a sweep": Kind("sweep", *found, probes.SweepResult.load),
        "heads": Kind("heads.safetensors", *looks, analysis.load),
        "figure": Kind("heads.json", *map(views.heads, looks), lambda path: path.read_bytes(),
                       views.save),
    }  # fmt: skip


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a folder, or the one file."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(f.relative_to(path)): f.read_bytes() for f in files if f.is_file()}


def killed_before(call: int, folder: Path, work: Callable[[], object]) -> bool:
    """Work in a forked process, killed before its nth change in the folder; False if it ended."""
    child = os.fork()
    if not child:
        calls = 0

        def count(event: str, args: tuple[Any, ...]) -> None:
            nonlocal calls
            if event in CHANGES and str(args[0]).startswith(str(folder)):
                calls += 1
                if calls == call:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the child ended with {status}"
    return status != 0


def after_kills(kind: Kind, folder: Path) -> list[str]:
    """What could be read after each kill: "old", "new", or what is wrong."""
    same: dict[str, dict[str, bytes]] = {}
    for name, thing in (("old", kind.old), ("new", kind.new)):
        (folder / name).mkdir(parents=True)
        kind.save(thing, folder / name / kind.file)
        same[name] = contents(folder / name / kind.file)
    assert same["old"] != same["new"]
    found = []
    for call in range(1, 100):
        at = folder / str(call)
        shutil.copytree(folder / "old", at)
        path = at / kind.file
        killed = killed_before(call, at, lambda path=path: kind.save(kind.new, path))
        found.append(_read(kind, path, same, at / "again"))
        kind.save(kind.new, path)  # what was left behind is in nobody's way
        found[-1] += "" if _read(kind, path, same, at / "at last") == "new" else ", for good"
        if not killed:
            return found
    raise AssertionError("the save never ended")


def _read(kind: Kind, path: Path, same: dict[str, dict[str, bytes]], again: Path) -> str:
    try:
        loaded = kind.load(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(loaded, bytes):
        written = {".": loaded}
    else:
        again.mkdir()
        kind.save(loaded, again / kind.file)
        written = contents(again / kind.file)
    return next((name for name, bytes_ in same.items() if bytes_ == written), "a mixture")


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    root = Path(sys.argv[1])
    told = {name: after_kills(kind, root / name) for name, kind in kinds().items()}
    sys.stdout.write(json.dumps(told))
