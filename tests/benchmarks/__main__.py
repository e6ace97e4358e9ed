"""``python -m tests.benchmarks [NAME]``: list the benchmarks, run one or all, print the table.

``all --out FILE`` runs every benchmark, each in a process of its own. FILE is written after each
row; the same command again goes on with what is missing. ``table FILE`` prints the README's table,
``publish FILE`` puts it, the guide's and the figure in their places.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

# Set before huggingface_hub is imported: every checkpoint is made here.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
from rich.console import Console

from tests.benchmarks import machine, publish, record, report, table, targets
from tests.benchmarks.harness import Settings, measure


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*targets.ROWS, "all", "table", "publish"]
    parser.add_argument("name", nargs="?", choices=names, help="leave it out for a list")
    parser.add_argument("file", nargs="?", type=Path, help="what table and publish read")
    parser.add_argument("--repeats", type=int, help="rounds; each row has a number of its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny shapes: only shows that it runs")
    parser.add_argument("--slow", action="store_true", help="rows of more than five minutes, too")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--corpus", type=Path, help="a .csv file of texts, for rows that read text")
    parser.add_argument("--tokenizer", type=Path, help="a folder with GPT-2's vocabulary, for them")
    parser.add_argument("--treebank", type=Path, help="a CoNLL-U file, for the row that reads one")
    parser.add_argument("--pairs", type=Path, help="BLiMP's JSON lines, for the row that reads it")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--out", "--json", type=Path, help="keep everything measured in this file")
    parser.add_argument("--again", action="store_true", help="also rows that the file has already")
    parser.add_argument("--full", action="store_true", help="of table: every row, as in the guide")
    args = parser.parse_args(argv)
    if args.threads < 1 or (args.repeats is not None and args.repeats < 1):
        parser.error("--repeats and --threads must be at least 1")
    if args.name == "all" and args.out is None:
        parser.error("all needs --out FILE")
    if (args.name in ("table", "publish")) != (args.file is not None):
        parser.error("table and publish take a FILE, the others none")
    for path in (args.corpus, args.tokenizer, args.treebank, args.pairs, args.file):
        if path is not None and not path.exists():
            parser.error(f"there is no {path}")
    return args


def run(name: str, args: argparse.Namespace, console: Console) -> int:
    """Run one benchmark; return 1 if an answer was wrong, however fast."""
    torch.set_num_threads(args.threads)
    shared = ("repeats", "threads", "quick", "device", "corpus", "tokenizer", "treebank")
    settings = Settings(**{k: getattr(args, k) for k in (*shared, "pairs", "slow")})
    about = machine.describe(settings)
    kept = record.Record(args.out, about)
    rates = kept.machine["matrix_rates"]
    console.print(table.machine_line(kept.machine))
    results = []
    for row in importlib.import_module(f"tests.benchmarks.{name}").rows(settings):
        if args.only in row.name and (args.again or not kept.has(name, row.name)):
            console.print(f"[dim]{row.name} ...[/]")
            results.append(measure(row, settings, rates))
            kept.add(name, results[-1])
    title = f"{name}{' (quick: figures mean nothing)' * args.quick}"
    report.show(console, name, title, results)
    wrong = [result.name for result in results if not result.agrees]
    if wrong:
        print(f"error: wrong answers: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def run_all(argv: list[str], args: argparse.Namespace, console: Console) -> int:
    """Run every benchmark of which something is missing, each in a fresh process."""
    failed = []
    for name in targets.ROWS:
        if args.again or record.missing(args.out, name, args.only, argv):
            command = [sys.executable, "-m", "tests.benchmarks", name]
            if subprocess.run([*command, *(a for a in argv if a != "all")], check=False).returncode:
                failed.append(name)
    for name in targets.ROWS:
        for row in record.missing(args.out, name, args.only):
            console.print(f"not measured: {name}, {row}")
    if failed:
        print(f"error: these failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    warnings.filterwarnings("ignore")
    argv = sys.argv[1:] if argv is None else argv
    args, console = arguments(argv), Console()
    if args.name is None:
        for name in targets.ROWS:
            module = importlib.import_module(f"tests.benchmarks.{name}")
            console.print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
        return 0
    if args.name == "table":
        print(table.full(args.file) if args.full else table.brief(args.file))
        return 0
    if args.name == "publish":
        publish.publish(args.file)
        return 0
    try:
        if args.name == "all":
            return run_all(argv, args, console)
        return run(args.name, args, console)
    except record.OtherMachineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; with --out the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
