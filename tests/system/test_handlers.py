"""A signal's handler may start trees, wait for them and end them, wherever it comes in the same calls of its thread."""

from __future__ import annotations

import gc
import signal
import threading
import zlib
from types import FrameType

import pytest

from treeguard import run
from treeguard.subprocess import Popen
from treeguard.types import Mechanism

from ..support import handlers
from ..support.apart import run_apart
from ..support.blocking import own_managers  # noqa: F401 - a fixture
from ..support.patience import PATIENCE

#: How far from each other are the points at which the handler comes, in the suite.
STEP = 101


@pytest.mark.parametrize("scenario", handlers.SCENARIOS)
def test_at_some_points(mechanism: Mechanism, scenario: str) -> None:
    """What it calls works, and so does what it came in between."""
    seed = zlib.crc32(f"{mechanism} {scenario}".encode())
    call = list(handlers.CALLS)[seed % len(handlers.CALLS)]
    lives, faults = run_apart(
        handlers.every_point_calls, mechanism, scenario, call, 1 + seed % STEP, STEP, bool(seed & 1024), False
    )
    assert not faults
    assert lives


@pytest.mark.stress
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("call", handlers.CALLS)
@pytest.mark.parametrize("scenario", handlers.SCENARIOS)
def test_at_every_point(mechanism: Mechanism, scenario: str, call: str, others: bool) -> None:
    """All of them, also while another thread waits."""
    for first in range(1, 12):
        lives, faults = run_apart(handlers.every_point_calls, mechanism, scenario, call, first, 11, others, False)
        assert not faults
        assert lives


@pytest.mark.parametrize("scenario", handlers.SCENARIOS)
def test_a_handler_within_a_handler(mechanism: Mechanism, scenario: str) -> None:
    """Twice at random points."""
    seed = zlib.crc32(f"{mechanism} {scenario}".encode())
    call = "own" if seed & 1 else "run"
    assert not run_apart(handlers.some_points_call_twice, mechanism, scenario, call, seed, 8)


@pytest.mark.stress
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("call", handlers.CALLS)
@pytest.mark.parametrize("scenario", handlers.SCENARIOS)
def test_many_handlers_within_handlers(mechanism: Mechanism, scenario: str, call: str) -> None:
    """Many random points."""
    for seed in range(4):
        assert not run_apart(handlers.some_points_call_twice, mechanism, scenario, call, seed, 100)


def test_control_a_handler_that_leaves_what_it_came_in_between_is_found_out() -> None:
    """Control: one that does not deliver what is being delivered waits in vain at some points."""
    _, faults = run_apart(handlers.every_point_calls, "subreaper", "running", "run", 1, 3, False, True)
    assert any("TimeoutExpired" in fault for fault in faults)


def test_signals_while_others_run_commands(mechanism: Mechanism) -> None:
    """Real ones, every few milliseconds, also within their handlers."""
    depth = [0, 0]

    def handle(_: int, __: FrameType | None) -> None:
        if depth[0] < 2:
            depth[0] += 1
            depth[1] += 1
            try:
                assert run(["echo", "x"], capture_output=True, containment=mechanism).stdout == b"x\n"
            finally:
                depth[0] -= 1

    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            assert run(["true"], containment=mechanism, timeout=PATIENCE).returncode == 0

    thread = threading.Thread(target=work)
    before = signal.signal(signal.SIGALRM, handle)
    thread.start()
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.005)
    try:
        while depth[1] < 30:
            assert run(["sh", "-c", "exit 3"], containment=mechanism).returncode == 3
            with Popen(["true"], containment=mechanism) as process:
                assert process.wait() == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        over.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("after", [0.01, 0.15])
@pytest.mark.parametrize("captured", [False, True])
def test_a_handler_that_forks(mechanism: Mechanism, captured: bool, after: float) -> None:
    """The copy comes back into the wait. It is told that it owns nothing, ends nothing and takes no output."""
    code, output, copy = run_apart(handlers.forks, mechanism, captured, after)
    assert (code, output, copy) == (0, "hi\n" if captured else None, 0)


class _Last:
    """Runs a command when it is collected."""

    def __init__(self, containment: Mechanism, done: list[int]) -> None:
        self.itself = self
        self._containment = containment
        self._done = done

    def __del__(self) -> None:
        self._done.append(run(["sh", "-c", "exit 3"], containment=self._containment).returncode)


def test_destructors_in_threads(mechanism: Mechanism) -> None:
    """The collection of garbage comes in any thread, between any two steps of it."""
    done: list[int] = []
    made = [0]

    def work() -> None:
        for _ in range(10):
            made[0] += 1
            _Last(mechanism, done)
            assert run(["true"], containment=mechanism, timeout=PATIENCE).returncode == 0

    before = gc.get_threshold()
    gc.set_threshold(20)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert done == [3] * made[0]
