"""How long Python takes to import neoscope and to print its help."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

from tests.benchmarks.harness import Figure, Settings


def rows(settings: Settings) -> Iterator[Figure]:
    """Yield the two start times."""
    measure = partial(_seconds, settings.rounds(7))
    yield Figure("import neoscope", "s", partial(measure, "-c", "import neoscope"))
    exists = find_spec("neoscope.__main__") is not None
    unit = "s" if exists else "no command line yet"
    help_seconds = partial(measure, "-m", "neoscope", "--help") if exists else lambda: None
    yield Figure("neoscope --help", unit, help_seconds)


def _seconds(repeats: int, *arguments: str) -> float:
    """Seconds of a whole Python process, its own start included."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
