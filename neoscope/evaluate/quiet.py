"""lm-evaluation-harness kept from logging, from drawing bars, and from starting processes."""

from __future__ import annotations

import contextlib
import logging
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_DRAWS = 1000


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let lm_eval, datasets and the hub log errors only, draw no bars and start no processes.

    lm_eval's bootstrap of a standard error prints, forks a process for every processor and draws a
    hundred thousand times; meanwhile it is done here, on one thousand seeded draws.
    """
    import datasets
    from lm_eval.api import metrics, task

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    kept = (task.tqdm, metrics.bootstrap_stderr)
    shown = datasets.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    task.tqdm, metrics.bootstrap_stderr = _no_bar, bootstrap
    try:
        yield
    finally:
        task.tqdm, metrics.bootstrap_stderr = kept
        if not shown:
            datasets.enable_progress_bars()
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _no_bar(items: Any, **options: Any) -> Any:
    return items


def bootstrap(f: Callable[[Sequence[Any]], float], xs: Sequence[Any], iters: int = _DRAWS) -> float:
    """Return the standard error of ``f(xs)``: the deviation of it over seeded resamples.

    Args:
        f: A statistic.
        xs: Its values, one an example.
        iters: Resamples, one thousand at most.
    """
    draw = random.Random(0)
    drawn = [f(draw.choices(xs, k=len(xs))) for _ in range(min(iters, _DRAWS))]
    return statistics.stdev(drawn)
