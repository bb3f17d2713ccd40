"""The loop in a thread of its own: the threads that it wakes, timers, and waits in the middle of its work."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from treeguard import run, subprocess
from treeguard._blocking import manager as managers

from ..support.patience import PATIENCE, wait_until
from ..support.programs import Programs
from .blocking import PYTHON, interrupted, own_managers

assert sys.platform == "win32"
from treeguard._blocking.pump_windows import Event, Pump, Traffic  # noqa: E402 - only there

__all__ = ["own_managers"]


@pytest.fixture
def pump() -> Iterator[Pump]:
    made = Pump()
    yield made
    made.close()


def start(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_wait_ends_in_time(pump: Pump) -> None:
    """And one whose time is over does not wait."""
    began = time.monotonic()
    assert not pump.wait(lambda: False, pump.time() + 0.05)
    assert 0.05 <= time.monotonic() - began < PATIENCE
    assert not pump.wait(lambda: False, pump.time() - 1)
    assert pump.wait(lambda: True, pump.time() - 1)


def test_timers_run_in_order_unless_cancelled(pump: Pump) -> None:
    """An earlier one that is set later comes first, and an error of one is not another's."""
    ran: list[str] = []
    pump.call_later(PATIENCE * 10, ran.append, "never")
    pump.call_later(0.09, ran.append, "third")
    pump.call_later(0.03, ran.append, "first")
    pump.call_later(0.04, ran.append, "never").cancel()
    pump.call_later(0.06, ran.append, "second")
    assert pump.wait(lambda: len(ran) == 3, pump.time() + PATIENCE)
    assert ran == ["first", "second", "third"]


def test_an_error_of_a_timer_is_reported(pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one runs."""
    reported: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: reported.append(kind))
    ran: list[int] = []
    pump.call_later(0.0, lambda: 1 // 0)
    pump.call_later(0.0, ran.append, 1)
    assert pump.wait(lambda: bool(ran), pump.time() + PATIENCE)
    assert reported == [ZeroDivisionError]


def test_all_are_woken_whose_condition_has_come_true(pump: Pump) -> None:
    """And no others."""
    ran: list[int] = []
    threads = [start(lambda count=count: pump.wait(lambda: len(ran) >= count)) for count in range(1, 6)]  # type: ignore[misc]
    for count in range(1, 6):
        pump.call_later(0.0, ran.append, count)
        threads[count - 1].join(PATIENCE)
        assert not threads[count - 1].is_alive()
        assert all(thread.is_alive() for thread in threads[count:])


class Bell(Traffic):
    """Something to serve, and how often it was."""

    def __init__(self) -> None:
        self.event = Event()
        self.served = 0

    def until(self) -> float:
        return float("inf")

    def events(self) -> list[int]:
        return [self.event.handle]

    def serve(self) -> None:
        self.event.clear()
        self.served += 1


def test_traffic_is_served_in_the_thread_that_waits(pump: Pump) -> None:
    """As soon as there is some."""
    bell = Bell()
    threading.Timer(0.05, bell.event.set).start()
    assert pump.wait(lambda: bell.served > 0, pump.time() + PATIENCE, bell)


def test_ctrl_c_ends_a_wait(pump: Pump) -> None:
    """Nothing of it is left."""
    with interrupted(0.1):
        pump.wait(lambda: False)
    assert pump._waiters == []


def test_a_handler_waits_in_the_middle_of_the_loops_work(programs: Programs) -> None:
    """The loop's thread waits for the lock meanwhile, so the handler does its work."""
    heard: list[Any] = []

    def handle(*_: object) -> None:
        process = subprocess.Popen([programs.tiny])
        assert process.poll() is None
        process.kill()
        heard.append(process.wait(PATIENCE))
        heard.append(run([*PYTHON, "print(input())"], input=b"x", capture_output=True, timeout=PATIENCE).stdout)

    outer = subprocess.Popen([programs.tiny])
    before = signal.signal(signal.SIGINT, handle)
    try:
        with managers.own_manager()._pump.lock:
            signal.raise_signal(signal.SIGINT)
            wait_until(lambda: bool(heard), "the handler has run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1, b"x\r\n"]
    outer.kill()
    assert outer.wait(PATIENCE) == 1


def test_a_wait_in_the_loops_own_thread(programs: Programs) -> None:
    """As a destructor's, which may come there."""
    process = subprocess.Popen([programs.tiny])
    ends: list[int] = []

    def end() -> None:
        process.kill()
        ends.append(process.wait(PATIENCE))

    managers.own_manager()._pump.call_later(0.0, end)
    wait_until(lambda: bool(ends), "it has ended")
    assert ends == [1]


def test_a_closed_one_holds_nobody(pump: Pump) -> None:
    """A wait without time is over at once."""
    pump.close()
    assert not pump.wait(lambda: False, 0.0)
    pump.close()
