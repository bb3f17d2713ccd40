"""The control connection at work: attached, served, beating, asked to leave; in every way of coming by one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from treeguard import (
    CapabilityBundle,
    CapabilityDenied,
    CapabilitySet,
    ConnectionId,
    ControlServer,
    HeartbeatTracker,
    LocalProcessManager,
    ProgramNotFound,
    SpawnError,
    SpawnParams,
)
from treeguard.capability import CapabilityToken, GlobalLimits, MethodRule, MethodSelector, QuotaSet
from treeguard.control import Call
from treeguard.errors import (
    ControlLost,
    InvalidArgument,
    QuotaExceeded,
    RequestFailed,
    RequestTimedOut,
    TooManyOpenFiles,
)

from ..support.clock import Clock
from ..support.marks import posix
from ..support.patience import PATIENCE, until
from ..support.programs import Programs
from ..support.stage import HELLO_TIMEOUT, MODES, STUBBORN, Spoken, Stage, echo, hang, request

#: A child that connects, and stays until it is ended.
CONNECTS = "from treeguard.child import connect; import time; c = connect(); time.sleep(1000)"
ANY = MethodRule(MethodSelector.any())

#: Seconds that a child has to read the last answer before its tree is killed.
TO_READ = 3.0 if sys.platform == "win32" else 1.0


def bundle() -> CapabilityBundle:
    return CapabilityBundle(CapabilityToken.generate())


@pytest.fixture
async def stage(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A manager and a server, parametrized indirectly with arguments for it."""
    caplog.set_level(logging.INFO, "treeguard")
    given = {"hello_timeout": HELLO_TIMEOUT, **getattr(request, "param", {})}
    server = ControlServer({"storage.echo": echo, "storage.hang": hang}, **given)
    async with LocalProcessManager(control=server) as manager:
        with contextlib.closing(Stage(manager, server, caplog)) as stage:
            yield stage


async def wanted(child: Spoken, method: str, **params: object) -> dict[str, Any]:
    """What a request is answered with."""
    await child.do("say", request(method, "wanted", **params))
    answer = await child.answer()
    assert answer["id"] == "wanted"
    return answer


async def test_what_a_child_is_told(stage: Stage) -> None:
    """Its ids, what it may do, what is taken from it, and how often it shall beat."""
    stage.server.watch(HeartbeatTracker(stage.manager, 2.5, 3))
    child = await stage.child()
    granted = (await child.hello())["result"]
    (found,) = stage.server.connections()
    assert granted["process"] == str(child.pid)
    assert granted["connection"] == str(found.connection)
    assert granted["capabilities"]["allowed"] == {"storage": [{"method": {"match": "any", "name": ""}, "quotas": None}]}
    assert granted["heartbeat_interval"] == 2.5
    assert granted["limits"]["line"] == 262144
    assert granted["protocol"] == 1


async def test_quotas_and_limits(stage: Stage) -> None:
    """What is used up is told with the time after which it is there again; places under way are counted."""
    rule = MethodRule(MethodSelector.exact("echo"), QuotaSet(ops_per_sec=0.01, burst=1))
    limits = GlobalLimits(max_concurrent_requests=1)
    child = await (await stage.child(True, CapabilitySet({"storage": (rule, ANY)}, limits))).attach()
    assert (await wanted(child, "storage.echo"))["result"] == {}
    error = (await wanted(child, "storage.echo"))["error"]
    assert error["code"] == -32002
    assert 0 < error["data"]["retry_after"] <= 100
    await child.do("say", request("storage.hang", 2))
    assert (await wanted(child, "storage.hang"))["error"] == {
        "code": -32002,
        "message": "1 requests are under way, as many as are allowed",
        "data": {"retry_after": None},
    }


async def test_errors_of_handlers(stage: Stage) -> None:
    """What a handler wants to be told is told; what went wrong in it is not, but logged."""

    class Key:
        pass

    @stage.server.service("storage.get")
    async def get(call: Call) -> object:
        problem = call.arguments(dict[str, str])["problem"]
        if problem == "own":
            raise RequestFailed("no such key", 404, {"key": "a"})
        if problem == "unsendable":
            return Key()
        if problem == "cancelled":
            raise asyncio.CancelledError
        raise RuntimeError(f"the secret of the application: {problem}")

    child = await (await stage.child()).attach()
    assert (await wanted(child, "storage.get", problem="own"))["error"] == {
        "code": 404,
        "message": "no such key",
        "data": {"key": "a"},
    }
    assert (await wanted(child, "storage.get", problem=1))["error"]["code"] == -32602
    for problem in ("unsendable", "cancelled", "other"):
        assert (await wanted(child, "storage.get", problem=problem))["error"]["code"] == -32603
    assert stage.logged(child.pid, "storage.get failed")
    assert (await wanted(child, "storage.put"))["error"] == {"code": -32601, "message": "no such method"}
    assert await child.is_served()


async def test_notifications_are_calls_without_an_answer(stage: Stage) -> None:
    """They are authorized and handled; nothing is sent back."""
    heard: list[object] = []

    @stage.server.service("storage.note")
    async def note(call: Call) -> None:
        heard.append(call.params)

    child = await (await stage.child()).attach()
    for method in ("storage.note", "elsewhere.note", "nonsense", "heartbeat"):
        await child.do("say", json.dumps({"jsonrpc": "2.0", "method": method, "params": [method]}))
    assert await child.is_served()
    assert heard == [["storage.note"]]
    assert stage.logged(child.pid, "'elsewhere.note' is not allowed")


async def test_calls_of_the_supervisor_are_authorized(stage: Stage) -> None:
    """What is not among a child's capabilities is not asked of it, and what is, not too often."""
    rule = MethodRule(MethodSelector.exact("show"), QuotaSet(ops_per_sec=0.01, burst=1))
    child = await (await stage.child(True, CapabilitySet({"page": (rule,)}))).attach()
    call = asyncio.create_task(stage.server.call(child.pid, "page.show", ["a"]))
    message = await child.answer()
    assert (message["method"], message["params"]) == ("page.show", ["a"])
    await child.do("say", json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": "shown"}))
    assert await call == "shown"
    with pytest.raises(QuotaExceeded):
        await stage.server.call(child.pid, "page.show")
    with pytest.raises(CapabilityDenied):
        stage.server.tell(child.pid, "page.hide")
    with pytest.raises(ValueError, match="not the name"):
        await stage.server.call(child.pid, "show")


async def test_a_child_that_does_not_answer(stage: Stage) -> None:
    """A call ends in time; the answer that comes too late hurts nobody; neither does the connection's end."""
    child = await (await stage.child()).attach()
    with pytest.raises(RequestTimedOut):
        await stage.server.call(child.pid, "storage.echo", timeout=0.01)
    late = await child.answer()
    await child.do("say", json.dumps({"jsonrpc": "2.0", "id": late["id"], "result": 1}))
    assert await child.is_served()
    call = asyncio.create_task(stage.server.call(child.pid, "storage.echo"))
    await child.answer()
    await child.do("close")
    with pytest.raises(ControlLost):
        await call
    await until(lambda: not stage.server.connections(), "it is not attached any more")
    (handle,) = await stage.manager.list_children()
    assert handle.connection is None


async def test_a_call_that_is_cancelled(stage: Stage) -> None:
    """The answer that nobody waits for any more is taken."""
    child = await (await stage.child()).attach()
    call = asyncio.create_task(stage.server.call(child.pid, "storage.echo"))
    message = await child.answer()
    call.cancel()
    await asyncio.wait({call})
    await child.do("say", json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": 1}))
    assert await child.is_served()


async def test_what_is_read_in_time_is_no_silence(stage: Stage) -> None:
    """A heartbeat that waits to be read when its child is judged counts: draining reads it."""
    clock = Clock()
    tracker = HeartbeatTracker(stage.manager, 1.0, 2, clock=clock)
    stage.server.watch(tracker)
    child = await (await stage.child()).attach()
    (found,) = stage.server.connections()
    for _ in range(2):
        clock.now += 1
        await tracker.check()
    # Without a turn of the event loop: it cannot have been read before.
    child.do_at_once("say", json.dumps({"jsonrpc": "2.0", "method": "heartbeat"}))
    stage.server.drain([found.connection, ConnectionId(child.pid)])
    clock.now += 1
    assert await tracker.check() == ()
    clock.now += 1
    assert await tracker.check() == ()
    clock.now += 1
    assert await tracker.check() == (found.connection,)


async def test_a_connection_that_has_ended_is_silent(stage: Stage) -> None:
    """A tree that outlives its control connection is killed in the end."""
    clock = Clock()
    tracker = HeartbeatTracker(stage.manager, 1.0, 2, clock=clock, drain=stage.server.drain)
    stage.server.watch(tracker)
    child = await (await stage.child()).attach()
    await child.do("close")
    await until(lambda: not stage.server.connections(), "it is not attached any more")
    for _ in range(4):
        clock.now += 1
        await tracker.check()
    assert await stage.manager.wait_for_exit(child.pid, PATIENCE)


@pytest.mark.parametrize("stage", [{"grace": TO_READ}], indirect=True)
async def test_a_child_ends_its_own_tree(stage: Stage, programs: Programs) -> None:
    """It may always do so; a tree that does not leave by itself is killed; others live on."""
    other = await (await stage.child()).attach()
    child = await (await stage.child(True, CapabilitySet(), **STUBBORN)).attach()
    await child.do("start", programs.tiny)
    answer = await wanted(child, "process.shutdown_own_tree", reason="done")
    assert answer["result"] == {"acknowledged": True}
    assert await stage.manager.wait_for_exit(child.pid, PATIENCE)
    assert await other.is_served()


@pytest.mark.parametrize("allows", ["shutdown_application", "shutdown_tree"])
@pytest.mark.parametrize("asks", ["process.shutdown_application", "process.shutdown_tree"])
@pytest.mark.parametrize("stage", [{"grace": TO_READ}], indirect=True)
async def test_a_child_ends_all(stage: Stage, asks: str, allows: str, programs: Programs) -> None:
    """Only where it is allowed, by the method's name or its earlier one: then every tree is asked, told, and killed."""
    other = await (await stage.child()).attach()
    assert (await wanted(other, asks))["error"]["code"] == -32001
    assert stage.logged(other.pid, f"'{asks}' is not allowed")
    quiet = await stage.manager.spawn_child(SpawnParams(programs.tiny))
    rule = MethodRule(MethodSelector.exact(allows))
    allowed = CapabilitySet({"process": (rule,)})
    child = await (await stage.child(True, allowed, **STUBBORN)).attach()
    assert (await wanted(child, asks))["result"] == {"acknowledged": True}
    for pid in (other.pid, quiet.pid, child.pid):
        assert await stage.manager.wait_for_exit(pid, PATIENCE)


async def test_a_bundle_is_for_one_child(programs: Programs) -> None:
    """While its token waits to be used it cannot be given to another one; the error names the argument."""
    given = bundle()
    async with LocalProcessManager() as manager:
        await manager.spawn_child(SpawnParams(programs.tiny, control=True, capabilities=given))
        with pytest.raises(InvalidArgument, match="capabilities"):
            await manager.spawn_child(SpawnParams(programs.tiny, control=True, capabilities=given))
        assert len(await manager.list_children()) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_failed_spawn_leaves_nothing(mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory, and no token: the same bundle may be used for another try."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given = bundle()
    async with LocalProcessManager() as manager:
        for _ in range(2):
            with pytest.raises(ProgramNotFound):
                await manager.spawn_child(SpawnParams("/nowhere/no-such-program", control=mode, capabilities=given))
        assert list(tmp_path.iterdir()) == []


@posix
async def test_the_place_of_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs) -> None:
    """Only this user may enter it; it is gone when the child is attached, or its tree has ended."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny, control="path"))
        (place,) = tmp_path.iterdir()
        assert place.stat().st_mode & 0o777 == 0o700
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert list(tmp_path.iterdir()) == []
        child = await manager.spawn_child(SpawnParams(sys.executable, ("-c", CONNECTS), control="path"))
        assert await manager.control.wait_attached(child.pid, PATIENCE)
        assert list(tmp_path.iterdir()) == []


@posix
async def test_nobody_comes_to_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, programs: Programs
) -> None:
    """It is taken away when the time for hello is over."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with LocalProcessManager(control=ControlServer(hello_timeout=0.1)) as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny, control="path"))
        await until(lambda: not list(tmp_path.iterdir()), "it is gone")
        assert not await manager.wait_for_exit(child.pid, 0)
    assert "did not come and say hello" in caplog.text


@posix
async def test_no_descriptor_for_who_comes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where descriptors are short for a moment the child is served after it."""
    accept, shortages = socket.socket.accept, iter([True] * 2)

    def accept_later(listener: socket.socket) -> Any:
        if next(shortages, False):
            raise OSError(errno.EMFILE, "too many open files")
        return accept(listener)

    monkeypatch.setattr("socket.socket.accept", accept_later)
    child = await (await stage.child("path")).attach()
    assert await child.is_served()
    assert not next(shortages, False)


@posix
async def test_no_room_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs) -> None:
    """A path that is too long for a socket is an error of the spawn's, and nothing is left."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    async with LocalProcessManager() as manager:
        with pytest.raises(SpawnError) as failed:
            await manager.spawn_child(SpawnParams(programs.tiny, control="path"))
        assert failed.value.step == "control"
        assert list(deep.iterdir()) == []


@pytest.mark.parametrize("mode", ["stdin", "path"])
async def test_standard_input_is_taken(mode: Any, programs: Programs) -> None:
    """What needs standard input for itself cannot be combined with another one."""
    async with LocalProcessManager() as manager:
        with pytest.raises(InvalidArgument, match="stdin"):
            await manager.spawn_child(SpawnParams(programs.tiny, control=mode, stdin="inherit"))


@posix
async def test_descriptors_are_short(monkeypatch: pytest.MonkeyPatch, programs: Programs) -> None:
    """A spawn for which there is no socket fails, names its step, and leaves nothing."""

    def none_left() -> None:
        raise OSError(errno.EMFILE, "too many")

    given = bundle()
    async with LocalProcessManager() as manager:
        with monkeypatch.context() as patch:
            patch.setattr("socket.socketpair", none_left)
            with pytest.raises(TooManyOpenFiles) as failed:
                await manager.spawn_child(SpawnParams(programs.tiny, control=True, capabilities=given))
        assert failed.value.step == "control"
        assert await manager.list_children() == []
        await manager.spawn_child(SpawnParams(programs.tiny, control=True, capabilities=given))


# What lies in one cycle is collected in any order: a socket may complain before its manager closes it.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("mode", MODES)
def test_a_manager_that_was_never_left(
    mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    """The garbage collector's end of it closes connections, sockets and directories too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def leave_open() -> None:
        manager = LocalProcessManager()
        child = await manager.spawn_child(SpawnParams(sys.executable, ("-c", CONNECTS), control=mode))
        assert await manager.control.wait_attached(child.pid, PATIENCE)
        await manager.spawn_child(SpawnParams(programs.tiny, control=mode))

    def collect() -> None:
        asyncio.run(leave_open())
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed <treeguard"):
        collect()
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_copy_of_the_supervisor_has_no_part_in_it(stage: Stage) -> None:
    """A child sees the end of its connection while a copy of the supervisor lives on."""
    child = await (await stage.child()).attach()
    read, write = os.pipe()
    copy = os.fork()
    if copy == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        (found,) = stage.server.connections()
        stage.server._children._by_connection[found.connection].close("enough")
        assert await child.do("read") is None
    finally:
        os.close(write)
        os.close(read)
        await asyncio.to_thread(os.waitpid, copy, 0)
