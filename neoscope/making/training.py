"""Train the organism from scratch, measure it, and write it if it passes."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from neoscope.errors import CheckpointError, NeoscopeError
from neoscope.model import HookedGPTNeo
from neoscope.organism import initial
from neoscope.organism.gates import measure
from neoscope.organism.training import bundle
from neoscope.organism.training.loop import LAST_STEPS, Training
from neoscope.organism.training.state import State


def _minutes(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"found {text!r}, expected a number above 0")


def _seed(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= (value := int(text)) < 2**63:
            return value
    raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 0")


def _threads(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (value := int(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m neoscope.making.training",
        description="Train the organism from scratch. A run that was stopped goes on when it is "
        "started again with the same folder; weights are written only if all gates hold.",
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of weights and data (default 0)")
    parser.add_argument(
        "--minutes", type=_minutes, default=45.0, help="most time in all (default 45)"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for model and checkpoints (organism-SEED)"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=_threads, default=None, help="of the processor")
    return parser.parse_args(argv)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Teller:
    """Writes a line at each look, with the time that is left at the present speed."""

    def __init__(self) -> None:
        self._before = (0, 0.0)

    def __call__(self, state: State) -> None:
        look = state.log[-1]
        line = (
            f"{state.seconds / 60:5.1f} min  step {state.step:5d}  "
            f"{state.tokens / 1e6:5.2f}M tokens  "
            f"repeats continued: near {look['near']:.3f} far {look['far']:.3f}"
        )
        losses = [entry for entry in state.log if "repeats" in entry]
        if losses:
            line += f"  loss: repeats {losses[-1]['repeats']:.3f}"
            line += f" language {losses[-1]['language']:.3f}" if "language" in losses[-1] else ""
        _say(f"{line}  {self._left(state)}")

    def _left(self, state: State) -> str:
        steps, seconds = state.step - self._before[0], state.seconds - self._before[1]
        self._before = (state.step, state.seconds)
        if state.stage == "near":
            return "(until induction appears)"
        left = LAST_STEPS
        if state.stage == "all":
            left -= state.step - state.stages["all"]
        more = "" if state.stage == "all" else " after repeats widen"
        return f"(ETA {left * seconds / max(steps, 1) / 60:.0f} min{more})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code.

    Args:
        argv: The arguments; by default those of the command line.
    """
    args = _arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    out = args.out or Path(f"organism-{args.seed}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"--out {out}: no such folder can be made: {error}") from error
    model = HookedGPTNeo.from_pretrained(initial.random_twin(args.seed), device=args.device)
    training = Training(model, out / "training", args.seed)
    if training.state.step:
        _say(f"going on from step {training.state.step} in {out}")
    try:
        finished = training.run(args.minutes, _Teller())
    except KeyboardInterrupt:
        _say(
            f"\nstopped at step {training.state.step}; the same command goes on from its last save"
        )
        return 130
    if not finished:
        _say(
            f"not finished within {args.minutes:g} minutes (step {training.state.step}); the same "
            "command with more --minutes goes on from there"
        )
        return 1
    return _finish(out, model, training.state)


def _finish(out: Path, model: HookedGPTNeo, state: State) -> int:
    """Measure the gates, and write the model if all hold."""
    _say("measuring the gates")
    report = measure(model)
    for gate in report.gates:
        sign = ">=" if gate.at_least else "<="
        _say(
            f"{'ok  ' if gate.holds else 'FAIL'} {gate.task}: {gate.figure}: {gate.value:.4f} "
            f"({sign} {gate.gate:g})"
        )
    if not report.ok:
        _say("no weights are written: a gate fails")
        return 1
    written = bundle.write(out, model, state, report)
    _say(f"written: {written}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NeoscopeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
