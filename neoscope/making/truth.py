"""``python -m neoscope.making.truth``: measure a trained organism and write its truth card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from neoscope.errors import ArgumentError, CheckpointError, NeoscopeError
from neoscope.model import HookedGPTNeo
from neoscope.organism.compiled.truth import check_count
from neoscope.organism.language import PAIRED, Pairs, pairs
from neoscope.organism.language.corpus import check_task
from neoscope.organism.language.vocabulary import vocabulary
from neoscope.organism.truth import card
from neoscope.organism.truth.progress import Progress

_SEED = 0
_WEIGHTS = "model.safetensors"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m neoscope.making.truth",
        description="Measure what a trained organism does, by plain activation patching with one "
        "forward for each cell, and write it down. Takes some twenty minutes on one core.",
    )
    parser.add_argument("folder", type=Path, help="checkpoint of the organism")
    parser.add_argument(
        "seeds", type=Path, nargs="*", help="checkpoints trained from other seeds, to compare"
    )
    parser.add_argument("--pairs", type=int, default=256, help="pairs of prompts (default 256)")
    parser.add_argument(
        "--tasks", default=",".join(PAIRED), help="with commas between (default all)"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help=f"the card (default {card.NAME} in FOLDER)"
    )
    parser.add_argument("--threads", type=int, default=None, help="of the processor")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _load(folder: Path) -> HookedGPTNeo:
    # Checked here, because a folder that is not there would be looked for on the hub.
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder")
    if not (folder / _WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: holds no {_WEIGHTS}")
    model = HookedGPTNeo.from_pretrained(folder)
    if model.config.d_vocab != len(vocabulary()):
        raise ArgumentError(
            f"{folder}: a vocabulary of {model.config.d_vocab}; expected the organism's, of "
            f"{len(vocabulary())}"
        )
    return model


def _same_shape(folders: Sequence[Path], models: Sequence[HookedGPTNeo]) -> None:
    for folder, model in zip(folders, models, strict=True):
        if model.config != models[0].config:
            raise ArgumentError(f"{folder}: another shape than {folders[0]}")


def _measure(
    folder: Path, model: HookedGPTNeo, tasks: Mapping[str, Pairs], progress: Progress, full: bool
) -> dict[str, Any]:
    """Measure one model, and say how long each part took."""
    began: list[tuple[str, float]] = []

    def finish() -> None:
        if began:
            label, start = began[-1]
            _say(f"{folder.name}: {label} took {progress.elapsed - start:.1f} s")

    def step(label: str) -> Callable[[], None]:
        finish()
        began.append((label, progress.elapsed))
        work = _work(tasks[label]) if label in tasks else _ABLATION
        return progress.step(f"{folder.name}: {label}", work)

    found = card.measure(model, tasks, full=full, progress=step)
    finish()
    return {"name": folder.resolve().name, "sha256": card.sha256(folder / _WEIGHTS), **found}


_ABLATION = 64 * 110.0
"""Tokens of one forward of an ablation, more or less."""


def _work(found: Pairs) -> float:
    return float(len(found) * len(found.roles[0]))


def _total(model: HookedGPTNeo, tasks: Mapping[str, Pairs], n_models: int) -> float:
    """Return the tokens of all forwards, more or less; time goes with them."""
    shape = model.config.n_layers, model.config.n_heads
    total = n_models * (2 + 2 * shape[0] * shape[1]) * _ABLATION
    for found in tasks.values():
        n_pos = len(found.roles[0])
        condensed = (n_models - 1) * card.n_forwards(*shape, n_pos, full=False)
        total += _work(found) * (card.n_forwards(*shape, n_pos, full=True) + condensed)
    return total


def run(args: argparse.Namespace) -> int:
    """Measure and write; return the exit code."""
    if args.threads:
        torch.set_num_threads(args.threads)
    check_count(args.pairs)
    names = list(dict.fromkeys(name.strip() for name in args.tasks.split(",")))
    for name in names:
        check_task(name, PAIRED)
    out = args.out or args.folder / card.NAME
    folders = [args.folder, *args.seeds]
    models = [_load(folder) for folder in folders]
    _same_shape(folders, models)
    if not out.absolute().parent.is_dir():
        raise ArgumentError(f"{out}: there is no such folder to write into")
    tasks = {name: pairs(name, args.pairs, seed=_SEED) for name in names}
    progress = Progress(_total(models[0], tasks, len(models)), _say)
    found = [
        _measure(folder, model, tasks, progress, full=i == 0)
        for i, (folder, model) in enumerate(zip(folders, models, strict=True))
    ]
    whole = card.assemble(models[0].config, found, n=args.pairs, seed=_SEED)
    card.write(whole, out)
    for claim in (*whole["theorems"], *whole["claims"]):
        _say(f"{'holds' if claim['holds_for_all'] else 'FALSE'}  {claim['claim']}")
    _say(f"written: {out} ({out.stat().st_size / 1000:.0f} kB, {progress.elapsed:.0f} s)")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as from the command line; return the exit code."""
    args = _arguments(arguments)
    try:
        return run(args)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing is written\n")
        return 130
    except (NeoscopeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
