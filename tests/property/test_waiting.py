"""Waiting that must be finished, whenever it is cancelled; and the waiting of the abstract manager."""

import asyncio
from typing import Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treeguard import ProcessId, ProcessManager
from treeguard._core.validation import optional_seconds
from treeguard._core.waiting import run_to_completion

from .managers import NeverSpawning
from .virtual_clock import Deadlock, run

PID = ProcessId(UUID(int=7))

End = Literal["returns", "raises", "cancels itself"]
ENDS: list[End] = ["returns", "raises", "cancels itself"]


class Failure(Exception):
    pass


@given(
    takes=st.integers(0, 5).map(float),
    end=st.sampled_from(ENDS),
    cancels=st.lists(st.integers(0, 6).map(lambda n: n + 0.5), max_size=3),
)
def test_uncancelled_work_is_finished(takes: float, end: End, cancels: list[float]) -> None:
    """However often it is cancelled, the work is done in its time; then the cancellation comes, from its error."""
    ended: list[float] = []
    caught: list[BaseException] = []

    async def work() -> str:
        await asyncio.sleep(takes)
        ended.append(asyncio.get_running_loop().time())
        if end == "raises":
            raise Failure
        if end == "cancels itself":
            raise asyncio.CancelledError
        return "done"

    async def guarded() -> str | None:
        try:
            return await run_to_completion(work())
        except (Failure, asyncio.CancelledError) as e:
            caught.append(e)
            return None

    async def main() -> str | None:
        task = asyncio.ensure_future(guarded())
        for delay in cancels:
            asyncio.get_running_loop().call_later(delay, task.cancel)
        return await task

    result, took = run(main())
    assert ended == [takes]
    assert took == takes
    cancelled = any(delay < takes for delay in cancels)
    if end == "returns" and not cancelled:
        assert (result, caught) == ("done", [])
    elif end == "raises" and not cancelled:
        assert [type(e) for e in caught] == [Failure]
    else:
        assert [type(e) for e in caught] == [asyncio.CancelledError]
        assert isinstance(caught[0].__cause__, Failure) == (end == "raises")


@given(st.floats(0, allow_nan=False) | st.integers(0))
def test_numbers_of_seconds_are_taken(value: float) -> None:
    """Zero, more, and infinity can be waited; None is without end."""
    assert optional_seconds("timeout", value) == value
    assert optional_seconds("timeout", None) is None


@given(st.floats(max_value=0, exclude_max=True) | st.integers(max_value=-1) | st.just(float("nan")))
def test_less_than_nothing_is_refused(value: float) -> None:
    """Negative numbers, and what is not a number, raise ValueError that names the argument."""
    with pytest.raises(ValueError, match=r"^patience must be a (non-negative )?number of seconds or None, not"):
        optional_seconds("patience", value)


@given(st.text() | st.binary() | st.booleans() | st.complex_numbers() | st.lists(st.floats()))
def test_what_is_no_number_is_refused(value: float) -> None:
    """Other types raise TypeError that names the argument."""
    with pytest.raises(TypeError, match=r"^patience must be a number of seconds"):
        optional_seconds("patience", value)


class MinimalManager(NeverSpawning):
    """Implements what is abstract, and no more."""

    def __init__(self) -> None:
        self.calls: list[tuple[ProcessId, bool]] = []

    async def terminate_tree(self, pid: ProcessId, force: bool) -> None:
        self.calls.append((pid, force))


@given(st.integers(0, 1000))
def test_the_default_wait_waits_the_time_out(timeout: int) -> None:
    """Without knowledge of its processes, a manager waits as long as it was told and says False."""
    assert run(MinimalManager().wait_for_exit(PID, timeout)) == (False, timeout)


def test_the_default_wait_without_end() -> None:
    """Without a timeout, the default wait never ends."""
    with pytest.raises(Deadlock):
        run(MinimalManager().wait_for_exit(PID, None))


def test_the_default_kill_is_a_forced_termination() -> None:
    """A manager that has no kill of its own terminates by force, once."""
    manager = MinimalManager()
    run(manager.kill_tree(PID))
    assert manager.calls == [(PID, True)]


def test_the_contract_is_abstract() -> None:
    """What a manager must implement is what has no default."""
    assert ProcessManager.__abstractmethods__ == {
        "spawn_child",
        "attach_connection",
        "list_children",
        "terminate_tree",
    }
    with pytest.raises(TypeError):
        ProcessManager()  # type: ignore[abstract]
