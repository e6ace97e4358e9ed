"""Running the two ends of a pipeline in threads of their own: reading ahead, and writing behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """Yield ``items`` while a thread makes the next ones.

    Args:
        items: What is made; its errors are raised here, in their turn.
        depth: Most items that wait.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None, bool]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None, False)):
                    return
        except BaseException as error:  # raised again where the items are used
            put((None, error, True))
        else:
            put((None, None, True))

    thread = threading.Thread(target=work, name="neoscope-read", daemon=True)
    thread.start()
    try:
        while True:
            item, error, ends = waiting.get()
            if error is not None:
                raise error
            if ends:
                return
            yield item  # type: ignore[misc]  # None only where it ends
    finally:
        stop.set()
        thread.join()


class Behind(Generic[T]):
    """Calls a function on items in a thread, in their order; leaving waits for all of them.

    Raises:
        BaseException: Whatever the function raised, at the next item or on leaving; what was put
            after that is dropped.
    """

    def __init__(self, work: Callable[[T], object], depth: int = 1) -> None:
        """Start nothing yet.

        Args:
            work: What is done with each item.
            depth: Most items that wait.
        """
        self._work = work
        self._waiting: queue.Queue[T | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="neoscope-write", daemon=True)

    def __enter__(self) -> Behind[T]:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait until everything put so far is done."""
        self._waiting.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def put(self, item: T) -> None:
        """Hand over an item; waits while too many are waiting."""
        self._raise()
        self._waiting.put(item)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # raised again where items are put
                    self._error = error
