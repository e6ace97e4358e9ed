"""Reading ahead and writing behind keep their order, pass errors on, and never hang."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoscope.export.threads import Behind, ahead

pytestmark = pytest.mark.timeout(20)


def alive(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert not alive("neoscope-read")
    assert not alive("neoscope-write")


def failing(n: int, error: BaseException) -> Iterator[int]:
    yield from range(n)
    raise error


def drain(items: Iterator[int], seen: list[int], bad: int = -1, error: Any = None) -> None:
    """Take everything, or fail at one."""
    for item in ahead(items, 3):
        if item == bad:
            raise error
        seen.append(item)


@given(st.lists(st.integers() | st.none()), st.integers(1, 3))
@settings(max_examples=20)
def test_everything_comes_in_its_order(items: list[Any], depth: int) -> None:
    assert list(ahead(items, depth)) == items


def test_the_next_item_is_made_while_one_is_used() -> None:
    made: list[int] = []
    both = threading.Event()

    def items() -> Iterator[int]:
        for i in range(2):
            made.append(i)
            if i == 1:
                both.set()
            yield i

    reading = ahead(items())
    assert next(reading) == 0
    assert both.wait(5)
    assert list(reading) == [1]


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_may_wait(depth: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    reading = ahead(items(), depth)
    next(reading)
    time.sleep(0.25)
    assert len(made) <= depth + 2  # one is used, one stands before the queue
    assert list(reading) == list(range(1, 50))


def test_nothing_is_made_before_it_is_asked_for() -> None:
    def items() -> Iterator[int]:
        made.append(1)
        yield 1

    made: list[int] = []
    reading = ahead(items())
    assert not made
    reading.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_error_comes_in_its_turn(n: int, error: BaseException) -> None:
    seen: list[int] = []
    with pytest.raises(type(error)) as caught:
        drain(failing(n, error), seen)
    assert caught.value is error
    assert seen == list(range(n))


def test_closing_early_ends_the_thread() -> None:
    started = time.monotonic()
    reading = ahead(iter(range(10**9)), 2)
    assert next(reading) == 0
    reading.close()  # type: ignore[attr-defined]
    assert not alive("neoscope-read")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_an_error_of_the_user_ends_the_thread(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        drain(iter(range(10**9)), [], 3, error)
    assert caught.value is error
    assert not alive("neoscope-read")  # though the error, and so its traceback, is kept


def test_a_generator_that_is_left_is_closed() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    reading = ahead(items())
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    del reading
    gc.collect()
    assert closed.wait(5)


# ---- Behind ----------------------------------------------------------------------------------


def put_all(
    work: Any, items: Iterable[int], depth: int = 1, error: BaseException | None = None
) -> list[int]:
    """Put everything, then fail; returns what was put, or hangs it on the error as ``put``."""
    got: list[int] = []
    try:
        with Behind(work, depth) as behind:
            for item in items:
                behind.put(item)
                got.append(item)
            if error is not None:
                raise error
    except BaseException as raised:
        raised.put = got  # type: ignore[attr-defined]
        raise
    return got


@given(st.lists(st.integers()), st.integers(1, 3))
@settings(max_examples=20)
def test_everything_is_done_in_its_order_before_leaving(items: list[int], depth: int) -> None:
    done: list[int] = []
    with Behind(done.append, depth) as behind:
        for item in items:
            behind.put(item)
    assert done == items


def test_work_goes_on_beside_its_user() -> None:
    release = threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        assert release.wait(5)
        done.append(item)

    with Behind(work) as behind:
        behind.put(1)
        behind.put(2)  # waits its turn, and so does not wait
        assert not done
        release.set()
    assert done == [1, 2]


def fail_at(bad: int, done: list[int], error: BaseException) -> Any:
    def work(item: int) -> None:
        if item == bad:
            raise error
        done.append(item)

    return work


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("bad", [0, 2, 9])
def test_what_the_work_raised_is_raised_once_and_nothing_is_done_after_it(
    error: BaseException, bad: int
) -> None:
    done: list[int] = []
    with pytest.raises(type(error)) as caught:
        put_all(fail_at(bad, done, error), range(10), 2)
    assert caught.value is error
    assert done == list(range(bad))


def test_nothing_is_done_after_an_error_that_was_caught() -> None:
    done: list[int] = []

    def stubborn() -> None:
        with Behind(fail_at(0, done, OSError("disk full"))) as behind:
            for item in range(6):
                with contextlib.suppress(OSError):
                    behind.put(item)

    with pytest.raises(OSError, match="disk full"):
        stubborn()
    assert not done


def test_an_error_on_the_last_item_is_raised_on_leaving() -> None:
    with pytest.raises(OSError, match="full"):
        put_all(fail_at(1, [], OSError("full")), range(2), 5)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_what_was_put_is_done_though_its_user_fails(error: BaseException) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.02)
        done.append(item)

    with pytest.raises(type(error)) as caught:
        put_all(work, range(3), 3, error)
    assert caught.value is error
    assert done == [0, 1, 2]


def test_the_users_error_comes_before_that_of_the_work() -> None:
    with pytest.raises(ValueError, match="mine"):
        put_all(fail_at(0, [], OSError("full")), [0], 1, ValueError("mine"))


# ---- Ctrl-C while waiting --------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Interrupts the main thread in 0.1 seconds."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread alone")
    # A shell lets what it runs in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    yield
    timer.cancel()
    timer.join()
    signal.signal(signal.SIGINT, before)


def test_waiting_for_the_next_item_can_be_interrupted(ctrl_c: None) -> None:
    def items() -> Iterator[int]:
        time.sleep(0.4)
        yield 1

    with pytest.raises(KeyboardInterrupt):
        next(ahead(items()))


def test_waiting_for_the_work_can_be_interrupted_and_loses_nothing(ctrl_c: None) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(KeyboardInterrupt) as caught:
        put_all(work, range(50))
    put = caught.value.put
    assert done[: len(put)] == put
    assert 0 < len(done) < 50
