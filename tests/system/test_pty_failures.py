"""Commands at terminals, terminals on other loops and in threads, and what is refused or fails: nothing stays open."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
from pathlib import Path
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
from treeguard._core.native import Descriptor
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


async def test_a_step_that_fails_leaves_nothing(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what could not be given, whether an end cannot be opened or the size cannot be set."""
    async with LocalProcessManager(containment=mechanism) as manager:
        for place, name, failing in ((terminals, "open_pty", half_open), (fcntl, "ioctl", no_size)):
            await (await manager.spawn("true", pty=True)).wait_empty(PATIENCE)
            before = descriptors()
            with monkeypatch.context() as patch:
                patch.setattr(place, name, failing)
                with pytest.raises(SpawnError, match="cannot give the child a terminal of its own") as caught:
                    await manager.spawn("true", pty=True, stderr=PIPE)
            assert (caught.value.step, caught.value.errno) == ("pty", errno.EIO)
            assert not descriptors().items() - before.items()


def half_open(ours: Descriptor, childs: Descriptor) -> None:
    ours.open(Path("/dev/ptmx"), os.O_RDWR | os.O_NOCTTY)
    raise OSError(errno.EIO, "as it were")


def no_size(*_: Any) -> Any:
    raise OSError(errno.EIO, "as it were")


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


def no_terminal(ours: Descriptor, childs: Descriptor) -> None:
    ours.open(Path("/dev/ptmx"), os.O_RDWR | os.O_NOCTTY)
    childs.open(Path(os.devnull), os.O_RDWR)


async def test_what_no_session_can_have_is_not_taken(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of the child itself that fails is told, as ``pty``."""
    async with LocalProcessManager(containment=mechanism) as manager:
        monkeypatch.setattr(terminals, "open_pty", no_terminal)
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
