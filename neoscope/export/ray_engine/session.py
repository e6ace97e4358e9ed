"""A quiet session of Ray, started where there is none and then shut down again."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import ray

from neoscope.errors import ArgumentError, ExportError

_STORE_BYTES = 400 * 2**20
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Every pool of Ray Data prints an "error" otherwise: https://github.com/ray-project/ray/issues/57733
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


@contextlib.contextmanager
def session(
    *, workers: int | None, threads: int, gpu: bool, address: str | None = None
) -> Iterator[int]:
    """Start or join Ray, unless this process has done so; shut down what was started.

    Args:
        workers: How many there shall be; None for as many as there is room for.
        threads: Of each.
        gpu: Whether each needs a GPU.
        address: Of a cluster to join; None for this machine alone.

    Yields:
        The number of workers.

    Raises:
        ExportError: Ray cannot be started or reached.
        ArgumentError: There is no room for a single worker.
    """
    if ray.is_initialized():
        yield workers or _room(threads, gpu)
        return
    options: dict[str, Any] = {"address": address}
    if address is None:
        cpus = threads * (workers or max(1, _n_cpus() // threads))
        options = {
            "address": "local",
            "num_cpus": cpus,
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        with _environment({} if address else _ENVIRONMENT), _silenced():
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except Exception as error:
        ray.shutdown()
        where = f"reach Ray at {address!r}" if address else "start Ray"
        raise ExportError(f"cannot {where}: {first_line(error)}") from error
    try:
        room = _room(threads, gpu)
        yield workers or room
    finally:
        ray.shutdown()


def _n_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _room(threads: int, gpu: bool) -> int:
    """How many workers there is room for."""
    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = have.get("CPU", 0) // threads
    if gpu:
        room = min(room, have.get("GPU", 0))
    if room < 1:
        raise ArgumentError(
            f"Ray has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs; a worker needs "
            f"{threads} of the first{' and one of the second' if gpu else ''}"
        )
    return int(room)


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Set what the environment leaves open, for a while."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drop what is written to the standard error stream, for the seconds in which Ray starts.

    Its compiled part, which knows no loggers, says there that it was told to be silent.
    """
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray Data from writing to the terminal, for a while; errors are raised anyway."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def first_line(error: BaseException) -> str:
    """Return the type of an error, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
