"""A terminal of a tree's own: read and typed at by an asyncio program, resized, hung up, and closed in any case."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from treeguard import (
    DEVNULL,
    PIPE,
    STDOUT,
    LocalProcessManager,
    Tree,
    arun,
    create_subprocess_exec,
    create_subprocess_shell,
    open_tree,
)
from treeguard.pty import Pty
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.judge import descriptors, look
from ..support.patience import PATIENCE, until
from ..support.terminals import PROMPT, answer, bash, pty_of, read_all, read_until

#: What a terminal holds for this process, and a reader ahead of its user.
READ_AHEAD = 3 * 65536


# What the child has.


@pytest.mark.parametrize("isolation", ["none", "signals"])
async def test_the_tree_has_a_terminal_of_its_own(mechanism: Mechanism, isolation: Any) -> None:
    """It is each standard stream, the session's controlling terminal, and has the root's group in its foreground."""
    script = "stty size; tty; echo err >&2; ps -o sid=,tpgid=,tty= -p $$; echo $$; ls /proc/self/fd | wc -l"
    if isolation == "signals" and mechanism == "process_group":
        pytest.skip("isolation needs a guard")
    async with LocalProcessManager(containment=mechanism, isolation=isolation) as manager:
        tree = await manager.spawn("sh", "-c", script, pty=(30, 100))
        size, device, error, ids, pid, count = (await read_all(tree)).decode().split("\r\n")[:6]
        assert await tree.wait() == 0
        assert (size, device, error) == ("30 100", pty_of(tree).device, "err")
        assert ids.split() == [pid, pid, device.removeprefix("/dev/")]
        # Three streams, and what the listing reads.
        assert int(count) == 4
        assert (tree.stdin, tree.stdout, tree.stderr) == (None, None, None)


async def test_the_size_is_there_unless_it_is_asked_for() -> None:
    """24 rows of 80 columns."""
    assert (await arun(["stty", "size"], pty=True, capture_output=True)).stdout == b"24 80\r\n"
    assert (await arun(["stty", "size"], pty=[5, 6], capture_output=True)).stdout == b"5 6\r\n"  # type: ignore[call-overload]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes privileges")
async def test_a_root_of_another_user_owns_its_terminal(mechanism: Mechanism) -> None:
    """So that it can open it by its name."""
    script = 'stat -c %u "$(tty)"; echo again >"$(tty)"'
    async with LocalProcessManager(containment=mechanism) as manager:
        for user in (65534, "nobody"):
            tree = await manager.spawn("sh", "-c", script, user=user, group=65534, extra_groups=[], pty=True)
            assert await read_all(tree) == b"65534\r\nagain\r\n"


async def test_streams_may_be_given_otherwise(tmp_path: Path) -> None:
    """Pipes, the null device and files keep their meaning; a terminal that is no stream is the controlling one."""
    script = "test -t 0 || echo no stdin; test -t 1 || echo no stdout; test -t 2 || echo no stderr; echo seen >/dev/tty"
    given: list[tuple[dict[str, Any], str, str]] = [
        ({}, "", "seen"),
        ({"stdin": "inherit"}, "", "seen"),
        ({"stdin": DEVNULL}, "", "no stdin seen"),
        ({"stdout": PIPE}, "no stdout", "seen"),
        ({"stdout": PIPE, "stderr": STDOUT}, "no stdout no stderr", "seen"),
        ({"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}, "no stdin no stdout no stderr", "seen"),
        ({"stdin": DEVNULL, "stdout": PIPE, "stderr": DEVNULL}, "no stdin no stdout no stderr", "seen"),
    ]
    for streams, written, shown in given:
        async with open_tree("sh", "-c", script, pty=True, **streams) as tree:
            output = b"" if tree.stdout is None else await tree.stdout.read()
            assert (output.decode().split(), (await read_all(tree)).decode().split()) == (
                written.split(),
                shown.split(),
            ), streams
    with (tmp_path / "file").open("wb") as file:
        async with open_tree("sh", "-c", script, pty=True, stdout=file) as tree:
            assert await read_all(tree) == b"seen\r\n"
    assert (tmp_path / "file").read_bytes() == b"no stdout\n"


async def test_a_terminal_that_nobody_has_open_may_be_opened_again(mechanism: Mechanism) -> None:
    """As ssh does for a password: nothing but ``/dev/tty`` leads there. It ends with the root."""
    script = "read -r go; read -r word </dev/tty; echo got $word >/dev/tty; read -r go"
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn("sh", "-c", script, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, pty=True)
        assert pty_of(tree).device not in descriptors(tree.pid).values()
        for _ in range(5):
            await asyncio.sleep(0.01)  # some looks at a terminal that nobody has open
        assert not pty_of(tree).at_eof()
        assert tree.stdin is not None
        tree.stdin.write(b"go\n")
        pty_of(tree).write(b"word\n")
        assert await read_until(tree, b"got word\r\n") == b"word\r\ngot word\r\n"
        reading = asyncio.ensure_future(read_all(tree))
        tree.stdin.write(b"go\n")
        assert await reading == b""
        assert await tree.wait() == 0


# What it is used for.


async def test_a_shell_has_job_control(mechanism: Mechanism) -> None:
    """Ctrl-C ends its foreground command and not the shell, Ctrl-Z stops one, and ``fg`` continues it."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await bash(manager)
        for key, told in ((b"\x03", b"130"), (b"\x1c", b"131"), (b"\x1a", b"148")):
            pty_of(tree).write(b"sleep 1000\n")
            await until(lambda: foreground(tree) not in (0, tree.pid), "the command is in the foreground")
            pty_of(tree).write(key)
            await read_until(tree, PROMPT)
            assert await answer(tree, "echo $?") == told + b"\r\n"
        assert b"sleep 1000" in await answer(tree, "jobs")
        pty_of(tree).write(b"fg\n")
        await until(lambda: foreground(tree) not in (0, tree.pid), "the command is in the foreground again")
        pty_of(tree).write(b"\x03")
        await read_until(tree, PROMPT)
        pty_of(tree).write_eof()
        assert await tree.wait() == 130


def foreground(tree: Tree) -> int:
    """The group in the foreground; 0 in between, when the command does not run yet."""
    with suppress(OSError):
        group = os.tcgetpgrp(pty_of(tree).fileno())
        seen = look(group)
        return group if seen is not None and seen.name != "bash" else 0
    return 0


async def test_what_asks_for_a_password_is_answered(mechanism: Mechanism) -> None:
    """Which is not echoed. A ``read`` is answered too, and its answer is."""
    script = "import getpass; print(len(getpass.getpass('word: '))); print(input('name: '))"
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(sys.executable, "-c", script, pty=True)
        await read_until(tree, b"word: ")
        pty_of(tree).write(b"secret\n")
        assert await read_until(tree, b"name: ") == b"\r\n6\r\nname: "
        pty_of(tree).write(b"me\n")
        assert await read_all(tree) == b"me\r\nme\r\n"
        assert await tree.wait() == 0


async def test_the_childs_modes_are_the_terminals() -> None:
    """``stty -echo`` is obeyed, and can be seen here."""
    async with open_tree("sh", "-c", "stty -echo; echo ready; read -r x; echo got $x", pty=True) as tree:
        await read_until(tree, b"ready\r\n")
        assert not termios.tcgetattr(pty_of(tree).fileno())[3] & termios.ECHO
        pty_of(tree).write(b"word\n")
        assert await read_all(tree) == b"got word\r\n"


async def test_a_resize_is_seen(mechanism: Mechanism) -> None:
    """The group in the foreground gets SIGWINCH; the size is the new one. After the end it is no error."""
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done"
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn("sh", "-c", script, pty=True)
        await read_until(tree, b"ready\r\n")
        pty_of(tree).resize(50, 132)
        assert await read_until(tree, b"\r\n") == b"50 132\r\n"
        assert pty_of(tree).size == (50, 132)
        tree.kill()
        assert await read_all(tree) == b""
        pty_of(tree).resize(10, 10)
        assert pty_of(tree).size == (10, 10)
        pty_of(tree).write(b"nothing")
    for size in ((0, 1), (1, 70000)):
        with pytest.raises(ValueError, match=r"size\["):
            pty_of(tree).resize(*size)


# Output.


async def test_a_child_that_is_not_read_has_to_wait() -> None:
    """A reader takes some bytes ahead, and leaves the rest in the terminal. A line may be of any length."""
    async with open_tree("sh", "-c", "stty -opost; head -c 10000000 /dev/zero; echo; echo last", pty=True) as tree:
        pty = pty_of(tree)
        await until(lambda: pty.waiting > READ_AHEAD - 65536, "the buffer is full")
        full = pty.waiting
        assert full <= READ_AHEAD
        for _ in range(20):
            await asyncio.sleep(0)
        assert pty.waiting == full
        assert len(await asyncio.wait_for(pty.readline(), PATIENCE)) == 10_000_001
        assert [line async for line in pty] == [b"last\n"]


async def test_input_has_to_wait_for_a_child_that_does_not_read() -> None:
    """``drain`` waits, and goes on when the child reads. Both directions at once do not wait for each other."""
    lines = b"x" * 99 + b"\n"
    async with open_tree("sh", "-c", "stty -echo; echo ready; read -r go; wc -c", stdin="null", pty=True) as tree:
        pty = pty_of(tree)
        await read_until(tree, b"ready\r\n")
        draining = asyncio.ensure_future(type_lines(pty, lines, 20000))
        await until(lambda: not draining.done() and pty._writer is not None, "it waits")
        await asyncio.wait_for(draining, PATIENCE)
        pty.write_eof()
        assert (await read_all(tree)).split() == [b"%d" % (100 * 19999)]


async def type_lines(pty: Pty, line: bytes, count: int) -> None:
    for _ in range(count):
        pty.write(line)
        await pty.drain()


async def test_lines_come_with_those_of_pipes() -> None:
    """In the order in which they arrive, each with the name of its stream."""
    script = "echo one; read -r x; echo two >&2; read -r x; echo three"
    async with open_tree("sh", "-c", f"stty -echo; {script}", pty=True, stderr=PIPE) as tree:
        found = []
        async for line in tree.lines(text=True):
            found.append(line)
            pty_of(tree).write(b"\n")
        assert found == [("pty", "one\n"), ("stderr", "two\n"), ("pty", "three\n")]


async def test_communicate_types_and_reads() -> None:
    """The input and its end; what the tree has written to the terminal is its output."""
    tree = await create_subprocess_exec("cat", pty=True)
    assert await asyncio.wait_for(tree.communicate(b"line\nrest"), PATIENCE) == (b"line\r\nrestline\r\nrest", None)
    tree = await create_subprocess_shell("test -t 0 && cat; echo err >&2", stdout=PIPE, stderr=PIPE, pty=True)
    assert await asyncio.wait_for(tree.communicate(b"in"), PATIENCE) == (b"in", b"err\n")


async def test_a_communicate_that_is_cancelled_loses_nothing() -> None:
    """The tree is empty, and what it had written can be read."""
    tree = await create_subprocess_shell("echo written; sleep 1000", pty=True)
    communicating = asyncio.ensure_future(tree.communicate())
    await until(lambda: tree._record.streams is not None and tree._record.streams.readers[0].last, "it has begun")
    await until(lambda: tree.pty is not None and captured(tree) == b"written\r\n", "it has been written")
    communicating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await communicating
    assert await tree.wait_empty(0)
    assert await tree.communicate() == (b"written\r\n", None)


def captured(tree: Tree) -> bytes:
    capture = pty_of(tree)._capture
    return b"" if capture is None else capture.value


# Its end.


async def test_a_tree_that_is_killed_ends_the_read(mechanism: Mechanism) -> None:
    """What was written by then is read."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn("sh", "-c", "echo ready; sleep 1000", pty=True)
        await read_until(tree, b"ready\r\n")
        reading = asyncio.ensure_future(read_all(tree))
        await asyncio.sleep(0)
        tree.kill()
        assert await reading == b""
        assert await tree.wait_empty(PATIENCE)


async def test_a_descendant_that_holds_the_terminal_holds_nobody(mechanism: Mechanism, adoption: Adoption) -> None:
    """It is named, it is gone, and what was written is there."""
    script = "echo hi; setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 </dev/null & sleep 0.1"
    async with LocalProcessManager(containment=mechanism) as manager:
        done = await arun(["sh", "-c", script], pty=True, capture_output=True, timeout=PATIENCE, manager=manager)
    assert done.stdout == b"hi\r\n"
    assert sorted((left.name, left.held_output) for left in done.left) == [("sleep", False), ("sleep", True)]
    for left in done.left:
        await until(lambda pid=left.pid: gone(pid), "it is gone")  # type: ignore[misc]


def gone(pid: int) -> bool:
    seen = look(pid)
    return seen is None or seen.state == "Z"


async def test_a_tree_that_is_hung_up_ends() -> None:
    """Closing the terminal is the modem's loss of its carrier: SIGHUP."""
    async with open_tree("sleep", "1000", pty=True) as tree:
        pty_of(tree).close()
        assert await asyncio.wait_for(tree.wait(), PATIENCE) == -signal.SIGHUP
        assert await read_all(tree) == b""


async def test_a_fork_of_this_process_does_not_hold_the_terminal() -> None:
    """A copy that goes on has no copy of it."""
    async with open_tree("sleep", "1000", pty=True) as tree:
        assert status_of_a_fork(pty_of(tree).fileno()) == 0


def status_of_a_fork(number: int) -> int:
    """0: the copy has not got the descriptor."""
    pid = os.fork()
    if not pid:
        status = 0
        with suppress(OSError):
            os.fstat(number)
            status = 1
        os._exit(status)
    return os.waitpid(pid, 0)[1]


async def test_no_child_inherits_a_terminal(mechanism: Mechanism) -> None:
    """Neither end, whether it is started by this package or not."""
    listing = "ls -l /proc/self/fd"
    async with LocalProcessManager(containment=mechanism) as manager:
        first = await manager.spawn("sleep", "1000", pty=True)
        others = [
            (await arun(["sh", "-c", listing], capture_output=True, manager=manager)).stdout.decode(),
            (await asyncio.to_thread(_by_standard_library, listing)).decode(),
        ]
        for listed in others:
            assert "ptmx" not in listed
            assert "/dev/pts" not in listed
        assert pty_of(first).device not in descriptors().values()


def _by_standard_library(code: str) -> bytes:
    return subprocess.run(["sh", "-c", code], stdin=-3, capture_output=True, close_fds=False, check=True).stdout
