"""Whatever crosses the lifeline: a guard obeys no garbage, and a supervisor survives a guard that talks it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from treeguard import GuardLost, LocalProcessManager, SpawnError, SpawnParams, TreeguardError
from treeguard._core import native as _native
from treeguard._core.native import NativeEngine, NativeTree, Spec

from ..support.adoption import Adoption
from ..support.judge import children, descriptors, look
from ..support.patience import PATIENCE, wait_until
from ..support.programs import Programs

ROOT = Path(__file__).parents[2]
_ORDERS = re.search(r"enum \{ (TG_ORDER_[^}]+) \}", (ROOT / "csrc" / "wire.h").read_text(encoding="utf-8"))
assert _ORDERS is not None
#: The orders that there are, by name.
ORDERS = {name: number for number, name in enumerate(_ORDERS[1].split(", "))}
_ORDER = struct.Struct("=ii")

patiently = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
int32 = st.integers(-(2**31), 2**31 - 1)


# Towards the guard.


class Driven:
    """A real guard with a root, and its lifeline in the hands of a test."""

    def __init__(self, guard: str, program: str) -> None:
        self._engine = NativeEngine()
        before = descriptors()
        spec = Spec(program.encode(), b"root\0", 1, b"", 0, None, (-1, -1, -1), (), 0, -1, guard=os.fsencode(guard))
        self._tree: NativeTree | None = self._engine.spawn(spec, 1)
        (lifeline,) = [fd for fd, _ in descriptors().items() - before.items()]
        self._lifeline = socket.socket(fileno=os.dup(lifeline))
        self.root = self.hear(_native.STARTED).pid
        root = look(self.root)
        assert root is not None
        self.guard = root.parent

    def say(self, message: bytes) -> None:
        """Sends a message as it is."""
        self._lifeline.send(message)

    def hear(self, kind: int) -> _native.Event:
        """The next event of this kind; the last one fails the test, if it is another."""
        found: list[_native.Event] = []

        def heard() -> bool:
            event = self._tree.poll() if self._tree else None
            found.extend([*self._engine.drain(), *([event] if event else [])])
            last = [e for e in found if e.kind in (_native.FAILED, _native.EMPTY, _native.LOST, kind)]
            assert not last or last[0].kind == kind, last
            return bool(last)

        wait_until(heard, f"event {kind}")
        return next(e for e in found if e.kind == kind)

    def obeyed_all(self) -> None:
        """Waits until the guard has read what it was sent: it sleeps, and nothing waits in its end of the lifeline."""
        unsent = struct.Struct("i")

        def read() -> bool:
            # ioctl(2), SIOCOUTQ: what the other side has not read yet.
            (left,) = unsent.unpack(fcntl.ioctl(self._lifeline, 0x5411, unsent.pack(0)))
            seen = look(self.guard)
            return left == 0 and seen is not None and seen.state == "S"

        wait_until(read, "the guard has read all")

    @property
    def alive(self) -> list[bool]:
        """Whether guard and root live."""
        return [seen is not None and seen.state in "SR" for seen in (look(self.guard), look(self.root))]

    def kill(self) -> _native.Event:
        """Ends the tree by the order for that."""
        assert self._tree is not None
        self._tree.kill()
        return self.hear(_native.EMPTY)

    def close(self) -> None:
        self._lifeline.close()
        if self._tree is not None:
            self._tree.free()
            self._tree = None
        self._engine.close()


@contextlib.contextmanager
def driven(guard: str, program: str) -> Iterator[Driven]:
    one = Driven(guard, program)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module", params=["shipped", "sanitized"])
def guard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The guard as it is shipped, and one that ends at once when it does what C does not define."""
    if request.param == "shipped":
        return _native.GUARD
    out = tmp_path_factory.mktemp("guard")
    command = ["make", "-s", "-C", str(ROOT / "tests" / "native"), f"OUT={out}", f"{out}/sanitized/guard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(out / "sanitized" / "guard")


def is_order(message: bytes) -> bool:
    """Whether this is an order that a guard may obey."""
    if len(message) != _ORDER.size:
        return False
    order, number = _ORDER.unpack(message)
    return order in ORDERS.values() and (order != ORDERS["TG_ORDER_SIGNAL"] or 0 < number <= 64)


def longer(message: bytes) -> bytes:
    return message + b"\0"


orders = st.builds(_ORDER.pack, st.one_of(st.sampled_from(sorted(ORDERS.values())), int32), int32)
#: Nothing in it is an order; an empty message cannot be told from the end of the lifeline, and is taken for that.
garbage = st.one_of(
    st.binary(min_size=1, max_size=200), orders, orders.map(longer), orders.map(lambda order: order[:-1])
).filter(lambda message: not is_order(message))


@patiently
@given(messages=st.lists(garbage, min_size=1, max_size=20))
@example(messages=[_ORDER.pack(ORDERS["TG_ORDER_KILL"], 0) + b"!"])
@example(messages=[_ORDER.pack(77, signal.SIGKILL), _ORDER.pack(-1, signal.SIGTERM)])
@example(messages=[_ORDER.pack(ORDERS["TG_ORDER_SIGNAL"], number) for number in (0, -1, -9, 65, 2**31 - 1)])
def test_guard_obeys_no_garbage(guard: str, programs: Programs, messages: list[bytes]) -> None:
    """Whatever is not an order changes nothing: guard and root live on, and the next order is obeyed."""
    with driven(guard, programs.tiny) as tree:
        for message in messages:
            tree.say(message)
        tree.obeyed_all()
        assert tree.alive == [True, True]
        end = tree.kill()
        assert (end.code, end.signal) == (-1, signal.SIGKILL)


@pytest.mark.parametrize(
    ("message", "ended_by"),
    [
        (_ORDER.pack(ORDERS["TG_ORDER_KILL"], 0), signal.SIGKILL),
        (_ORDER.pack(ORDERS["TG_ORDER_SIGNAL"], signal.SIGTERM), signal.SIGTERM),
        (b"", signal.SIGKILL),
    ],
)
def test_control_orders_are_obeyed(guard: str, programs: Programs, message: bytes, ended_by: int) -> None:
    """Control: the same test sees it when an order is obeyed."""
    with driven(guard, programs.tiny) as tree:
        tree.say(message)
        end = tree.hear(_native.EMPTY)
        assert (end.code, end.signal) == (-1, ended_by)


# From the guard.

#: Process ids that nobody has: the loss of a guard ends the group of the root that it named.
nobody = st.one_of(st.integers(-(2**31), 1), st.integers(2**23, 2**31 - 1))
KINDS = {name: getattr(_native, name) for name in ("STARTED", "FAILED", "STOPPED", "CONTINUED", "ENDED", "EMPTY")}


def event(**fields: int) -> bytes:
    """The bytes of an event."""
    made: Any = _native._ffi.new("struct tg_event *", {"code": -1, **fields})
    return bytes(_native._ffi.buffer(made))


likely = {
    "kind": st.one_of(st.sampled_from(sorted(KINDS.values())), st.integers(-2, 12), int32),
    "pid": st.one_of(st.just(2**23), nobody),
    "step": st.one_of(st.just(0), st.integers(-1, 30), int32),
    "err": st.one_of(st.just(0), st.integers(-1, 140), int32),
    "code": st.one_of(st.integers(-1, 255), int32),
    "signal": st.one_of(st.integers(0, 64), int32),
}
events = st.fixed_dictionaries(likely, optional={"tag": st.integers(0, 2**64 - 1)}).map(lambda fields: event(**fields))
started = event(kind=_native.STARTED, pid=2**23)
talk = st.one_of(
    events,
    st.just(started),
    st.sampled_from(sorted(KINDS.values())).map(lambda kind: event(kind=kind, pid=2**23)),
    events.map(longer),
    events.flatmap(lambda whole: st.integers(0, len(whole) - 1).map(lambda size: whole[:size])),
    st.binary(max_size=400),
)
#: How long, in seconds, a guard is listened to that says nothing of its start.
SILENCE = 0.5
ends = st.sampled_from(["", "hang stay", "crash", "read crash", "hang"])


def words(messages: list[bytes], end: str) -> tuple[str, ...]:
    """What a liar is told to do."""
    return (*(message.hex() for message in messages), *end.split())


async def survive(programs: Programs, lies: tuple[str, ...]) -> str:
    """A manager with a good tree and one of a lying guard's. Returns what became of that."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    async with LocalProcessManager(containment="subreaper") as manager:
        good = await manager.spawn_child(SpawnParams(programs.tiny))
        outcome = "empty"
        with mock.patch.object(_native, "GUARD", programs.liar):
            try:
                bad = await asyncio.wait_for(manager.spawn_child(SpawnParams(programs.tiny, lies)), SILENCE)
                await manager.terminate_tree(bad.pid)
                await manager.kill_tree(bad.pid)
                assert await manager.wait_for_exit(bad.pid, PATIENCE)
            except asyncio.TimeoutError:
                outcome = "silent"
            except GuardLost:
                outcome = "lost"
            except TreeguardError as error:
                outcome = type(error).__name__
        assert await manager.list_children() == [good]
        assert not await manager.wait_for_exit(good.pid, 0)
        await manager.kill_tree(good.pid)
        assert await manager.wait_for_exit(good.pid, PATIENCE)
    assert not problems
    return outcome


@patiently
@given(messages=st.lists(talk, max_size=8), end=ends)
def test_supervisor_survives_a_lying_guard(programs: Programs, messages: list[bytes], end: str) -> None:
    """Whatever a guard sends, the end of its tree is reported, and other trees are not touched."""
    before = descriptors()
    asyncio.run(survive(programs, words(messages, end)))
    assert not children()
    assert descriptors() == before


GONE = [event(kind=_native.EMPTY, pid=2**23, code=0)]


@pytest.mark.parametrize(
    ("messages", "end", "outcome"),
    [
        ([started, *GONE], "", "empty"),
        ([started, *GONE], "hang stay", "empty"),
        ([started, *GONE], "stay", "empty"),
        ([started], "", "lost"),
        # Nothing descends from it when its tree is ended without it.
        ([started], "hang stay", "empty"),
        ([started, started], "stay", "lost"),
        ([started, *GONE, *GONE], "stay", "empty"),
        ([started, b"nonsense"], "stay", "lost"),
        ([started, event(kind=_native.LOST)], "stay", "lost"),
        ([started, event(kind=_native.FAILED, step=1, err=5)], "stay", "lost"),
        ([started, event(kind=_native.STOPPED, signal=-19)], "stay", "lost"),
        ([started[:-1]], "stay", "lost"),
        ([started + b"\0"], "stay", "lost"),
        ([event(kind=_native.STARTED, pid=-4)], "stay", "lost"),
        ([event(kind=_native.STARTED, pid=1)], "stay", "lost"),
        ([event(kind=_native.FAILED, step=99, err=5)], "stay", "lost"),
        ([event(kind=_native.FAILED, step=0, err=0)], "stay", "lost"),
        (GONE, "", "ProcessEnded"),
        ([], "", "BrokenInstall"),
        ([], "crash", "lost"),
    ],
)
async def test_lies_are_told(programs: Programs, messages: list[bytes], end: str, outcome: str) -> None:
    """A guard that talks nonsense is ended and lost; one that stays after its last word is ended too."""
    assert await survive(programs, words(messages, end)) == outcome


@pytest.mark.parametrize("end", ["child", "child crash"])
async def test_guard_that_dies_before_it_has_told_of_its_start_may_have_made_one(
    programs: Programs, end: str, adoption: Adoption
) -> None:
    """What it has left carries the tree's mark, and is gone when the spawn raises."""
    assert await survive(programs, words([], end)) == ("BrokenInstall" if end == "child" else "lost")
    assert not [seen for seen in adoption.newcomers().values() if seen.state != "Z"]


async def test_failure_is_believed(programs: Programs) -> None:
    """Control: what a guard says of a failed start is told as it is."""
    lies = words([event(kind=_native.FAILED, step=1, err=5)], "")
    with mock.patch.object(_native, "GUARD", programs.liar):
        async with LocalProcessManager(containment="subreaper") as manager:
            with pytest.raises(SpawnError) as error:
                await manager.spawn_child(SpawnParams(programs.tiny, lies))
    assert (error.value.step, error.value.errno) == ("engine", 5)


async def test_own_group_is_never_a_trees(programs: Programs) -> None:
    """A lost guard that named its supervisor's own group as the root's has no process of that group killed."""
    lies = words([event(kind=_native.STARTED, pid=os.getpgrp())], "crash")
    assert await survive(programs, lies) == "lost"
