"""Logit lens against TransformerLens's, and tuned-lens training against tuned-lens's loop.

The lens reads a cache that is there already: every layer at every position, its top tokens and its
KL to the output; ours also finds entropy, the next token's rank and the calibration. One step of
training is one pass of the model and KL and gradient of all layers. The arithmetic bound of both is
the product with the vocabulary: "of matrix rate" is the share of it.

Memory is how far a process's peak grows above what it held with the cache made and both functions
called once on a short text, each in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from neoscope import HookedGPTNeo
from neoscope.analysis.lens.reading import logit_lens
from neoscope.analysis.lens.result import LensResult
from neoscope.analysis.tuned.data import Pieces, streams
from neoscope.analysis.tuned.gradient import Objective
from neoscope.analysis.tuned.job import Job
from neoscope.analysis.tuned.settings import Settings as Training
from neoscope.analysis.tuned.training import new_card
from tests.benchmarks import checkpoint, memory
from tests.benchmarks.harness import Contest, Figure, Settings, difference
from tests.benchmarks.lens_peers import Loop, at_once, by_layer

_EXACT = 1e-4
# Under bfloat16 two right answers differ by their rounding; ours may be this much farther from
# float32 than the peer's is.
_HALF = 1.25
_TOKENS = 512
Precision: TypeAlias = Literal["float32", "bfloat16"]


def rows(settings: Settings) -> Iterator[Contest | Figure]:
    """Yield every row."""
    with checkpoint.random_checkpoint(settings) as folder:
        ours = checkpoint.load_ours(folder, settings)
        yield _lens_row(ours, settings)
        for name in ("by_layer", "at_once"):
            share = partial(_memory_share, folder, name, settings)
            said = name.replace("_", " ")
            yield Figure(f"logit lens, peak memory / TransformerLens's, {said}", "", share)
        yield _training_row(ours, folder, settings, "float32")
        yield _training_row(ours, folder, settings, "bfloat16")


def _ids(model: HookedGPTNeo, settings: Settings, n: int = _TOKENS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    n = min(n, 48) if settings.quick else n
    return torch.randint(model.config.d_vocab, (1, n), generator=generator)


def _lens_row(ours: HookedGPTNeo, settings: Settings) -> Contest:
    ids = _ids(ours, settings)
    with torch.inference_mode():
        _, cache = ours.run_with_cache(ids, sites=["resid_pre", "resid_post"], return_type=None)
    theirs = cache.to_transformer_lens(ours)
    c = ours.config

    def error() -> float:
        """Of top log-probabilities and KL."""
        mine: LensResult = logit_lens(cache)
        top, kl = by_layer(theirs)
        found = torch.tensor(mine.top_probability).log()
        return max(difference(found, top[:, 0]), difference(torch.tensor(mine.kl), kl[:, 0]))

    layers = c.n_layers + 1
    return Contest(
        "logit lens, top 10 and KL",
        f"{layers} layers x {ids.shape[1]} positions",
        partial(logit_lens, cache),
        {
            "TransformerLens, by layer": partial(by_layer, theirs),
            "TransformerLens, at once": partial(at_once, theirs),
        },
        error,
        _EXACT,
        2.0 * layers * ids.shape[1] * c.d_model * c.d_vocab,
        rounds=3,
    )


def _training_row(
    ours: HookedGPTNeo, folder: Path, settings: Settings, precision: Precision
) -> Contest:
    ids = _ids(ours, settings)
    half = precision == "bfloat16"
    loop = Loop(checkpoint.load_transformers(folder, settings), half=half)

    def error() -> float:
        """Of the losses of the first two steps; or how much farther off ours are than theirs."""
        mine, theirs = _OurSteps(ours, ids, precision), Loop(loop.model, half=half)
        found, other = ([step() for _ in range(2)][-1] for step in (mine, partial(theirs, ids)))
        if not half:
            return difference(torch.tensor(found), torch.tensor(other))
        exact = _OurSteps(ours, ids, "float32")
        goal = torch.tensor([exact() for _ in range(2)][-1])
        return difference(torch.tensor(found), goal) / difference(torch.tensor(other), goal)

    c, n = ours.config, ids.shape[1]
    return Contest(
        f"tuned-lens training, {precision}",
        f"{n} tokens",
        _OurSteps(ours, ids, precision),
        {"tuned-lens's loop": partial(loop, ids)},
        error,
        _HALF if half else _EXACT,
        4.0 * c.n_layers * n * c.d_model * c.d_vocab,
        precision,
        rounds=3,
    )


class _OurSteps:
    """Steps of our training, without the files."""

    def __init__(self, model: HookedGPTNeo, ids: torch.Tensor, precision: str) -> None:
        settings = Training(
            10_000, 1, ids.numel(), "sgd", 1.0, 0.9, 1e-3, 1.0, False, precision, 0, False, 0
        )
        self.batch = [ids[0].numpy()]
        pieces = Pieces(tuple(self.batch))
        self.job = Job(model, pieces, settings, new_card(model, pieces, settings))
        self.objective = Objective(model, precision)

    def __call__(self) -> list[float]:
        """Take a step and return each layer's loss."""
        self.job.take(self.objective, streams(self.job.model, self.batch))
        losses: list[float] = self.job.card["losses"][-1]
        return losses


def _memory_share(folder: Path, name: str, settings: Settings) -> float | None:
    """Our growth of the peak over theirs."""
    if settings.quick or memory.begin() is None:
        return None
    grown: dict[str, int] = {}
    for which in ("ours", name):
        command = [sys.executable, "-m", "tests.benchmarks.lens", str(folder), which]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown[which] = json.loads(done.stdout.splitlines()[-1])
    print(f"bytes above the cache: {grown}", file=sys.stderr)
    return grown["ours"] / grown[name]


def _grown(folder: Path, which: str) -> int:
    """Bytes by which this process's peak grows."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    model = checkpoint.load_ours(folder, settings)
    known: dict[str, Any] = {"ours": logit_lens, "by_layer": by_layer, "at_once": at_once}
    work = known[which]
    with torch.inference_mode():
        for n in (8, _TOKENS):
            ids = _ids(model, settings, n)
            _, cache = model.run_with_cache(ids, sites=["resid_pre", "resid_post"])
            given: Any = cache if which == "ours" else cache.to_transformer_lens(model)
            before = memory.begin()
            assert before is not None
            kept = work(given)
            grown = memory.peak() - before
            del kept
    return grown


if __name__ == "__main__":
    print(json.dumps(_grown(Path(sys.argv[1]), sys.argv[2])))
