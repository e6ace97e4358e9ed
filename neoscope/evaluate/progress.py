"""How far an evaluation is, and lm-evaluation-harness kept from telling it in its own way."""

from __future__ import annotations

import contextlib
import logging
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_QUIET_SECONDS = 2.0
_DRAWS = 1000


class Bar:
    """Counts, and tells whoever wants to know; off where nobody does."""

    def __init__(self, to: bool | Callable[[int, int], None], total: int, unit: str) -> None:
        """Open no bar yet.

        Args:
            to: True for a tqdm bar after two seconds, False for nothing, or a function of what is
                done and of all there is to do.
            total: All there is to do.
            unit: What is counted.
        """
        self._to, self._total, self._unit, self._done = to, total, unit, 0
        self._bar: Any = None

    def __enter__(self) -> Bar:
        """Open the bar, if there is one."""
        if self._to is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit=f" {self._unit}", delay=_QUIET_SECONDS)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def tick(self, n: int) -> None:
        """Count."""
        self._done += n
        if self._bar is not None:
            self._bar.update(n)
        elif callable(self._to):
            self._to(self._done, self._total)


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
