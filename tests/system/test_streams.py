"""Pipes between a program and its trees: bytes both ways, back-pressure, lines of any length, nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from treeguard import (
    DEVNULL,
    PIPE,
    STDOUT,
    LocalProcessManager,
    ProgramNotFound,
    SpawnParams,
    Tree,
    open_tree,
)
from treeguard._core.streams.reader import PipeReader
from treeguard.errors import InvalidArgument, LineTooLong, TooManyOpenFiles
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.judge import children, descriptors, look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs

#: Bytes that a pipe holds, and a reader ahead of its user.
PIPE_HOLDS, READ_AHEAD = 65536, 3 * 65536


def reader_of(tree: Tree) -> PipeReader:
    """Standard output with what is not public of it."""
    assert isinstance(tree.stdout, PipeReader)
    return tree.stdout


async def read_all(tree: Tree) -> bytes:
    """Standard output up to its end."""
    assert tree.stdout is not None
    return await asyncio.wait_for(tree.stdout.read(), PATIENCE)


async def test_bytes_go_both_ways(mechanism: Mechanism) -> None:
    """What is written to standard input arrives, and so does what the tree writes to each of its outputs."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn("sh", "-c", "cat; echo error >&2", stdin=PIPE, stdout="pipe", stderr="pipe")
        assert tree.stdin is not None
        assert tree.stderr is not None
        tree.stdin.write(b"first\nsecond")
        await tree.stdin.drain()
        tree.stdin.close()
        assert await read_all(tree) == b"first\nsecond"
        assert await tree.stderr.read() == b"error\n"
        assert await tree.wait() == 0
        again = manager.tree(tree.id)
        assert (again.stdin, again.stdout, again.stderr) == (tree.stdin, tree.stdout, tree.stderr)


async def test_streams_that_are_no_pipes(tmp_path: Path) -> None:
    """A file, a descriptor, the null device, and standard error where standard output goes."""
    path = tmp_path / "file"
    async with LocalProcessManager() as manager:
        with path.open("wb") as file:
            tree = await manager.spawn("sh", "-c", "echo out; echo err >&2", stdout=file, stderr=STDOUT)
            assert await tree.wait() == 0
        assert path.read_bytes() == b"out\nerr\n"
        assert (tree.stdin, tree.stdout, tree.stderr) == (None, None, None)
        with path.open("rb") as file:
            tree = await manager.spawn("cat", stdin=file.fileno(), stdout=PIPE, stderr=DEVNULL)
            assert await read_all(tree) == b"out\nerr\n"
        tree = await manager.spawn("sh", "-c", "cat; echo err >&2", stdin=DEVNULL, stdout=PIPE, stderr="stdout")
        assert await read_all(tree) == b"err\n"
        for name in ("stdin", "stdout"):
            with pytest.raises(InvalidArgument, match=f"{name} must be 'inherit', 'null', 'pipe' or a descriptor"):
                await manager.spawn_child(SpawnParams("true", **{name: STDOUT}))  # type: ignore[arg-type]


@pytest.mark.parametrize("stdout", ["inherit", "null"])
async def test_errors_follow_an_output_that_is_no_pipe(stdout: Any, programs: Programs) -> None:
    """``STDOUT`` means this process's own standard output, or the null device, if that is where output goes."""
    async with (
        LocalProcessManager() as manager,
        await manager.spawn(programs.tiny, stdout=stdout, stderr=STDOUT) as tree,
    ):
        places = [Path(f"/proc/{tree.pid}/fd/{fd}").readlink() for fd in (1, 2)]
        own = Path("/proc/self/fd/1").readlink() if stdout == "inherit" else Path(os.devnull)
        assert places == [own, own]


async def test_a_child_that_is_not_read_has_to_wait() -> None:
    """A reader takes some bytes ahead, and leaves the rest in the pipe, which fills up."""
    async with open_tree("sh", "-c", "yes", stdout=PIPE) as tree:
        reader = reader_of(tree)
        await until(lambda: reader.waiting > 2 * PIPE_HOLDS, "the buffer is full")
        seen = look(tree.pid)
        assert seen is not None
        await until(lambda: blocked_in_write(tree), "the writer waits")
        full = reader.waiting
        assert full <= READ_AHEAD
        for _ in range(20):
            await asyncio.sleep(0)
        assert reader.waiting == full
        # Reading lets it go on.
        assert len(await reader.readexactly(1_000_000)) == 1_000_000


def blocked_in_write(tree: Tree) -> bool:
    """Whether a process of the tree sleeps in a write to a pipe."""
    group = [
        seen for seen in map(look, _numbers()) if seen is not None and seen.group == tree.pid and seen.name == "yes"
    ]
    return bool(group) and group[0].state == "S"


def _numbers() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]  # noqa: PTH208


async def test_a_writer_has_to_wait_for_the_child() -> None:
    """``drain`` returns once the child has read, not before."""
    async with open_tree("sh", "-c", "read go; cat", stdin=PIPE, stdout=PIPE) as tree:
        assert tree.stdin is not None
        tree.stdin.write(b"x" * (10 * PIPE_HOLDS))
        draining = asyncio.ensure_future(tree.stdin.drain())
        done, _ = await asyncio.wait({draining}, timeout=0.05)
        assert not done
        tree.stdin.write(b"\ngone on\n")
        assert await asyncio.wait_for(tree.stdout.readline() if tree.stdout else draining, PATIENCE) == b"gone on\n"
        await asyncio.wait_for(draining, PATIENCE)


async def test_writing_to_a_child_that_has_closed_its_input_is_an_error() -> None:
    """As with asyncio: the next drain raises."""
    async with open_tree("sh", "-c", "exec <&-; echo closed; sleep 1000", stdin=PIPE, stdout=PIPE) as tree:
        assert tree.stdin is not None
        assert tree.stdout is not None
        assert await tree.stdout.readline() == b"closed\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await write_on(tree.stdin)


async def write_on(stdin: asyncio.StreamWriter) -> None:
    for _ in range(1000):
        stdin.write(b"x" * 1000)
        await stdin.drain()


# Lines.


@pytest.mark.parametrize("length", [0, 1, 65536, 1_000_000])
async def test_lines_may_have_any_length(length: int) -> None:
    """Far beyond asyncio's limit of 64 KiB; the last one may have no newline."""
    code = f"print('x' * {length}); print('end', end='')"
    async with open_tree(sys.executable, "-c", code, stdout=PIPE) as tree:
        assert tree.stdout is not None
        assert [line async for line in tree.stdout] == [b"x" * length + b"\n", b"end"]


async def test_lines_come_from_both_streams_in_order_of_arrival() -> None:
    """Each with the name of its stream. The child waits between them, so that there is an order."""
    script = "for i in 1 2 3 4 5; do echo out $i; read x; echo err $i >&2; read x; done; printf rest"
    async with open_tree("sh", "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE) as tree:
        assert tree.stdin is not None
        found = []
        async for name, line in tree.lines(text=True):
            found.append((name, line))
            tree.stdin.write(b"\n")
        expected = [(f"std{name}", f"{name} {i}\n") for i in range(1, 6) for name in ("out", "err")]
        assert found == [*expected, ("stdout", "rest")]


def has_had(reader: PipeReader, size: int) -> bool:
    """Whether so much has arrived."""
    return reader.fed >= size


async def test_lines_that_wait_in_both_streams_keep_their_order() -> None:
    """Also when they are asked for long after they have arrived."""
    script = "for i in 1 2 3; do echo out $i; read x; echo err $i >&2; read x; done"
    async with open_tree("sh", "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE) as tree:
        assert tree.stdin is not None
        for i in range(1, 4):
            for reader in (tree.stdout, tree.stderr):
                assert isinstance(reader, PipeReader)
                await until(partial(has_had, reader, i * len(b"out 1\n")), "it arrives")
                tree.stdin.write(b"\n")
        await tree.wait_empty(PATIENCE)
        found = [name async for name, _ in tree.lines()]
        assert sorted(found) == ["stderr"] * 3 + ["stdout"] * 3
        assert found == ["stdout", "stderr"] * 3


async def test_lines_as_text() -> None:
    """By an encoding and its error handler, with Windows' ends of line translated."""
    async with open_tree("printf", r"a\r\n\344\n\303\244\n", stdout=PIPE) as tree:
        found = [line async for _, line in tree.lines(encoding="utf-8", errors="replace")]
        assert found == ["a\n", "\N{REPLACEMENT CHARACTER}\n", "ä\n"]


async def test_a_line_that_cannot_be_decoded_is_not_lost() -> None:
    """The error has its bytes, and the next line follows."""
    async with open_tree("printf", r"a\n\344b\nc\n", stdout=PIPE) as tree:
        lines = tree.lines(encoding="utf-8")
        assert await anext(lines) == ("stdout", "a\n")
        with pytest.raises(UnicodeDecodeError) as raised:
            await anext(lines)
        assert raised.value.object == b"\xe4b\n"
        assert [line async for line in lines] == [("stdout", "c\n")]


@pytest.mark.parametrize("ending", ["\n", "", "\nmore\n"])
async def test_a_line_that_is_too_long_is_an_error_that_loses_nothing(ending: str) -> None:
    """It names stream and limit, comes in its turn, and all of the line can still be read."""
    async with open_tree("printf", f"short\n{'x' * 11}{ending}", stdout=PIPE, stderr=PIPE) as tree:
        lines = tree.lines(max_line=10)
        assert await anext(lines) == ("stdout", b"short\n")
        for _ in range(2):
            with pytest.raises(LineTooLong, match="a line of stdout is longer than 10 bytes") as raised:
                await anext(lines)
            assert (raised.value.stream, raised.value.max_line) == ("stdout", 10)
        assert [line async for _, line in tree.lines(max_line=11)] == [
            line.encode() for line in f"{'x' * 11}{ending}".splitlines(keepends=True)
        ]


async def test_a_line_without_end_is_an_error_at_its_limit() -> None:
    """Not only once its end has come, which may be never; iteration goes on after what is read by hand."""
    async with open_tree(
        "sh", "-c", "printf 'xxxxxxxxxxx'; read x; printf 'y\\nend\\n'", stdin=PIPE, stdout=PIPE
    ) as tree:
        assert tree.stdin is not None
        assert tree.stdout is not None
        lines = tree.lines(max_line=10)
        with pytest.raises(LineTooLong):
            await asyncio.wait_for(anext(lines), PATIENCE)
        assert await tree.stdout.readexactly(5) == b"xxxxx"
        tree.stdin.write(b"\n")
        assert [line async for _, line in lines] == [b"xxxxxxy\n", b"end\n"]


async def test_what_lines_refuses() -> None:
    """Before anything is read."""
    async with open_tree("cat", stdin=PIPE, stdout=PIPE) as tree:
        for arguments, error in (
            ({"encoding": "utf-16"}, ValueError),
            ({"encoding": "no such encoding"}, LookupError),
            ({"max_line": 0}, ValueError),
            ({"max_line": True}, TypeError),
        ):
            with pytest.raises(error):
                tree.lines(**arguments)
        first, second = tree.lines(), tree.lines()
        waiting = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(second)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert tree.stdin is not None
        tree.stdin.write(b"line\n")
        assert await anext(second) == ("stdout", b"line\n")
    async with open_tree("true") as tree:
        with pytest.raises(ValueError, match="neither stdout nor stderr"):
            tree.lines()


async def test_two_readers_are_refused() -> None:
    """As with asyncio, and the tree lives on."""
    async with open_tree("cat", stdin=PIPE, stdout=PIPE) as tree:
        assert tree.stdin is not None
        assert tree.stdout is not None
        for waiting in (tree.stdout.readline(), anext(tree.lines()), tree.communicate()):
            first = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another"):
                await tree.communicate()
            if not tree.stdin.is_closing():
                tree.stdin.write(b"line\n")
            await first
    with pytest.raises(TypeError, match="input must be bytes, not str"):
        await tree.communicate("text")  # type: ignore[arg-type]


async def test_a_cancelled_communicate_loses_nothing(containing: Mechanism) -> None:
    """It empties the tree, and a second call returns what was written."""
    async with LocalProcessManager(containment=containing) as manager:
        script = "head -c 500000 /dev/zero; echo err >&2; setsid sleep 1000"
        tree = await manager.spawn("sh", "-c", script, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        communicating = asyncio.ensure_future(tree.communicate(b"input"))
        errors = tree.stderr
        assert isinstance(errors, PipeReader)
        await until(lambda: errors._capture is not None and errors._capture.value, "it is written")
        communicating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await communicating
        assert await tree.wait_empty(0)
        output, error = await tree.communicate()
        assert output is not None
        assert (len(output), error) == (500_000, b"err\n")


# The end.


async def test_what_was_written_outlives_the_tree(containing: Mechanism) -> None:
    """It is there after the block was left, though an escapee held the output, and though nobody had read."""
    async with LocalProcessManager(containment=containing) as manager:
        script = "head -c 180000 /dev/zero; echo err >&2; setsid sleep 1000 & exit"
        tree = await manager.spawn("sh", "-c", script, stdout=PIPE, stderr=PIPE)
        other = await manager.spawn("sh", "-c", "echo other; sleep 1000", stdout=PIPE)
        async with tree:
            errors = tree.stderr
            assert isinstance(errors, PipeReader)
            await until(lambda: errors.waiting, "it is written")
            assert tree.stderr is not None
        assert await tree.stderr.read() == b"err\n"
        assert other.stdout is not None
        assert await other.stdout.readline() == b"other\n"
    assert len(await read_all(tree)) == 180_000
    assert await read_all(other) == b""


async def test_pipes_are_closed_when_nothing_was_started(mechanism: Mechanism) -> None:
    """Whatever fails: the program is not there, or there are no more descriptors."""
    async with LocalProcessManager(containment=mechanism) as manager:
        assert await (await manager.spawn("true")).wait_empty(PATIENCE)
        before = descriptors()
        for _ in range(5):
            with pytest.raises(ProgramNotFound):
                await manager.spawn("/nonexistent", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        with pytest.raises(ProgramNotFound):
            await manager.spawn("nonexistent", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert descriptors().keys() == before.keys()


async def test_no_descriptors_for_pipes() -> None:
    """With each number of descriptors that are left, a spawn works or says what it lacked, and leaves none open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with LocalProcessManager() as manager:
        await (await manager.spawn("true")).wait_empty(PATIENCE)
        outcomes = []
        for more in range(25):
            before = descriptors()
            limit = [fd for fd in range(2 * len(before) + 100) if fd not in before][more]
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                outcomes.append(await attempted(manager))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(partial(are_open, before.keys()), "none is left")
        assert outcomes[:6] == ["failed"] * 6
        assert outcomes[-1] == "worked"


def are_open(expected: Collection[int]) -> bool:
    return descriptors().keys() == expected


async def attempted(manager: LocalProcessManager) -> str:
    """A spawn with pipes where there may be too few descriptors."""
    try:
        tree = await manager.spawn("true", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    except TooManyOpenFiles:
        return "failed"
    await tree.communicate()
    assert await tree.wait_empty(PATIENCE)
    return "worked"


async def test_the_ends_of_pipes_are_this_processes_alone(programs: Programs) -> None:
    """They are close-on-exec and non-blocking, and another tree does not get them."""
    before = descriptors()
    async with open_tree(programs.tiny, stdin=PIPE, stdout=PIPE, stderr=PIPE) as tree:
        ours = [fd for fd, what in descriptors().items() if fd not in before and what.startswith("pipe:")]
        assert len(ours) == 3
        assert not any(os.get_inheritable(fd) or os.get_blocking(fd) for fd in ours)
        pipes = {os.readlink(f"/proc/self/fd/{fd}") for fd in ours}  # noqa: PTH115
        assert {os.readlink(f"/proc/{tree.pid}/fd/{fd}") for fd in range(3)} == pipes  # noqa: PTH115
        assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in ours)
        async with open_tree(programs.tiny) as other:
            # The kernel lets go of a parent that waits for an exec before it closes descriptors.
            await until(lambda: not pipes & held_by(other.pid), "the other tree has none of them")


def held_by(pid: int) -> set[str]:
    held = set()
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            held.add(os.readlink(f"/proc/{pid}/fd/{name}"))  # noqa: PTH115
    return held


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
async def test_a_forked_copy_does_not_hold_them() -> None:
    """A copy of this process that was forked without an exec keeps no child waiting for the end of its input."""
    async with open_tree("cat", stdin=PIPE, stdout=PIPE) as tree:
        copy = os.fork()
        if copy == 0:
            try:
                signal.alarm(60)
                signal.pause()
            finally:
                os._exit(0)
        try:
            assert tree.stdin is not None
            tree.stdin.write(b"whole")
            tree.stdin.close()
            assert await read_all(tree) == b"whole"
        finally:
            os.kill(copy, signal.SIGKILL)
            os.waitpid(copy, 0)  # noqa: ASYNC222 - it is dead


# Signals.


async def test_a_signal_to_the_root_alone(mechanism: Mechanism, adoption: Adoption) -> None:
    """A master gets it, its workers in the same group do not."""
    pause = "while :; do sleep 0.05; done"
    script = f"trap 'echo root' USR1; (trap 'echo child' USR1; echo up; {pause}) & {pause}"
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn("sh", "-c", script, stdout=PIPE)
        assert tree.stdout is not None
        assert await tree.stdout.readline() == b"up\n"
        tree.send_signal(signal.SIGUSR1, to="root")
        assert await tree.stdout.readline() == b"root\n"
        tree.send_signal(signal.SIGUSR1)
        assert {await tree.stdout.readline() for _ in range(2)} == {b"root\n", b"child\n"}
        with pytest.raises(ValueError, match="to must be 'group', 'root' or 'all'"):
            tree.send_signal(signal.SIGUSR1, to="leader")  # type: ignore[arg-type]
        tree.kill()
        assert await tree.wait_empty(PATIENCE)
        tree.send_signal(signal.SIGUSR1, to="root")
        tree.send_signal(signal.SIGUSR1, to="all")
    adoption.reap_all()


async def test_a_signal_to_all(containing: Mechanism) -> None:
    """Those in other groups and sessions too, which a signal to the group does not reach."""
    worker = "trap 'echo worker; exit' USR1; echo up; while :; do sleep 0.05; done"
    script = f'setsid sh -c "{worker}" & trap "" USR1; wait'
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn("sh", "-c", script, stdout=PIPE)
        assert tree.stdout is not None
        assert await tree.stdout.readline() == b"up\n"
        tree.send_signal(signal.SIGUSR1)
        tree.send_signal(signal.SIGUSR1, to="root")
        tree.send_signal(signal.SIGUSR1, to="all")
        assert await asyncio.wait_for(tree.stdout.read(), PATIENCE) == b"worker\n"


def test_streams_under_uvloop(mechanism: Mechanism, uvloop: Any) -> None:
    """Lines, back-pressure and the end as on asyncio's own loop."""
    family = set(children())

    async def live() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            tree = await manager.spawn("sh", "-c", "cat; echo err >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert tree.stdin is not None
            tree.stdin.write(b"x" * 200_000 + b"\nend")
            tree.stdin.close()
            lines = [(name, len(line)) async for name, line in tree.lines()]
            assert sorted(lines) == [("stderr", 4), ("stdout", 3), ("stdout", 200_001)]
            with pytest.raises(ProgramNotFound):
                await manager.spawn("/nonexistent", stdin=PIPE, stdout=PIPE)
            async with await manager.spawn("yes", stdout=PIPE) as tree:
                assert tree.stdout is not None
                await tree.stdout.readexactly(1_000_000)
            assert len(await tree.stdout.read()) > 0

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(live())
    finally:
        loop.close()
    assert set(children()) == family
