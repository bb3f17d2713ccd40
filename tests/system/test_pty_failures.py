"""Commands at terminals, terminals on other loops and in threads, and what is refused or fails: nothing stays open."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from treeguard import (
    DEVNULL,
    PIPE,
    LocalProcessManager,
    SpawnError,
    SpawnParams,
    TimeoutExpired,
    Tree,
    arun,
)
from treeguard._core import terminals
from treeguard.testing import ScriptedManager
from treeguard.types import Mechanism

from ..support.judge import descriptors, processes
from ..support.patience import PATIENCE
from ..support.shortage import no_descriptors
from ..support.terminals import answer, bash, pty_of, read_all

# Commands.


async def test_a_command_runs_at_a_terminal(mechanism: Mechanism) -> None:
    """Its output is what it writes there; text has plain ends of lines. Errors may have a pipe of their own."""
    async with LocalProcessManager(containment=mechanism) as manager:
        done: Any = await arun("tty; echo e >&2", shell=True, pty=True, capture_output=True, text=True, manager=manager)
        assert done.stdout.startswith("/dev/pts/")
        assert done.stdout.endswith("\ne\n")
        assert done.stderr is None
        done = await arun("echo o; echo e >&2", shell=True, pty=True, stdout=PIPE, stderr=PIPE, manager=manager)
        assert (done.stdout, done.stderr) == (b"o\r\n", b"e\n")
        done = await arun("cat", shell=True, pty=True, stdout=PIPE, input="word", text=True, manager=manager)
        assert done.stdout == "wordword"


async def test_output_that_is_not_captured_is_dropped() -> None:
    """The command does not notice, however much it is."""
    done: Any = await arun("yes | head -c 1000000; echo e >&2", shell=True, pty=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr, done.dropped) == (0, None, None, (0, 0))


async def test_limits_of_a_command_at_a_terminal() -> None:
    """The first or the last bytes, the deadline, and silence."""
    done = await arun("echo first; yes | head -c 100000; echo last", shell=True, pty=True, stdout=PIPE, max_output=5)
    assert done.stdout == b"first"
    assert done.dropped[0] > 100000
    done = await arun("yes | head -n 100000; echo last", shell=True, pty=True, stdout=PIPE, max_output=6, keep="tail")
    assert done.stdout == b"last\r\n"
    with pytest.raises(TimeoutExpired) as late:
        await arun("echo hi; cat", shell=True, pty=True, capture_output=True, timeout=0.2)
    assert late.value.output == b"hi\r\n"
    with pytest.raises(TimeoutExpired, match="wrote nothing"):
        await arun("echo hi; cat", shell=True, pty=True, idle_timeout=0.1, timeout=PATIENCE)


# Loops.


def test_it_works_under_uvloop(uvloop: Any) -> None:
    """All of it."""
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(session())
    finally:
        loop.close()


async def session() -> None:
    async with LocalProcessManager() as manager:
        tree = await bash(manager)
        assert await answer(tree, "echo one") == b"one\r\n"
        pty_of(tree).resize(9, 8)
        assert await answer(tree, "stty size") == b"9 8\r\n"
        pty_of(tree).write(b"exit 7\n")
        assert await tree.wait() == 7
    done = await arun("cat; head -c 300000 /dev/zero", shell=True, pty=True, capture_output=True, input=b"in")
    assert done.stdout == b"inin" + bytes(300000)


def test_it_works_in_several_loops_at_once() -> None:
    """Each in a thread of its own."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(session())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


# Errors.


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"pty": (0, 80)}, ValueError, r"pty\[0\] must be a whole number from 1 to 65535"),
        ({"pty": (24, 65536)}, ValueError, r"pty\[1\]"),
        ({"pty": (24, "80")}, TypeError, r"pty\[1\]"),
        ({"pty": (24,)}, ValueError, "pty must be True, False or a size"),
        ({"pty": "24x80"}, TypeError, "pty must be True, False or a size"),
        ({"pty": 1}, TypeError, "pty must be True, False or a size"),
        ({"pty": None}, TypeError, "pty must be True, False or a size"),
        ({"pty": True, "new_session": False}, ValueError, "new_session must not be False with pty"),
        ({"pty": True, "terminal": 0}, ValueError, "terminal must be None with pty"),
    ],
)
def test_what_contradicts_a_terminal_is_refused(options: Any, error: type[Exception], words: str) -> None:
    """With an error that names the argument."""
    with pytest.raises(error, match=words):
        SpawnParams("true", **options)


def test_parameters_travel() -> None:
    """A terminal asks for a session, and the null device stays what it is."""
    for pty in (True, (5, 6)):
        params = SpawnParams("true", pty=pty, stdin=DEVNULL)
        assert params.new_session is True
        assert params == msgspec.json.decode(msgspec.json.encode(params), type=SpawnParams)
        assert params == msgspec.structs.replace(params)
        assert hash(params) == hash(msgspec.structs.replace(params))
    assert SpawnParams("true", pty=False) == SpawnParams("true")


async def test_scripted_children_have_none() -> None:
    """That is refused, in words."""
    async with ScriptedManager() as manager:
        manager.script("sh")
        with pytest.raises(SpawnError, match="pty is not to be had of scripted children"):
            await manager.spawn("sh", pty=True)


CALLS = [
    (os, "open", 0),
    (os, "open", 1),
    (fcntl, "ioctl", 0),
    (fcntl, "ioctl", 1),
    (fcntl, "ioctl", 2),
    (os, "set_blocking", 0),
]


@pytest.mark.parametrize(("module", "name", "which"), CALLS, ids=[f"{name} {which}" for _, name, which in CALLS])
async def test_a_step_that_fails_leaves_nothing(
    module: Any, name: str, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what could not be given. A terminal that cannot be opened a second time is used as it is."""
    real: Callable[..., Any] = getattr(module, name)
    calls = 0

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == which + 1:
            raise OSError(errno.EIO, "as it were")
        return real(*args)

    async with LocalProcessManager() as manager:
        await manager.spawn("true", pty=True)
        monkeypatch.setattr(module, name, failing)
        if (name, which) == ("open", 1):
            tree = await manager.spawn("echo", "hi", pty=True)
            assert await read_all(tree) == b"hi\r\n"
        else:
            with pytest.raises(SpawnError, match="cannot give the child a terminal of its own") as caught:
                await manager.spawn("true", pty=True)
            assert (caught.value.step, caught.value.errno) == ("pty", errno.EIO)
        assert calls > which


async def tried(manager: LocalProcessManager) -> tuple[int | None, Tree | None]:
    """A tree at a terminal, or why there is none."""
    try:
        return None, await manager.spawn("true", pty=True)
    except SpawnError as error:
        return error.errno, None


async def test_without_descriptors_nothing_is_started() -> None:
    """And nothing is left open, however many are missing."""
    async with LocalProcessManager() as manager:
        await arun(["true"], pty=True, capture_output=True, manager=manager)
        refused = 0
        for room in range(1, 10):
            before = descriptors()
            with no_descriptors(but=room):
                error, tree = await tried(manager)
            if tree is None:
                refused += 1
                assert error == errno.EMFILE
                assert descriptors() == before
            else:
                assert await tree.wait_empty(PATIENCE)
                await read_all(tree)
        assert refused


async def test_a_terminal_of_another_session_is_not_taken(
    mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of the child itself that fails is told, as ``pty``."""

    def no_terminal() -> tuple[int, int]:
        return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), os.open("/dev/null", os.O_RDWR)

    async with LocalProcessManager(containment=mechanism) as manager:
        monkeypatch.setattr(terminals, "_opened", no_terminal)
        with pytest.raises(SpawnError, match="cannot give the child a terminal of its own") as caught:
            await manager.spawn("true", pty=True)
        assert (caught.value.step, caught.value.errno) == ("pty", errno.ENOTTY)


async def test_a_program_that_is_not_there_leaves_no_terminal(mechanism: Mechanism) -> None:
    """Whether the search fails or the exec."""
    async with LocalProcessManager(containment=mechanism) as manager:
        for program in ("treeguard-no-such-program", "/no/such/program"):
            with pytest.raises(FileNotFoundError):
                await manager.spawn(program, pty=True)
    assert not [seen for seen in processes() if seen.parent == os.getpid() and seen.state != "Z"]
