"""Patching sweeps and EAP-IG against TransformerLens on a 125M-shaped model.

TransformerLens runs on its own bridge, or on our model where the bridge cannot: its pattern is a
copy that nothing reads, and it has no edges. Our time includes both unpatched runs and the result
with its axes; theirs begins with the clean run in its cache. Where a sweep takes TransformerLens
long it runs an even part of the cells, and its time is scaled up; the unit says so. "Of matrix
rate" is the time that the exact answer's own multiply-adds take at that rate, over ours.
"""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neoscope import HookedGPTNeo
from neoscope.patching.gradient.edges import eap_ig
from neoscope.patching.metrics import logit_diff
from neoscope.patching.results.result import PatchingResult
from neoscope.patching.sweeps.sweeping import sweep
from tests.benchmarks import checkpoint
from tests.benchmarks.harness import Contest, Figure, Settings, difference
from tests.benchmarks.patching_bound import Shape, eap_ig_flops, sweep_flops
from tests.benchmarks.patching_peers import Edges, Prompts, Sweep

_EXACT = 1e-5
_STEPS = 5
_TWO, _FROM_ONE = (4, 9), tuple(range(1, 15))
# name, site, each position by itself, tokens, where the prompts differ, pairs, stride, rounds
_SWEEPS = (
    ("resid_pre", "resid_pre", True, 15, _TWO, 1, 1, 3),
    ("resid_pre, 8 pairs", "resid_pre", True, 15, _TWO, 8, 7, 3),
    ("resid_pre, all but the first", "resid_pre", True, 15, _FROM_ONE, 1, 7, 3),
    ("resid_pre, all but the first, 8 pairs", "resid_pre", True, 15, _FROM_ONE, 8, 7, 3),
    ("z, all positions", "z", False, 15, _TWO, 1, 7, 3),
    ("z, all positions, 8 pairs", "z", False, 15, _TWO, 8, 7, 3),
    ("z, by position", "z", True, 15, _TWO, 1, 53, 3),
    ("q, all positions", "q", False, 15, _TWO, 1, 7, 3),
    ("k, all positions", "k", False, 15, _TWO, 1, 7, 3),
    ("v, all positions", "v", False, 15, _TWO, 1, 7, 3),
    ("pattern, all positions", "pattern", False, 15, _TWO, 1, 7, 3),
    ("resid_pre, 100 positions", "resid_pre", True, 100, _TWO, 1, 29, 2),
)
_BUDGETS = (1024, 4096)
_HEADS = (1, 3, 12)


def rows(settings: Settings) -> Iterator[Contest | Figure]:
    """Yield every row; the models are dropped after the last."""
    with checkpoint.random_checkpoint(settings) as folder:
        ours = checkpoint.load_ours(folder, settings)
        bridge = checkpoint.load_bridge(folder, settings)
        for name, site, each, n_tokens, differing, n_pairs, stride, rounds in _SWEEPS:
            prompts = Prompts.make(ours, n_pairs, n_tokens, differing)
            model = ours if site == "pattern" else bridge
            peer = Sweep(model, prompts, site, each, 1 if settings.quick else stride)
            yield _contest(name, ours, peer, rounds)
        del bridge
        yield _edges(ours, Prompts.make(ours, 1, 15, _TWO))
        yield from _growth(ours, settings)
        yield from _memory(folder, settings)


def _swept(model: HookedGPTNeo, prompts: Prompts, site: str, each: bool) -> PatchingResult:
    return sweep(
        model,
        prompts.clean,
        prompts.corrupted,
        logit_diff(prompts.answer.tolist(), prompts.wrong.tolist()),
        site,
        positions=None if each else "all",
        progress=False,
    )


def _contest(name: str, ours: HookedGPTNeo, peer: Sweep, rounds: int) -> Contest:
    prompts = peer.prompts
    work = partial(_swept, ours, prompts, peer.site, peer.each_position)
    cells, (n_pairs, n_tokens) = len(peer.cells), prompts.clean.shape
    unit = f"{cells} cells, {n_pairs} x {n_tokens} tokens"
    if peer.stride > 1:
        unit += f"; theirs {round(cells / peer.fold)} of them x {peer.fold:.2f}"
    where = "TransformerLens" + " on our model" * (peer.model is ours)
    return Contest(
        name,
        unit,
        work,
        {where: peer},
        partial(_error, work, peer),
        _EXACT,
        sweep_flops(
            Shape.of(ours.config), prompts.differs, peer.site, each_position=peer.each_position
        ),
        folds={where: peer.fold},
        rounds=rounds,
    )


def _error(work: Callable[[], PatchingResult], peer: Sweep) -> float:
    """Largest difference of a patched metric, relative to its largest value."""
    found = peer.same_cells(torch.from_numpy(work().patched))
    theirs = peer().cpu().double()
    largest = (theirs - peer.corrupted().cpu()).abs().max() / theirs.abs().max()
    assert largest > 100 * _EXACT, "no cell moves the metric enough to tell right from wrong"
    return difference(found, theirs)


# ---- edges ------------------------------------------------------------------------------------


def _edges(ours: HookedGPTNeo, prompts: Prompts) -> Contest:
    peer = Edges(ours, prompts, _STEPS)

    def scores(steps: int) -> Tensor:
        metric = logit_diff(prompts.answer.tolist(), prompts.wrong.tolist())
        # The harness times under inference mode, in which there are no gradients.
        with torch.inference_mode(False):
            found = eap_ig(ours, prompts.clean, prompts.corrupted, metric, steps=steps)
        return torch.from_numpy(np.nan_to_num(found.mean))

    def error() -> float:
        """Of one step against its function, and of all against EAP-IG made from its parts."""
        single = peer.matrix(peer.repeated())
        return max(
            difference(scores(1), single),
            difference(scores(_STEPS), peer.matrix(peer.integrated())),
        )

    return Contest(
        "EAP-IG, all edges",
        f"{_STEPS} steps, 1 x {prompts.clean.shape[1]} tokens; theirs one step {_STEPS} times",
        partial(scores, _STEPS),
        {
            "TransformerLens on our model": peer.repeated,
            "EAP-IG of its parts": peer.integrated,
        },
        error,
        _EXACT,
        eap_ig_flops(Shape.of(ours.config), prompts.differs, _STEPS),
        rounds=2,
    )


# ---- growth -----------------------------------------------------------------------------------


def _growth(ours: HookedGPTNeo, settings: Settings) -> Iterator[Figure]:
    """Cells that cost alike: the same layers, all positions, more and more heads."""
    prompts = Prompts.make(ours, 1, 15, _TWO)
    counts = [n for n in _HEADS if n < ours.config.n_heads] + [ours.config.n_heads]
    for n in counts:
        cells = ours.config.n_layers * n
        each = partial(_time_a_cell, ours, prompts, [n], settings)
        yield Figure(f"time a cell, z, {cells} cells", "ms", lambda each=each: 1e3 * each()[0])

    def falls() -> float:
        few, many = _time_a_cell(ours, prompts, [counts[0], counts[-1]], settings)
        return many / few

    most = ours.config.n_layers * counts[-1]
    yield Figure(f"time a cell, {most} cells / {ours.config.n_layers}", "ratio", falls)


def _time_a_cell(
    ours: HookedGPTNeo, prompts: Prompts, heads: Sequence[int], settings: Settings
) -> list[float]:
    """Median seconds a cell with so many heads of every layer, the counts taking turns."""
    metric = logit_diff(prompts.answer.tolist(), prompts.wrong.tolist())
    times: dict[int, list[float]] = {n: [] for n in heads}
    for turn in range(settings.rounds(5) + 1):
        for n in heads:
            start = time.perf_counter()
            sweep(
                ours, prompts.clean, prompts.corrupted, metric, "z", heads=list(range(n)),
                positions="all", progress=False,
            )  # fmt: skip
            if turn:  # the first warms up
                times[n].append(time.perf_counter() - start)
    return [statistics.median(times[n]) / (n * ours.config.n_layers) for n in heads]


# ---- memory -----------------------------------------------------------------------------------

_CHILD = """
import sys
import torch
torch.set_num_threads(int(sys.argv[4]))
from neoscope import HookedGPTNeo
from neoscope.patching.metrics import logit_diff
from neoscope.patching.sweeps.sweeping import sweep
model = HookedGPTNeo.from_pretrained(sys.argv[1])
n, budget = int(sys.argv[2]), int(sys.argv[3])
clean = torch.randint(model.config.d_vocab, (1, n), generator=torch.Generator().manual_seed(0))
corrupted = clean.clone()
corrupted[:, [4, 9]] = (clean[:, [4, 9]] + 1) % model.config.d_vocab
def run(**options):
    sweep(model, clean, corrupted, logit_diff(1, 2), progress=False, batch_tokens=budget, **options)
run(layers=model.config.n_layers - 1, positions=n - 1)
def memory(name):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # begin the high-water mark anew: loading has left one
before = memory("VmRSS")
run()
print(memory("VmHWM") - before)
"""


def _memory(folder: Path, settings: Settings) -> Iterator[Figure]:
    """What a sweep of 100 positions takes beside the model, its libraries and one cell's sweep."""
    for budget in _BUDGETS:
        peak = partial(_peak, folder, 100, budget, settings)
        unit = f"MB, resid_pre, 100 positions, budget {budget:,} tokens"
        yield Figure(f"peak memory, {budget:,}", unit, lambda peak=peak: peak() / 1e6)
    few, many = _BUDGETS

    def a_token() -> float:
        more = _peak(folder, 100, many, settings) - _peak(folder, 100, few, settings)
        return more / (many - few) / 1e3

    yield Figure("memory of one more token of budget", "kB", a_token)


@functools.cache
def _peak(folder: Path, n_tokens: int, budget: int, settings: Settings) -> float:
    if settings.device != "cpu" or not Path("/proc/self/clear_refs").exists():
        return float("nan")
    words = [str(folder), str(n_tokens), str(budget), str(settings.threads)]
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD, *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(child.stdout)
