"""The loop without a thread of its own: the thread that runs it, the threads it wakes, and interruptions."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from treeguard._blocking.pump import Pump, Traffic

from ..support.patience import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="polls")


@pytest.fixture
def pump() -> Iterator[Pump]:
    made = Pump()
    yield made
    made.close()


class Pipe:
    """Something to read, and what was read of it by the loop."""

    def __init__(self, pump: Pump) -> None:
        self.reader, self.writer = os.pipe()
        self.heard: list[tuple[bytes, int]] = []
        self._pump = pump
        pump.add_reader(self.reader, self._read)

    def _read(self) -> None:
        os.set_blocking(self.reader, False)
        with contextlib.suppress(BlockingIOError):
            self.heard.append((os.read(self.reader, 100), threading.get_ident()))

    def close(self) -> None:
        self._pump.remove_reader(self.reader)
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe(pump: Pump) -> Iterator[Pipe]:
    made = Pipe(pump)
    yield made
    made.close()


def start(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> bool:
    for thread in threads:
        thread.join(PATIENCE)
    return not any(thread.is_alive() for thread in threads)


def test_a_wait_ends_in_time(pump: Pump) -> None:
    """And one whose time is over looks once."""
    began = time.monotonic()
    assert not pump.wait(lambda: False, pump.time() + 0.05)
    assert 0.05 <= time.monotonic() - began < PATIENCE
    assert not pump.wait(lambda: False, pump.time() - 1)
    assert pump.wait(lambda: True, pump.time() - 1)


def test_what_has_come_by_now_counts(pump: Pump, pipe: Pipe) -> None:
    """A wait without time reads what there is, also while another thread runs the loop."""
    os.write(pipe.writer, b"x")
    assert pump.wait(lambda: bool(pipe.heard), 0.0)
    over = threading.Event()
    runner = start(lambda: pump.wait(over.is_set))
    wait_until(lambda: pump.runs, "it runs")
    os.write(pipe.writer, b"y")
    assert pump.wait(lambda: len(pipe.heard) == 2, 0.0)
    over.set()
    pump.call_later(0, lambda: None)
    assert ended(runner)


def test_timers_run_in_order_unless_cancelled(pump: Pump) -> None:
    """In the thread that waits."""
    ran: list[str] = []
    pump.call_later(0.03, ran.append, "third")
    pump.call_later(0.01, ran.append, "first")
    pump.call_later(0.015, ran.append, "never").cancel()
    pump.call_later(0.02, ran.append, "second")
    assert pump.wait(lambda: len(ran) == 3, pump.time() + PATIENCE)
    assert ran == ["first", "second", "third"]


def test_one_thread_runs_it_for_all(pump: Pump, pipe: Pipe) -> None:
    """All are woken whose condition has come true, and another one takes over from one that leaves."""
    wanted = threading.Barrier(6)

    def follow(count: int) -> None:
        wanted.wait()
        pump.wait(lambda: len(pipe.heard) >= count)

    threads = [start(lambda count=count: follow(count)) for count in range(1, 6)]  # type: ignore[misc]
    wanted.wait()
    for count in range(1, 6):
        os.write(pipe.writer, b"x")
        wait_until(lambda count=count: len(pipe.heard) >= count, "it is read")  # type: ignore[misc]
    assert ended(*threads)


def test_the_runner_hears_of_an_earlier_timer(pump: Pump) -> None:
    """Another thread may set one while it polls."""
    ran: list[int] = []
    pump.call_later(PATIENCE * 10, ran.append, 2)
    runner = start(lambda: pump.wait(lambda: bool(ran)))
    wait_until(lambda: pump.runs, "it runs")
    pump.call_later(0.01, ran.append, 1)
    assert ended(runner)
    assert ran == [1]


def test_the_runner_hears_of_what_another_thread_has_found(pump: Pump) -> None:
    """Such as by a wait that had no time."""
    found = threading.Event()
    runner = start(lambda: pump.wait(found.is_set))
    wait_until(lambda: pump.runs, "it runs")
    found.set()
    pump.look()
    assert ended(runner)


class Interruption(BaseException):
    """As a signal handler raises it."""


def test_an_interrupted_runner_gives_its_turn_up(pump: Pump, pipe: Pipe) -> None:
    """The next one takes it."""

    def interrupt() -> bool:
        raise Interruption

    with pytest.raises(Interruption):
        pump.wait(interrupt)
    assert not pump.runs
    follower = start(lambda: pump.wait(lambda: bool(pipe.heard)))
    os.write(pipe.writer, b"x")
    assert ended(follower)


class TooLate(Exception):
    """What a program's own handler of SIGALRM raises."""


def _late(number: int, frame: object) -> None:
    raise TooLate


def _late_of_any(*given: object) -> None:
    raise TooLate


def _late_elsewhere(number: int, frame: object) -> None:
    with contextlib.suppress(ValueError):
        _late(number, None)


@pytest.mark.parametrize("timer", [False, True])
@pytest.mark.parametrize("handler", [_late, _late_of_any, _late_elsewhere])
def test_what_a_handler_raises_in_a_callback_is_the_callers(
    pump: Pump, pipe: Pipe, handler: Any, timer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary exception too: a program that ends a wait in this way would wait on. Nothing is reported."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: reported.append(error))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        if timer:
            pump.call_later(0, signal.raise_signal, signal.SIGALRM)
        else:
            pump.remove_reader(pipe.reader)
            pump.add_reader(pipe.reader, lambda: signal.raise_signal(signal.SIGALRM))
            os.write(pipe.writer, b"x")
        with pytest.raises(TooLate):
            pump.wait(lambda: False, time.monotonic() + 1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not reported
    assert not pump.runs


def test_control_what_a_callback_raises_is_reported(pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: it is no fault of the caller's, who waits on."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: reported.append(error))
    pump.call_later(0, _late, 0, None)
    later: list[int] = []
    pump.call_later(0.001, later.append, 1)
    assert pump.wait(lambda: bool(later), time.monotonic() + PATIENCE)
    assert [kind for kind, _, _ in reported] == [TooLate]


def test_a_handler_may_wait_within_a_wait(pump: Pump, pipe: Pipe) -> None:
    """Of the same thread, whose poll is under way."""
    inner: list[bool] = []

    def nested() -> bool:
        if not inner:
            inner.append(False)
            os.write(pipe.writer, b"x")
            inner.append(pump.wait(lambda: bool(pipe.heard), pump.time() + PATIENCE))
        return len(inner) > 1

    assert pump.wait(nested, pump.time() + PATIENCE)
    assert inner == [False, True]


class Line(Traffic):
    """A pipe that a waiting thread reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reader, self.writer = os.pipe()
        self.poller.register(self.reader, select.POLLIN)
        self.read = b""

    def serve(self, fd: int, events: int) -> None:
        self.read += os.read(fd, 100)

    def close(self) -> None:
        super().close()
        os.close(self.reader)
        os.close(self.writer)


@pytest.mark.parametrize("runs", [True, False])
def test_traffic_is_served_meanwhile(pump: Pump, pipe: Pipe, runs: bool) -> None:
    """By the thread that runs the loop, and by one that follows: each serves its own."""
    over = threading.Event()
    runner = start(lambda: None if runs else pump.wait(over.is_set))
    if not runs:
        wait_until(lambda: pump.runs, "it runs")
    line = Line()
    with contextlib.closing(line):
        os.write(line.writer, b"one")
        assert pump.wait(lambda: line.read == b"one", pump.time() + PATIENCE, line)
        waiter = start(lambda: pump.wait(lambda: len(pipe.heard) == 1, None, line))
        os.write(line.writer, b"two")
        wait_until(lambda: line.read == b"onetwo", "it is served")
        os.write(pipe.writer, b"x")
        assert ended(waiter)
    over.set()
    pump.call_later(0, lambda: None)
    assert ended(runner)


def test_a_minder_runs_it_while_nobody_waits(pump: Pump, pipe: Pipe) -> None:
    """Timers and readers; and it leaves both to one who does."""
    pump.mind()
    ran: list[int] = []
    pump.call_later(0.01, ran.append, threading.get_ident())
    os.write(pipe.writer, b"x")
    wait_until(lambda: ran and pipe.heard, "both have run")
    assert pipe.heard[0][1] != threading.get_ident()


def test_nobody_runs_a_closed_one() -> None:
    """Closing ends the minder, and closes what it has opened."""
    closed = Pump()
    closed.mind()
    closed.mind()
    closed.close()
    closed.close()
    assert closed.is_closed()
