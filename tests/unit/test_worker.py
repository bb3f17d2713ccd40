"""A thread that makes calls for event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from treeguard._core.worker import Worker

from ..support.patience import PATIENCE


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("worker-of-a-test")
    yield made
    made.close()


async def test_calls_are_made_elsewhere_and_in_order(worker: Worker) -> None:
    """All by one thread. What comes of a call is told to who waits for it."""
    made: list[int] = []

    def call(number: int) -> int:
        made.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(*(worker.run(lambda n=n: call(n)) for n in range(9)))  # type: ignore[misc]
    assert made == list(range(9))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_errors_are_raised_and_end_nothing(worker: Worker) -> None:
    """The thread goes on."""
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: 5) == 5


async def test_cancelled_call_is_made(worker: Worker) -> None:
    """Nobody hears of it then."""
    let_go, made = threading.Event(), threading.Event()

    def call() -> None:
        let_go.wait(PATIENCE)
        made.set()

    task = asyncio.ensure_future(worker.run(call))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    let_go.set()
    assert await worker.run(made.is_set)


def test_closed_loop_hears_nothing(worker: Worker) -> None:
    """What was asked for on a loop that was closed meanwhile does not hinder the next one."""
    let_go = threading.Event()

    async def ask() -> None:
        task = asyncio.ensure_future(worker.run(lambda: let_go.wait(PATIENCE)))
        await asyncio.sleep(0)
        assert not task.done()

    async def ask_again() -> int:
        return await worker.run(lambda: 5)

    asyncio.run(ask())
    let_go.set()
    assert asyncio.run(ask_again()) == 5


async def test_no_thread_is_to_be_had(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said, and does not stay so."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", mock.Mock(side_effect=RuntimeError("can't start new thread")))
        assert not worker.begin()
        with pytest.raises(RuntimeError, match="worker-of-a-test"):
            await worker.run(lambda: 5)
    assert worker.begin()
    assert await worker.run(lambda: 5) == 5
