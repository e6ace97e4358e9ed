"""How chunks reach Ray: sent a few at a time, and read by one task as a source of Ray Data."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from neoscope.errors import ExportError
from neoscope.export.ray_engine.parcel import chunk_bytes, row_of
from neoscope.export.reading import Chunk

AGAIN = "the same call again goes on after the shards that are whole"
_UNDER_WAY = 3
"""Chunks for each worker: one that it runs, one that waits for it, one that comes or is written."""


class Sending:
    """Sends chunks from a thread, never more than a few ahead of those that are done."""

    def __init__(self, chunks: Iterator[Chunk], workers: int) -> None:
        """Start the actor that holds the chunks until they are done.

        Args:
            chunks: What is sent, numbered from 0.
            workers: For how many.
        """
        self.held: Any = ray.remote(num_cpus=0)(Held).remote()
        self._chunks = chunks
        self._workers = workers
        self._room = threading.Semaphore(workers * _UNDER_WAY)
        self._enough = threading.Event()
        self._ended = threading.Event()
        self._sent = self._done = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="neoscope-send", daemon=True)

    @property
    def source(self) -> Datasource:
        """What Ray Data reads."""
        return HeldSource(self.held)

    def __enter__(self) -> Sending:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Send nothing more, and wait for the thread."""
        self.end()
        self._thread.join()
        ray.kill(self.held)

    def _run(self) -> None:
        try:
            while self._room.acquire() and not self._ended.is_set():
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                ray.get(self.held.put.remote(chunk_bytes(self._sent, chunk)))
                self._sent += 1
                if self._sent == self._workers:
                    self._enough.set()
        except BaseException as error:  # raised again by check
            self._error = error
        finally:
            self._enough.set()
            with contextlib.suppress(Exception):
                ray.get(self.held.close.remote())

    def occupied(self) -> int:
        """Wait for a chunk for each worker, or for the last; return how many have one."""
        self._enough.wait()
        return max(1, min(self._workers, self._sent))

    def end(self) -> None:
        """Send nothing more; what was sent is still done."""
        self._ended.set()
        self._room.release()

    def done(self, number: int) -> None:
        """Make room for another chunk."""
        self._done += 1
        self.held.drop.remote(number)
        self._room.release()

    def check(self) -> None:
        """Raise what went wrong with reading or sending.

        Raises:
            ExportError: Some of those that were sent did not come back.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._done != self._sent:
            lost = self._sent - self._done
            raise ExportError(f"Ray lost {lost} of {self._sent} chunks; {AGAIN}")


class Held:
    """An actor with the chunks that were sent and are not done.

    A chunk is kept until its outcome arrived, so that Ray can run the reading task again.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self._items: dict[int, bytes] = {}
        self._tries: Counter[int] = Counter()
        self._n = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, item: bytes) -> None:
        """Take the next chunk."""
        async with self._changed:
            self._items[self._n] = item
            self._n += 1
            self._changed.notify_all()

    async def close(self) -> None:
        """No more will come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def begun(self, number: int) -> int:
        """Count how often work on a chunk began: again only where an actor died of it."""
        self._tries[number] += 1
        return self._tries[number]

    async def drop(self, number: int) -> None:
        """Forget a chunk that is done."""
        self._items.pop(number, None)
        self._tries.pop(number, None)

    async def take(self, number: int) -> bytes | None:
        """Return a chunk, once it is there; empty if it is done, None after the last."""
        async with self._changed:
            await self._changed.wait_for(lambda: number < self._n or self._closed)
        return self._items.get(number, b"") if number < self._n else None


class HeldSource(Datasource):
    """A source of Ray Data: the chunks that an actor holds, until it is closed."""

    def __init__(self, held: Any) -> None:
        """Remember the actor."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = held

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: it is not known beforehand."""
        return None

    def get_read_tasks(self, parallelism: int, *args: Any, **options: Any) -> list[Any]:
        """Return the one task that hands on the chunks as they come."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(functools.partial(_blocks, self._held), unknown)]


def _blocks(held: Any) -> Iterator[pa.Table]:
    number = 0
    while (item := ray.get(held.take.remote(number))) is not None:
        yield row_of(item)
        number += 1
