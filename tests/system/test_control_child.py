"""The child's side of the control connection: three lines make a program a good child."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from typing import Any

import pytest

from treeguard import (
    CapabilityBundle,
    CapabilitySet,
    ChildHandle,
    ControlServer,
    HeartbeatTracker,
    LocalProcessManager,
    ProcessId,
    ShutdownTreeRequest,
    SpawnParams,
    graceful_shutdown_tree,
)
from treeguard.capability import CapabilityToken, MethodRule, MethodSelector, QuotaSet
from treeguard.control import Call
from treeguard.errors import ControlLost, RequestFailed
from treeguard.types import ContainmentName, Mechanism

from ..support.marks import posix
from ..support.patience import PATIENCE, until
from ..support.stage import HELLO_TIMEOUT, MODES, hang

ANY = MethodRule(MethodSelector.any())

#: Three lines make a good child; the rest is for the test.
BLOCKING = """
    import sys, threading
    from treeguard.child import connect
    stop = threading.Event()
    def leave(reason):
        print("leaving:", reason, flush=True)
        stop.set()
    methods = {"page.show": lambda params: ["shown", params], "page.fail": lambda params: 1 / 0}
    with connect(on_shutdown=leave, methods=methods, name="blocking", version="1") as control:
        exec(sys.argv[1])
        stop.wait()
"""
ASYNCIO = """
    import asyncio, sys
    from treeguard.child.aio import connect
    async def main():
        stop = asyncio.Event()
        async def leave(reason):
            print("leaving:", reason, flush=True)
            stop.set()
        async def show(params):
            return ["shown", params]
        async def fail(params):
            return 1 / 0
        methods = {"page.show": show, "page.fail": fail}
        async with connect(on_shutdown=leave, methods=methods, name="asyncio", version="1") as control:
            await stop.wait()
    asyncio.run(main())
"""
PROGRAMS = {"blocking": BLOCKING, "asyncio": ASYNCIO}


def bundle(**allowed: MethodRule) -> CapabilityBundle:
    return CapabilityBundle(
        CapabilityToken.generate(), CapabilitySet({service: (rule,) for service, rule in allowed.items()})
    )


def python(script: str, *args: str, **params: Any) -> SpawnParams:
    given: dict[str, Any] = {"control": True, "stderr": "null", **params}
    return SpawnParams(sys.executable, ("-c", textwrap.dedent(script), *(args or ("",))), **given)


@contextlib.asynccontextmanager
async def attached(
    params: SpawnParams, server: ControlServer | None = None, containment: ContainmentName = "auto"
) -> AsyncIterator[tuple[LocalProcessManager, ChildHandle]]:
    """A child that has said hello."""
    server = server or ControlServer(hello_timeout=HELLO_TIMEOUT)
    async with LocalProcessManager(control=server, containment=containment) as manager:
        child = await manager.spawn_child(params)
        assert await manager.control.wait_attached(child.pid, PATIENCE)
        yield manager, child


async def stop(manager: LocalProcessManager, child: ChildHandle) -> None:
    """Lets a root stand still."""
    if sys.platform == "win32":
        await manager.freeze(child.pid)
    else:
        os.kill(child.os_pid, signal.SIGSTOP)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_good_child(program: str, mode: Any, mechanism: Mechanism) -> None:
    """It is attached, can be called, and leaves when it is asked to; a plain manager serves."""
    params = python(PROGRAMS[program], control=mode, capabilities=bundle(page=ANY))
    async with attached(params, containment=mechanism) as (manager, child):
        server = manager.control
        (handle,) = await manager.list_children()
        (found,) = server.connections()
        assert handle.connection == found.connection
        assert (found.pid, found.client.name, found.client.version) == (child.pid, program, "1")
        assert await server.call(child.pid, "page.show", {"a": 1}, timeout=PATIENCE) == ["shown", {"a": 1}]
        with pytest.raises(RequestFailed, match="internal error"):
            await server.call(child.pid, "page.fail", timeout=PATIENCE)
        with pytest.raises(RequestFailed, match="no such method"):
            await server.call(child.pid, "page.hide", timeout=PATIENCE)
        ask = server.shutdown_request(child.pid, "enough")
        outcome = await graceful_shutdown_tree(manager, child.pid, ask, PATIENCE, PATIENCE)
        assert (outcome.acknowledged, outcome.exited, outcome.forced) == (True, True, False)
        assert server.connections() == ()
        with pytest.raises(ControlLost):
            await server.call(child.pid, "page.show")
        assert not await server.wait_attached(child.pid)


async def test_services_and_methods_may_be_plain_functions() -> None:
    """Nothing has to be awaited that answers at once."""
    script = ASYNCIO.replace("async def show", "def show").replace(
        "await stop.wait()", 'print(await control.call("storage.get", {"a": 1}), flush=True); await stop.wait()'
    )
    called: list[object] = []
    server = ControlServer({"storage.get": lambda call: called.append(call.params)}, hello_timeout=HELLO_TIMEOUT)
    async with attached(python(script, capabilities=bundle(page=ANY, storage=ANY)), server) as (_, child):
        assert await server.call(child.pid, "page.show", [1], timeout=PATIENCE) == ["shown", [1]]
        await until(lambda: called == [{"a": 1}], "the service was called")


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_child_that_does_not_say_how_to_leave(program: str) -> None:
    """It gets SIGTERM from itself."""
    script = PROGRAMS[program].replace("on_shutdown=leave, ", "")
    async with attached(python(script)) as (manager, child):
        await manager.control.shutdown_request(child.pid)()
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert (root.code if sys.platform == "win32" else root.signal) == signal.SIGTERM


@pytest.mark.parametrize("program", PROGRAMS)
async def test_silence_kills(program: str) -> None:
    """A child that beats lives on; stopped, it is killed with its tree."""
    async with LocalProcessManager(control=ControlServer(hello_timeout=HELLO_TIMEOUT)) as manager:
        expired: list[ProcessId] = []
        tracker = HeartbeatTracker(
            manager, 0.5, 4, on_expired=lambda conn, pid: expired.append(pid), drain=manager.control.drain
        )
        manager.control.watch(tracker)
        beating = await manager.spawn_child(python(PROGRAMS[program]))
        silent = await manager.spawn_child(python(PROGRAMS[program]))
        assert await manager.control.wait_attached(beating.pid, PATIENCE)
        assert await manager.control.wait_attached(silent.pid, PATIENCE)
        async with tracker:
            await stop(manager, silent)
            assert await manager.wait_for_exit(silent.pid, PATIENCE)
        assert expired == [silent.pid]
        assert [each.pid for each in await manager.list_children()] == [beating.pid]
        assert len(tracker) == 1
        await manager.kill_tree(beating.pid)
        assert await manager.wait_for_exit(beating.pid, PATIENCE)
        assert len(tracker) == 0


@pytest.mark.parametrize("waits", [False, True])
async def test_the_application_decides_how_all_end(waits: bool) -> None:
    """It gets the child and its reason. Its errors are logged."""
    asked: asyncio.Queue[tuple[ProcessId, ShutdownTreeRequest]] = asyncio.Queue()

    async def later(pid: ProcessId, wish: ShutdownTreeRequest) -> None:
        asked.put_nowait((pid, wish))

    def at_once(pid: ProcessId, wish: ShutdownTreeRequest) -> None:
        asked.put_nowait((pid, wish))
        raise RuntimeError("not now")

    server = ControlServer(on_shutdown_tree=later if waits else at_once)
    script = BLOCKING.replace("exec(sys.argv[1])", "control.shut_down_all('the user has logged out')")
    async with attached(python(script, capabilities=bundle(process=ANY)), server) as (manager, child):
        pid, wish = await asyncio.wait_for(asked.get(), PATIENCE)
        assert (pid, wish.reason) == (child.pid, "the user has logged out")
        assert child.pid in {each.pid for each in await manager.list_children()}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("control.call('storage.put')", "CapabilityDenied"),
        ("[control.call('storage.get') for _ in range(2)]", "QuotaExceeded"),
        ("control.call('storage.miss')", "RequestFailed"),
        ("control.call('storage.hang', timeout=0.01)", "RequestTimedOut"),
        ("control.close(); control.call('storage.get')", "ControlLost"),
        ("control.call('storage.get', [object()])", "TypeError"),
    ],
)
async def test_errors_reach_the_child(code: str, kind: str) -> None:
    """What the supervisor refuses is raised in the child as what it would be here."""

    async def get(call: Call) -> None:
        return None

    server = ControlServer({"storage.get": get, "storage.hang": hang})
    read, write = os.pipe()
    script = f"""
        import os, treeguard.errors
        from treeguard.child import connect
        control = connect()
        try:
            {code}
        except Exception as e:
            os.write({write}, type(e).__name__.encode())
    """
    rules = (
        MethodRule(MethodSelector.exact("get"), QuotaSet(ops_per_sec=0.01, burst=1)),
        *(MethodRule(MethodSelector.exact(name)) for name in ("hang", "miss")),
    )
    capabilities = CapabilityBundle(CapabilityToken.generate(), CapabilitySet({"storage": rules}))
    with os.fdopen(read, "rb") as told:
        async with LocalProcessManager(control=server) as manager:
            try:
                child = await manager.spawn_child(python(script, capabilities=capabilities, pass_fds=(write,)))
            finally:
                os.close(write)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert told.read().decode() == kind


async def test_without_a_connection() -> None:
    """A program that was not given one is told so, and can ask beforehand."""
    from treeguard.child import connect, is_supervised

    assert not is_supervised()
    with pytest.raises(ControlLost, match="not given"):
        connect()


@pytest.mark.parametrize("value", ["", "x", "0x3", "-1", "99999", "1"])
def test_a_variable_that_lies(value: str) -> None:
    """A number that is no descriptor, or another thing's, is an error and leaves the thing alone."""
    from treeguard._wire.protocol import FD_VARIABLE
    from treeguard.child.handshake import find

    environ = {FD_VARIABLE: value}
    with pytest.raises(ControlLost):
        find(environ)
    assert environ == {}
    os.fstat(1)


def test_the_childs_side_is_light() -> None:
    """Without asyncio, and without anything of the supervisor's, the compiled module least of all."""
    import subprocess

    heavy = ["asyncio", "treeguard._treeguard", "treeguard.local", "treeguard.control", "treeguard.public", "logging"]
    code = f"import sys, treeguard.child; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"
    code = code.replace("treeguard.child", "treeguard.child.aio").replace("'asyncio', ", "").replace("'logging'", "")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


@posix
async def test_a_forked_copy_has_no_part_in_it() -> None:
    """The supervisor sees the end of the connection also while a copy of the child that was forked lives on."""
    script = """
        import os
        from treeguard.errors import ControlLost
        from treeguard.child import connect
        control = connect()
        if os.fork() == 0:
            try:
                control.heartbeat()
            except ControlLost:
                os.execvp("sleep", ["sleep", "1000"])
            os._exit(1)
    """
    async with attached(python(script)) as (manager, child):
        assert await manager.wait_for_root(child.pid, PATIENCE)
        await until(lambda: not manager.control.connections(), "the connection has ended")
        assert not await manager.wait_for_exit(child.pid, 0)


@posix
def test_under_uvloop(uvloop: Any) -> None:
    """The control connection needs no more of a loop than the manager does."""

    async def serve() -> object:
        async with attached(python(ASYNCIO, capabilities=bundle(page=ANY))) as (manager, child):
            return await manager.control.call(child.pid, "page.show", [1], timeout=PATIENCE)

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(serve()) == ["shown", [1]]
    finally:
        loop.close()
