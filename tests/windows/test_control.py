"""The control connection over pipes of Windows: who may come, who may not, and that reading does not stop writing."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from ctypes import wintypes
from pathlib import Path
from typing import Any

import pytest

from treeguard import CapabilityBundle, ControlServer, LocalProcessManager, ProcessId, SpawnError, SpawnParams
from treeguard._transport import connected, line_on
from treeguard.capability import CapabilityToken
from treeguard.control import Call

from ..support.patience import PATIENCE, until
from ..support.programs import Programs
from ..support.stage import EVERYTHING, HELLO_TIMEOUT, Stage, echo, encoded, hang, request
from .marks import real_windows

assert sys.platform == "win32"
import _winapi  # noqa: E402 - only there

from treeguard._transport.pipes_windows import opened  # noqa: E402 - only there
from treeguard.control import listener_windows  # noqa: E402 - only there

#: Comes to a pipe, says hello with a token, and stays until it is sent away.
COMES = """
import json, sys
from treeguard._transport import connected, line_on
line = line_on(connected(sys.argv[1]))
hello = {"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {"token": sys.argv[2]}}
line.write(bytearray(json.dumps(hello).encode() + b"\\n"))
while line.wait(None) and line.read() != b"":
    pass
"""


@pytest.fixture
async def stage(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stage]:
    """A manager and a server."""
    caplog.set_level(logging.INFO, "treeguard")
    server = ControlServer({"storage.echo": echo, "storage.hang": hang}, hello_timeout=HELLO_TIMEOUT)
    async with LocalProcessManager(control=server) as manager:
        with contextlib.closing(Stage(manager, server, caplog)) as stage:
            yield stage


def answer_to(path: str, text: str) -> bytes:
    """What this process is answered there, to the end."""
    line = line_on(connected(path))
    answer = b""
    try:
        with contextlib.suppress(OSError):
            line.write(bytearray(text.encode() + b"\n"))
        while line.wait(PATIENCE) and (data := line.read()) != b"":
            answer += data or b""
    finally:
        line.close()
    return answer


async def test_a_stranger_with_the_right_token_is_refused(stage: Stage) -> None:
    """A process outside the tree that opens the pipe is disconnected unread. The child is served after that."""
    child = await stage.child("path")
    token, path = await child.do("token"), await child.do("path")
    assert await asyncio.to_thread(answer_to, path, request("hello", token=token)) == b""
    assert stage.logged(child.pid, f"process {os.getpid()}, which is not of the tree")
    await child.attach()
    assert await child.is_served()


async def test_the_systems_word_is_what_refuses(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: where anybody counts as of the tree, the same stranger is attached."""
    monkeypatch.setattr(stage.manager, "_has_member", lambda pid, os_pid: True)
    child = await stage.child("path")
    token, path = await child.do("token"), await child.do("path")
    asking = asyncio.create_task(asyncio.to_thread(answer_to, path, request("hello", token=token)))
    assert await stage.server.wait_attached(child.pid, PATIENCE)
    await stage.manager.kill_tree(child.pid)
    assert b'"result"' in await asking


async def test_a_descendant_may_speak(stage: Stage) -> None:
    """The tree is what counts, not the one process that was started."""
    child = await stage.child("path")
    token, path = await child.do("token"), await child.do("path")
    await child.do("start", sys.executable, "-c", COMES, path, token)
    assert await stage.server.wait_attached(child.pid, PATIENCE)


async def test_nobody_is_waited_for_any_more(stage: Stage) -> None:
    """Where one has been attached nobody else is let in."""
    child = await (await stage.child("path")).attach()
    path = await child.do("path")
    with pytest.raises(OSError, match="busy"):
        opened(path)


async def test_nobody_comes(programs: Programs, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """The pipe is taken away when the time for hello is over."""
    name = listener_windows._name()
    monkeypatch.setattr(listener_windows, "_name", lambda: name)
    async with LocalProcessManager(control=ControlServer(hello_timeout=0.1)) as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny, control="path"))
        await until(lambda: "did not come and say hello" in caplog.text, "the time is over")
        with pytest.raises(FileNotFoundError):
            opened(name)
        assert not await manager.wait_for_exit(child.pid, 0)


async def test_an_inherited_pipe_has_room_for_one(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that finds the name is not let in. If one connected first, the spawn fails and leaves nothing."""
    name = listener_windows._name()
    monkeypatch.setattr(listener_windows, "_name", lambda: name)
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny, control=True))
        with pytest.raises(OSError, match="busy"):
            opened(name)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)

        def second(place: str) -> int:
            first.append(connected(place))
            return opened(place)

        first: list[Any] = []
        monkeypatch.setattr(listener_windows, "opened", second)
        with pytest.raises(SpawnError) as failed:
            await manager.spawn_child(SpawnParams(programs.tiny, control=True))
        assert failed.value.step == "control"
        assert first[0].read() == b""
        first[0].close()
        assert await manager.list_children() == []


def test_only_this_user_may_come() -> None:
    """The pipe's list of who may do what has one entry, and inherits none."""
    security: Any = ctypes.WinDLL("advapi32", use_last_error=True)
    handle = listener_windows._server(listener_windows._name(), first=True, instances=1)
    try:
        kernel_object, owner_and_list = 6, 0x1 | 0x4
        found, text = ctypes.c_void_p(), wintypes.LPWSTR()
        assert not security.GetSecurityInfo(
            wintypes.HANDLE(handle), kernel_object, owner_and_list, None, None, None, None, ctypes.byref(found)
        )
        assert security.ConvertSecurityDescriptorToStringSecurityDescriptorW(found, 1, 0x4, ctypes.byref(text), None), (
            ctypes.WinError(ctypes.get_last_error())
        )
    finally:
        _winapi.CloseHandle(handle)
    flags, _, entries = str(text.value).removeprefix("D:").partition("(")
    assert "P" in flags
    assert entries.count("(") == 0
    assert entries.endswith(f";{listener_windows._user()})")


@real_windows
def test_a_name_is_taken_once() -> None:
    """Nobody else can listen under the name."""
    listener = listener_windows.Listener()
    try:
        with pytest.raises(PermissionError):
            listener_windows._server(listener.address, first=True, instances=1)
    finally:
        listener.close()


def test_names_cannot_be_guessed() -> None:
    """Each pipe has another one, of 128 random bits."""
    names = {listener_windows._name() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name.rpartition("-")[2]) == 32 for name in names)


CHILD = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from treeguard.child import connect
    with connect() as control, ThreadPoolExecutor(4) as pool:
        blob = "x" * 100_000
        answers = pool.map(lambda i: control.call("storage.echo", {"i": i, "blob": blob}), range(20))
        assert [answer["i"] for answer in answers] == list(range(20))
        control.call("storage.done")
        control.shut_down_own_tree()
"""


async def test_both_sides_write_much_at_once() -> None:
    """Neither waits for the other to read what it has written."""
    done = asyncio.Event()

    async def finished(call: Call) -> None:
        done.set()

    server = ControlServer({"storage.echo": echo, "storage.done": finished}, grace=0.5)
    bundle = CapabilityBundle(CapabilityToken.generate(), EVERYTHING)
    async with LocalProcessManager(control=server) as manager:
        script = textwrap.dedent(CHILD)
        child = await manager.spawn_child(
            SpawnParams(sys.executable, ("-c", script), control=True, capabilities=bundle)
        )
        await asyncio.wait_for(done.wait(), 3 * PATIENCE)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_a_write_of_nothing_is_no_end(stage: Stage) -> None:
    """It is read, and the connection goes on."""
    child = await (await stage.child()).attach()
    await child.do("send", encoded(""))
    assert await child.is_served()


def test_an_error_of_the_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither data nor the end is raised where it is read, and there is something to read until then."""
    ours, given = listener_windows.pair()
    denied = ctypes.WinError(5)

    def refuse(*_: object, **__: object) -> None:
        raise denied

    with contextlib.closing(given), contextlib.closing(ours):
        with monkeypatch.context() as patch:
            patch.setattr(_winapi, "ReadFile", refuse)
            assert ours.readable
        with pytest.raises(PermissionError):
            ours.read()


@pytest.mark.parametrize("policy", ["WindowsProactorEventLoopPolicy", "WindowsSelectorEventLoopPolicy"])
def test_both_event_loops(policy: str) -> None:
    """Supervisor and child are served on the loop with completion ports and on the one with select."""
    script = f"""
        import asyncio
        from treeguard.child.aio import connect
        async def show(params):
            return ["shown", params]
        async def main():
            async with connect(methods={{"storage.show": show}}):
                await asyncio.get_running_loop().create_future()
        loop = asyncio.{policy}().new_event_loop()
        loop.run_until_complete(main())
    """

    async def serve() -> object:
        bundle = CapabilityBundle(CapabilityToken.generate(), EVERYTHING)
        async with LocalProcessManager() as manager:
            params = SpawnParams(
                sys.executable, ("-c", textwrap.dedent(script)), control=True, capabilities=bundle, stderr="null"
            )
            child = await manager.spawn_child(params)
            assert await manager.control.wait_attached(child.pid, PATIENCE)
            return await manager.control.call(child.pid, "storage.show", [1], timeout=PATIENCE)

    loop = getattr(asyncio, policy)().new_event_loop()
    try:
        assert loop.run_until_complete(serve()) == ["shown", [1]]
    finally:
        loop.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("treeguard-")]


@pytest.mark.parametrize("program", ["treeguard.child", "treeguard.child.aio"])
async def test_a_child_that_does_not_close_is_quiet(program: str, tmp_path: Path) -> None:
    """A program that ends with its connection open complains of nothing, and leaves nothing under way."""
    blocking = "from treeguard.child import connect; connect()"
    asyncio_ = "import asyncio, treeguard.child.aio as c; asyncio.run(c.connect().__aenter__())"
    script = blocking if program == "treeguard.child" else asyncio_
    with (tmp_path / "complaints").open("w+b") as complaints:
        async with LocalProcessManager() as manager:
            child = await manager.spawn_child(
                SpawnParams(sys.executable, ("-c", script), control=True, stderr=complaints.fileno())
            )
            root = await manager.wait_for_root(child.pid, PATIENCE)
        complaints.seek(0)
        assert (root and root.code, complaints.read()) == (0, b"")


async def test_members_of_another_tree_are_strangers(stage: Stage) -> None:
    """One child of the same supervisor does not get another one's connection."""
    child, other = await stage.child("path"), await stage.child("path")
    token, path = await child.do("token"), await child.do("path")
    stranger: ProcessId = other.pid
    assert stranger != child.pid
    await other.do("start", sys.executable, "-c", COMES, path, token)
    await until(lambda: stage.logged(child.pid, "which is not of the tree"), "it is refused")
    await child.attach()
