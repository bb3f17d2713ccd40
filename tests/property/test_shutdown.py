"""Graceful shutdown against managers without processes, on a virtual clock, compared with a model of the contract."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from treeguard import (
    GracefulShutdownOutcome,
    ProcessId,
    ShutdownTreeResponse,
    UnknownProcess,
    graceful_shutdown_tree,
)

from .managers import NeverSpawning
from .virtual_clock import Canceller, run

PID = ProcessId(UUID(int=7))


class KillFailed(OSError):
    """What a kill may raise."""


Ack = Literal["yes", "no", "raises", "raises at once", "cancels itself", "no answer", "never", "deaf"]


@dataclass(frozen=True)
class Child:
    """How a child behaves. All times are in seconds; None is never.

    Times of different things have different fractions, so that no two of them ever happen at the same moment.
    """

    empty: bool = False
    ack: Ack = "yes"
    acks_after: float = 0.25
    wrapped: bool = False
    leaves_after_ack: float | None = None
    leaves_at: float | None = None
    kill_takes: float = 0
    kill_raises: bool = False
    dies_after_kill: float | None = 0
    sees_exits: bool = True


def _times(fraction: float) -> st.SearchStrategy[float]:
    """Zero, which means at once and without giving up control, or a time with this fraction."""
    return st.just(0.0) | st.integers(0, 5).map(lambda n: n + fraction)


CHILDREN = st.builds(
    Child,
    empty=st.integers(0, 9).map(lambda n: n == 0),
    ack=st.sampled_from(
        ["yes", "yes", "yes", "no", "raises", "raises at once", "cancels itself", "no answer", "never", "deaf"]
    ),
    acks_after=_times(1 / 4),
    wrapped=st.booleans(),
    leaves_after_ack=st.none() | _times(1 / 8),
    leaves_at=st.none() | st.integers(0, 9).map(lambda n: n + 1 / 16),
    kill_takes=_times(1 / 32),
    kill_raises=st.integers(0, 4).map(lambda n: n == 0),
    dies_after_kill=st.none() | _times(1 / 2),
    sees_exits=st.integers(0, 4).map(lambda n: n > 0),
)
TIMEOUTS = st.integers(0, 5).map(float) | st.integers(0, 5)


def wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class FakeManager(NeverSpawning):
    """Implements what is abstract. Its child exists as a plan only."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.gone = child.empty
        self.sends = 0
        self.kills = 0
        self.kills_done: list[float] = []
        self._waiters: list[asyncio.Future[None]] = []

    async def terminate_tree(self, pid: ProcessId, force: bool) -> None:
        assert pid == PID
        assert force is True
        self.kills += 1
        if self.child.kill_takes:
            await asyncio.sleep(self.child.kill_takes)
        if self.child.kill_raises:
            raise KillFailed
        self.kills_done.append(asyncio.get_running_loop().time())
        self.leave_in(self.child.dies_after_kill)

    def leave_in(self, delay: float | None) -> None:
        if delay == 0:
            self._leave()
        elif delay is not None:
            asyncio.get_running_loop().call_later(delay, self._leave)

    def _leave(self) -> None:
        self.gone = True
        for waiter in self._waiters:
            wake(waiter)

    def send_shutdown(self) -> Awaitable[ShutdownTreeResponse]:
        self.sends += 1
        if self.child.ack == "raises at once":
            raise ConnectionError("no connection")
        answer = self._answer()
        return asyncio.ensure_future(answer) if self.child.wrapped else answer

    async def _answer(self) -> ShutdownTreeResponse:
        child = self.child
        if child.ack == "never":
            await asyncio.get_running_loop().create_future()
        if child.ack == "deaf":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                await asyncio.sleep(child.acks_after)
                raise ConnectionError("lost, and nobody is listening any more") from None
        if child.acks_after:
            await asyncio.sleep(child.acks_after)
        if child.ack == "raises":
            raise ConnectionError("the connection was lost")
        if child.ack == "cancels itself":
            raise asyncio.CancelledError
        if child.ack == "no answer":
            return None  # type: ignore[return-value]
        if child.ack == "yes":
            self.leave_in(child.leaves_after_ack)
        return ShutdownTreeResponse(child.ack == "yes")


class SeeingManager(FakeManager):
    """Sees when its child's tree is empty."""

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool:
        assert pid == PID
        assert timeout is not None
        if self.gone or not timeout:
            return self.gone
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(timeout, wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
        return self.gone


def manager_of(child: Child) -> FakeManager:
    """The manager of a child, with the waiting of the abstract class or with its own."""
    return SeeingManager(child) if child.sees_exits else FakeManager(child)


def at_last_moment(child: Child) -> bool:
    """Whether the answer comes at once, but through a task: with no time at all for it, the contract is silent."""
    return child.wrapped and not child.acks_after


@dataclass(frozen=True)
class Expected:
    """What the contract says. No outcome: the kill's error."""

    outcome: GracefulShutdownOutcome | None
    took: float
    sends: int
    kills: int


def expected(child: Child, ack_timeout: float, exit_timeout: float) -> Expected:
    """The contract, told with a plan of all that will happen instead of a clock."""
    never = math.inf
    if child.empty and child.sees_exits:
        return Expected(GracefulShutdownOutcome(False, True, False), 0, sends=0, kills=0)
    answers_at = {"never": never, "deaf": never, "raises at once": 0}.get(child.ack, child.acks_after)
    acknowledged = child.ack == "yes" and answers_at <= ack_timeout
    now = min(answers_at, ack_timeout)
    leaves_at = 0 if child.empty else never if child.leaves_at is None else child.leaves_at
    if acknowledged and child.leaves_after_ack is not None:
        leaves_at = min(leaves_at, now + child.leaves_after_ack)
    if not child.sees_exits:
        leaves_at = never
    if acknowledged:
        if leaves_at <= now + exit_timeout:
            return Expected(GracefulShutdownOutcome(True, True, False), max(now, leaves_at), sends=1, kills=0)
        now += exit_timeout
    now += child.kill_takes
    if child.kill_raises:
        return Expected(None, now, sends=1, kills=1)
    if child.dies_after_kill is not None and child.sees_exits:
        leaves_at = min(leaves_at, now + child.dies_after_kill)
    exited = leaves_at <= now + exit_timeout
    now = max(now, leaves_at) if exited else now + exit_timeout
    return Expected(GracefulShutdownOutcome(acknowledged, exited, True), now, sends=1, kills=1)


@given(CHILDREN, TIMEOUTS, TIMEOUTS)
@example(Child(leaves_after_ack=0), 1, 1)
@example(Child(ack="never"), 1, 1)
@example(Child(ack="deaf"), 1, 1)
@example(Child(kill_takes=1.03125), 1, 1)
@example(Child(ack="raises at once", kill_raises=True), 1, 1)
def test_a_shutdown_is_what_the_contract_says(child: Child, ack_timeout: float, exit_timeout: float) -> None:
    """Outcome, duration, and the numbers of requests and kills are those of the model."""
    assume(ack_timeout or not at_last_moment(child))
    manager = manager_of(child)

    async def work() -> GracefulShutdownOutcome | None:
        if child.leaves_at is not None:
            manager.leave_in(child.leaves_at)
        try:
            return await graceful_shutdown_tree(manager, PID, manager.send_shutdown, ack_timeout, exit_timeout)
        except KillFailed:
            return None

    outcome, took = run(work())
    assert Expected(outcome, took, manager.sends, manager.kills) == expected(child, ack_timeout, exit_timeout)
    assert took <= ack_timeout + 2 * exit_timeout + child.kill_takes


def shut_down(
    child: Child, ack_timeout: float, exit_timeout: float, canceller: Canceller
) -> tuple[FakeManager, BaseException | None, float]:
    """The manager, what the shutdown raised, and how long it took."""
    manager = manager_of(child)

    async def work() -> BaseException | None:
        canceller.task = asyncio.current_task()
        if child.leaves_at is not None:
            manager.leave_in(child.leaves_at)
        try:
            await graceful_shutdown_tree(manager, PID, manager.send_shutdown, ack_timeout, exit_timeout)
        except (OSError, asyncio.CancelledError) as e:
            return e
        return None

    error, took = run(work(), canceller)
    return manager, error, took


@given(CHILDREN, TIMEOUTS, TIMEOUTS, st.integers(1, 6))
@example(Child(ack="raises"), 1, 1, 1)
@example(Child(kill_takes=2.03125), 1, 1, 1)
@example(Child(kill_takes=2.03125, kill_raises=True), 1, 1, 2)
def test_a_cancelled_shutdown_kills(child: Child, ack_timeout: float, exit_timeout: float, again: int) -> None:
    """Cancelled in any turn of the loop, and once more a little later, it kills the tree to the end and says so."""
    undisturbed = Canceller()
    shut_down(child, ack_timeout, exit_timeout, undisturbed)
    for turn in range(1, undisturbed.turns + 1):
        for turns in ((turn,), (turn, turn + again)):
            canceller = Canceller(*turns)
            manager, error, took = shut_down(child, ack_timeout, exit_timeout, canceller)
            if not canceller.at:
                continue
            assert took <= canceller.at[0] + child.kill_takes
            if not child.kill_raises:
                assert isinstance(error, asyncio.CancelledError)
                assert manager.kills_done
                assert manager.kills_done[-1] == took
            elif len(canceller.at) == 1:
                assert isinstance(error, OSError)
                assert isinstance(error.__context__, asyncio.CancelledError)
            else:
                assert error is not None
                assert isinstance(error, OSError) or isinstance(error.__cause__ or error.__context__, OSError)
            assert 1 <= manager.kills <= 2 + len(canceller.at)
            assert manager.sends <= 1


@given(CHILDREN.filter(lambda child: not child.kill_raises), TIMEOUTS, TIMEOUTS, st.integers(0, 9))
def test_a_deadline_around_a_shutdown_kills(
    child: Child, ack_timeout: float, exit_timeout: float, deadline: int
) -> None:
    """asyncio.wait_for around a shutdown that takes longer ends the tree, then raises TimeoutError."""
    assume(ack_timeout or not at_last_moment(child))
    manager = manager_of(child)
    limit = deadline + 1 / 64

    async def work() -> bool:
        if child.leaves_at is not None:
            manager.leave_in(child.leaves_at)
        shutdown = graceful_shutdown_tree(manager, PID, manager.send_shutdown, ack_timeout, exit_timeout)
        try:
            await asyncio.wait_for(shutdown, limit)
        except asyncio.TimeoutError:
            return True
        return False

    late, took = run(work())
    assert late == (expected(child, ack_timeout, exit_timeout).took > limit)
    if late:
        assert manager.kills_done[-1] == took == limit + child.kill_takes


def test_an_empty_tree_is_left_alone() -> None:
    """Already empty: (False, True, False), and nothing is sent, nothing killed, no time lost."""
    manager = SeeingManager(Child(empty=True))
    outcome, took = run(graceful_shutdown_tree(manager, PID, manager.send_shutdown, 5, 5))
    assert outcome == GracefulShutdownOutcome(acknowledged=False, exited=True, forced=False)
    assert (took, manager.sends, manager.kills) == (0, 0, 0)


def test_endless_timeouts_are_taken() -> None:
    """Infinity waits as long as it takes."""
    manager = SeeingManager(Child(acks_after=200_000.25, leaves_after_ack=100_000.125))
    outcome, took = run(graceful_shutdown_tree(manager, PID, manager.send_shutdown, math.inf, math.inf))
    assert outcome == GracefulShutdownOutcome(acknowledged=True, exited=True, forced=False)
    assert took == 300_000.375


BAD_TIMEOUTS: list[tuple[object, type[Exception]]] = [
    (-1, ValueError),
    (-0.001, ValueError),
    (math.nan, ValueError),
    (-math.inf, ValueError),
    (None, TypeError),
    (True, TypeError),
    ("1", TypeError),
    (1j, TypeError),
]


@pytest.mark.parametrize("name", ["ack_timeout", "exit_timeout"])
@pytest.mark.parametrize(("value", "kind"), BAD_TIMEOUTS)
def test_a_bad_timeout_is_refused(name: str, value: object, kind: type[Exception]) -> None:
    """A timeout that cannot be waited raises before anything happens, and the message names it and no other."""
    manager = SeeingManager(Child())
    timeouts = {"ack_timeout": 1.0, "exit_timeout": 1.0, name: value}
    with pytest.raises(kind) as caught:
        run(graceful_shutdown_tree(manager, PID, manager.send_shutdown, **timeouts))  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{name} must")
    assert (manager.sends, manager.kills) == (0, 0)


def test_an_overridden_kill_is_used() -> None:
    """A manager with a kill of its own is asked for that one."""

    class Killer(SeeingManager):
        async def kill_tree(self, pid: ProcessId) -> None:
            assert pid == PID
            killed.append(pid)
            self.leave_in(0)

    killed: list[ProcessId] = []
    manager = Killer(Child(ack="no"))
    outcome, _ = run(graceful_shutdown_tree(manager, PID, manager.send_shutdown, 1, 1))
    assert outcome == GracefulShutdownOutcome(acknowledged=False, exited=True, forced=True)
    assert (killed, manager.kills) == ([PID], 0)


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_errors_of_the_manager_are_raised(calls: int) -> None:
    """An error of waiting for the exit, in whichever phase, reaches the caller."""

    class Forgetful(SeeingManager):
        waits = 0

        async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool:
            self.waits += 1
            if self.waits == calls:
                raise UnknownProcess("never heard of it")
            return await super().wait_for_exit(pid, timeout)

    manager = Forgetful(Child())
    with pytest.raises(UnknownProcess):
        run(graceful_shutdown_tree(manager, PID, manager.send_shutdown, 1, 1))


def test_any_awaitable_will_do() -> None:
    """What send_shutdown returns needs to be awaitable, and no more than that."""

    class Answer:
        def __await__(self) -> Generator[object, None, ShutdownTreeResponse]:
            yield from asyncio.sleep(1).__await__()
            return ShutdownTreeResponse(acknowledged=True)

    manager = SeeingManager(Child(leaves_at=2))

    async def work() -> GracefulShutdownOutcome:
        manager.leave_in(2)
        return await graceful_shutdown_tree(manager, PID, Answer, 3, 3)

    assert run(work()) == (GracefulShutdownOutcome(acknowledged=True, exited=True, forced=False), 2)


def test_cancellation_leaves_no_request_behind() -> None:
    """A request that is under way is cancelled with the shutdown."""
    ended: list[str] = []

    async def ask() -> ShutdownTreeResponse:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cancelled")
        raise AssertionError

    async def work() -> None:
        manager = SeeingManager(Child())
        task = asyncio.ensure_future(graceful_shutdown_tree(manager, PID, ask, 10, 10))
        await asyncio.sleep(1)
        assert not ended
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    _, took = run(work())
    assert ended == ["cancelled"]
    assert took == 1


def test_a_late_request_is_cancelled() -> None:
    """A request that was not acknowledged in time does not go on."""
    sent: list[Callable[[], bool]] = []

    async def work() -> None:
        def send() -> Awaitable[ShutdownTreeResponse]:
            request: asyncio.Future[ShutdownTreeResponse] = asyncio.get_running_loop().create_future()
            sent.append(request.cancelled)
            return request

        await graceful_shutdown_tree(SeeingManager(Child()), PID, send, 1, 1)

    run(work())
    assert [cancelled() for cancelled in sent] == [True]
