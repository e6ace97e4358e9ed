"""``python -m tests.benchmarks [NAME]``: list the benchmarks, or run one."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

# Set before huggingface_hub is imported: every checkpoint is made here.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
from rich.console import Console

from tests import benchmarks
from tests.benchmarks import machine, report
from tests.benchmarks.harness import Settings, measure


def found() -> dict[str, ModuleType]:
    """Return every benchmark by name."""
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name != "__main__"]
    modules = {name: importlib.import_module(f"tests.benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "rows")}


def arguments(argv: list[str] | None, names: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=names, help="leave it out for a list")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; the median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny shapes: only shows that it runs")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--corpus", type=Path, help="a .csv file of texts, for rows that read text")
    parser.add_argument("--tokenizer", type=Path, help="a folder with GPT-2's vocabulary, for them")
    parser.add_argument("--treebank", type=Path, help="a CoNLL-U file, for the row that reads one")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    args = parser.parse_args(argv)
    if args.repeats < 1 or args.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    return args


def run(benchmark: ModuleType, args: argparse.Namespace, console: Console) -> int:
    """Run one benchmark; return 1 if an answer was wrong, however fast."""
    torch.set_num_threads(args.threads)
    settings = Settings(
        args.repeats,
        args.threads,
        args.quick,
        args.device,
        args.corpus,
        args.tokenizer,
        args.treebank,
    )
    rates = machine.matrix_rates(settings)
    about = {**machine.describe(settings), "matrix_rates": rates, "quick": args.quick}
    speeds = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items())
    known = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    console.print(f"{about['processor']}, {args.threads} threads on {args.device}: {speeds}")
    console.print(known)
    results = []
    for row in benchmark.rows(settings):
        if args.only in row.name:
            console.print(f"[dim]{row.name} ...[/]")
            results.append(measure(row, settings, rates))
    name = benchmark.__name__.rpartition(".")[2]
    report.show(console, f"{name}{' (quick: figures mean nothing)' * args.quick}", results)
    if args.json is not None:
        report.save(args.json, name, about, results)
    wrong = [result.name for result in results if not result.agrees]
    if wrong:
        print(f"error: wrong answers: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    warnings.filterwarnings("ignore")
    modules, console = found(), Console()
    args = arguments(argv, sorted(modules))
    if args.name is None:
        for name, module in sorted(modules.items()):
            console.print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
        return 0
    return run(modules[args.name], args, console)


if __name__ == "__main__":
    sys.exit(main())
