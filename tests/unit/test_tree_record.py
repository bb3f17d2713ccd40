"""A tree's life, told by events that nobody but the test made."""

import asyncio
import errno
from typing import Any
from uuid import UUID

import pytest

from treeguard import ChildHandle, ConnectionId, ProcessEnded, ProgramNotFound, RootExit, SpawnParams
from treeguard._core import native
from treeguard._core.native import Event, Usage
from treeguard._core.trees.ids import IdIssuer
from treeguard._core.trees.record import TreeRecord
from treeguard.types import ResourceUsage

IDS = IdIssuer()
USAGE = Usage(1_500_000, 250_000, 2048, 1, 2, 3, 4)


def born(number: int = 1, parent: TreeRecord | None = None, kind: str = "external") -> TreeRecord:
    life = TreeRecord(IDS, number, SpawnParams("prog", kind=kind), parent)
    if parent is not None:
        parent.children.append(life)
    return life


def event(kind: int, **fields: Any) -> Event:
    nothing = {"tag": 1, "pid": 0, "step": "none", "errno": 0, "code": -1, "signal": 0, "usage": None, "total": None}
    return Event(kind=kind, **{**nothing, **fields})


STARTED = event(native.STARTED, pid=42)
ENDED = event(native.ENDED, code=3, usage=USAGE)
EMPTY = event(native.EMPTY, code=3, usage=USAGE)


def test_a_life_begins_with_nothing() -> None:
    """A life that was not told anything has not started and has not ended."""
    life = born()
    assert (life.started, life.empty, life.subtree_empty, life.kill_requested, life.lost) == (False,) * 5
    assert (life.exit, life.error, life.stopped) == (None,) * 3


def test_the_start_shows() -> None:
    """A started root has a process id."""
    life = born()
    life.apply(STARTED)
    assert life.started
    assert life.handle.os_pid == 42
    assert not life.empty


def test_stops_show_while_they_last() -> None:
    """A stopped root says by which signal, until it goes on."""
    life = born()
    life.apply(STARTED)
    life.apply(event(native.STOPPED, signal=19))
    assert (life.stopped, life.exit, life.empty) == (19, None, False)
    life.apply(event(native.CONTINUED))
    assert life.stopped is None


def test_the_end_comes_in_two_steps() -> None:
    """The root's end tells its exit and usage; only the tree's end makes it empty."""
    life = born()
    life.apply(STARTED)
    life.apply(ENDED)
    expected = RootExit(3, None, ResourceUsage(1.5, 0.25, 2048 * 1024, 1, 2, 3, 4))
    assert (life.exit, life.empty) == (expected, False)
    life.apply(EMPTY)
    assert (life.exit, life.empty, life.subtree_empty) == (expected, True, True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"code": 0}, RootExit(0, None)),
        ({"code": 255}, RootExit(255, None)),
        ({"code": -1, "signal": 9}, RootExit(None, 9)),
        ({"code": 137, "signal": 9}, RootExit(None, 9)),
        ({"code": -1}, RootExit(None, None)),
    ],
)
@pytest.mark.parametrize("kind", [native.ENDED, native.EMPTY])
def test_how_a_root_ended(kind: int, fields: dict[str, int], expected: RootExit) -> None:
    """Either the code or the signal is None, and both are if the end is unknown."""
    life = born()
    life.apply(STARTED)
    life.apply(event(kind, **fields))
    assert life.exit == expected


def test_a_failed_start() -> None:
    """A start that failed tells why, and leaves an empty tree."""
    life = born()
    life.apply(event(native.FAILED, step="exec", errno=errno.ENOENT))
    assert life.subtree_empty
    assert not life.started
    assert isinstance(life.error, ProgramNotFound)
    assert (life.error.step, life.error.filename) == ("exec", "prog")


def test_a_lost_guard_proves_nothing() -> None:
    """When the guard is lost, the tree is not empty by that."""
    life = born()
    life.apply(STARTED)
    life.apply(event(native.LOST))
    assert life.lost
    assert not life.empty
    assert life.exit is None


def test_the_handle() -> None:
    """The handle says what is known: kind, parent, connection and the root's process id."""
    parent = born(1)
    life = born(2, parent, kind="io")
    assert life.handle == ChildHandle(life.pid, "io", parent.pid, None, 0)
    life.apply(STARTED)
    life.connection = ConnectionId(UUID(int=9))
    assert life.handle == ChildHandle(life.pid, "io", parent.pid, life.connection, 42)


def family() -> dict[str, TreeRecord]:
    """Two children of a root, the first with two children, one of them with one."""
    lives = {"root": born(1)}
    plan = [("a", "root"), ("b", "root"), ("a1", "a"), ("a2", "a"), ("a1x", "a1")]
    for number, (name, parent) in enumerate(plan, 2):
        lives[name] = born(number, lives[parent])
    return lives


def test_children_come_first() -> None:
    """A subtree is told from below: each life after all of its children, the oldest first."""
    lives = family()
    names = {life.pid: name for name, life in lives.items()}
    assert [names[life.pid] for life in lives["root"].subtree()] == ["a1x", "a1", "a2", "a", "b", "root"]
    assert [names[life.pid] for life in lives["a1"].subtree()] == ["a1x", "a1"]


def test_a_subtree_may_change_while_it_is_told() -> None:
    """A child that leaves while the subtree is being walked disturbs nothing, and none is missed."""
    lives = family()
    seen = []
    for life in lives["root"].subtree():
        seen.append(life)
        life.apply(EMPTY)
        life.leave()
    assert len(seen) == len(lives)


def test_parents_settle_after_their_children() -> None:
    """An empty tree settles with the last of its children, and so on upwards."""
    lives = family()
    for name in ("root", "a", "a1", "a2"):
        lives[name].apply(EMPTY)
        assert lives[name].empty
    assert not lives["root"].subtree_empty
    assert not lives["a1"].subtree_empty
    lives["a1x"].apply(EMPTY)
    assert lives["a1x"].subtree_empty
    assert lives["a1x"].leave() is lives["a1"]
    assert lives["a1"].subtree_empty
    assert lives["a2"].leave() is None, "a still waits for a1"
    assert lives["a1"].leave() is lives["a"]
    assert lives["a"].leave() is None, "the root still waits for b"
    assert not lives["root"].subtree_empty
    lives["b"].apply(EMPTY)
    assert lives["b"].leave() is lives["root"]
    assert lives["root"].subtree_empty
    assert lives["root"].leave() is None


def test_a_parent_that_lives_does_not_settle() -> None:
    """The last child's end does not settle a parent that is not empty itself."""
    lives = family()
    lives["a1x"].apply(EMPTY)
    assert lives["a1x"].leave() is None
    assert not lives["a1"].subtree_empty


def test_who_left_has_no_parent() -> None:
    """A life that left keeps nothing of its parent, and is not found below it."""
    lives = family()
    lives["b"].apply(EMPTY)
    lives["b"].leave()
    assert lives["b"].handle.parent is None
    assert lives["b"] not in lives["root"].subtree()
    assert lives["b"].leave() is None


async def waiting(life: TreeRecord, n: int) -> list[asyncio.Task[None]]:
    """So many tasks that wait for a change."""
    tasks = [asyncio.ensure_future(life._waiters.wait()) for _ in range(n)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


CHANGES = {
    "started": STARTED,
    "failed": event(native.FAILED, step="exec", errno=errno.ENOENT),
    "stopped": event(native.STOPPED, signal=19),
    "continued": event(native.CONTINUED),
    "ended": ENDED,
    "empty": EMPTY,
    "lost": event(native.LOST),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_every_event_wakes_all(change: Event) -> None:
    """Each event wakes everybody who waits, once."""
    life = born()
    tasks = await waiting(life, 3)
    life.apply(change)
    await asyncio.gather(*tasks)
    (again,) = await waiting(life, 1)
    life.wake()
    await again


async def test_a_cancelled_waiter_is_forgotten() -> None:
    """A waiter that gives up is dropped, and the others are still woken."""
    life = born()
    first, second, third = await waiting(life, 3)
    second.cancel()
    await asyncio.sleep(0)
    assert len(life._waiters) == 2
    life.apply(STARTED)
    await asyncio.gather(first, third)
    assert second.cancelled()


async def test_a_waiter_cancelled_in_the_same_turn() -> None:
    """A cancellation between the event and the waking is no error."""
    life = born()
    first, second = await waiting(life, 2)
    first.cancel()
    life.apply(STARTED)
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert not second.cancelled()


def test_waiters_of_a_closed_loop_are_passed_over() -> None:
    """Waking goes on past who waited on a loop that is closed."""
    life = born()
    loop = asyncio.new_event_loop()
    left = loop.create_future()
    left.add_done_callback(print)
    life._waiters.add(left)
    loop.close()
    life.apply(STARTED)
    assert not left.done()
    assert not life._waiters


async def test_a_beginning() -> None:
    """begin() returns when the root runs, not earlier, and at once if it ran before."""
    life = born()
    task = asyncio.ensure_future(life.begin())
    await asyncio.sleep(0)
    life.wake()  # for nothing
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    life.apply(STARTED)
    await task
    await life.begin()


async def test_a_beginning_that_was_over_at_once() -> None:
    """begin() returns also for a root that has ended by the time anybody looks."""
    life = born()
    task = asyncio.ensure_future(life.begin())
    await asyncio.sleep(0)
    for each in (STARTED, ENDED, EMPTY):
        life.apply(each)
    await task


async def test_a_beginning_that_failed() -> None:
    """begin() raises why the root could not be started, whether by event or by call."""
    failed, refused = born(), born()
    tasks = [asyncio.ensure_future(life.begin()) for life in (failed, refused)]
    await asyncio.sleep(0)
    failed.apply(CHANGES["failed"])
    refused.fail(ProcessEnded("never mind"))
    with pytest.raises(ProgramNotFound):
        await tasks[0]
    with pytest.raises(ProcessEnded, match="never mind"):
        await tasks[1]
    assert refused.subtree_empty


@pytest.mark.parametrize("change", ["empty", "lost"])
async def test_a_beginning_that_was_ended(change: str) -> None:
    """begin() raises ProcessEnded if the tree went before its root ran."""
    life = born()
    task = asyncio.ensure_future(life.begin())
    await asyncio.sleep(0)
    life.apply(CHANGES[change])
    with pytest.raises(ProcessEnded):
        await task
