"""Time and peak memory at 1, 10 and 100 times the work, each in a fresh process.

Exports, patching sweeps and a sweep of probes, on the organism and on a random checkpoint in the
shape of GPT-Neo 125M. The figure is drawn by ``publish``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from tests.benchmarks import checkpoint, texts
from tests.benchmarks.harness import Growth, Point, Settings

# name, kind, on the large model, the least work, its unit
_CURVES = (
    ("export, a row a text, organism", "texts", False, 1_000, "texts"),
    ("export, a row a token, organism", "tokens", False, 500, "texts"),
    ("export, a row a text, 125M", "texts", True, 128, "texts"),
    ("patching, pairs, 125M", "pairs", True, 1, "pairs"),
    ("patching, cells, 125M", "cells", True, 12, "cells"),
    ("probes, organism", "words", False, 300, "words"),
)
_TIMES = (1, 10, 100)


def rows(settings: Settings) -> Iterator[Growth]:
    """Yield a curve for each kind of work."""
    with checkpoint.random_checkpoint(settings) as folder:
        texts.corpus(settings, folder, 1)
        for name, kind, large, least, unit in _CURVES:
            if settings.quick:
                least = {"cells": 2, "words": 300}.get(kind, max(1, least // 100))
            works = [least * times for times in (_TIMES[:2] if settings.quick else _TIMES)]
            model = str(folder) if large else "organism"
            yield Growth(name, unit, works, partial(_point, kind, model, settings.threads))


def _point(kind: str, model: str, threads: int, work: int) -> Point:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.growth_child"]
    done = subprocess.run(
        [*command, kind, str(work), model, str(threads)],
        check=True,
        capture_output=True,
        text=True,
    )
    return Point(work, **json.loads(done.stdout.splitlines()[-1]))
