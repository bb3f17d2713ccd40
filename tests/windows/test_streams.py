"""Pipes and commands on Windows: overlapped pipes, which the Proactor watches."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial

import pytest

from treeguard import (
    PIPE,
    STDOUT,
    LocalProcessManager,
    ProgramNotFound,
    TimeoutExpired,
    arun,
    create_subprocess_exec,
    create_subprocess_shell,
    open_tree,
)
from treeguard.errors import RequestNotDelivered

from ..support.patience import PATIENCE, SLOWNESS
from ..support.programs import Programs

COPY = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('err')"
#: A root that ends, and a child of it that holds its output.
LEAVES = (
    "import subprocess, sys; print('hi', flush=True); "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], close_fds=False)"
)


async def test_bytes_go_both_ways() -> None:
    """More than a pipe holds, in both directions at once."""
    data = b"line\r\n" * 50_000
    tree = await create_subprocess_exec(sys.executable, "-c", COPY, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await asyncio.wait_for(tree.communicate(data), PATIENCE) == (data, b"err")
    assert tree.returncode == 0


async def test_lines() -> None:
    """Of both streams, as text, and of any length."""
    code = "import sys; print('x' * 200_000); print('end', file=sys.stderr)"
    async with open_tree(sys.executable, "-c", code, stdout=PIPE, stderr=PIPE) as tree:
        found = sorted([(name, len(line)) async for name, line in tree.lines(encoding="utf-8")])
    assert found == [("stderr", 4), ("stdout", 200_001)]


async def test_errors_go_where_output_goes() -> None:
    """``STDOUT`` for standard error."""
    done = await arun([sys.executable, "-c", COPY], input=b"in", stdout=PIPE, stderr=STDOUT, timeout=PATIENCE)
    assert sorted([done.stdout[:2], done.stdout[2:]]) in ([b"er", b"rin"], [b"err", b"in"])


async def test_commands_and_command_lines() -> None:
    """The shell gets a command as it was written, and so does a program whose command is a string."""
    command = 'echo "a b" c'
    done = await arun(command, shell=True, capture_output=True, timeout=PATIENCE)
    tree = await create_subprocess_shell(command, stdout=PIPE)
    assert (done.stdout, await tree.communicate()) == (b'"a b" c\r\n', (b'"a b" c\r\n', None))
    line = f'"{sys.executable}" -c "import sys; print(sys.argv)" "a  b"'
    assert (await arun(line, capture_output=True, text=True, timeout=PATIENCE)).stdout == "['-c', 'a  b']\n"


async def test_a_process_that_holds_the_output_holds_up_nobody() -> None:
    """It is killed with its tree, and told of."""
    began = time.monotonic()
    done = await arun([sys.executable, "-c", LEAVES], capture_output=True, timeout=PATIENCE)
    assert done.stdout.strip() == b"hi"
    assert len(done.left) >= 1
    assert time.monotonic() - began < 10 * SLOWNESS


async def test_the_deadline(programs: Programs) -> None:
    """The tree is gone, and the error has the output."""
    code = f"import subprocess; print('so far', flush=True); subprocess.call([{programs.tiny!r}])"
    with pytest.raises(TimeoutExpired) as raised:
        await arun([sys.executable, "-c", code], capture_output=True, text=True, timeout=2 * SLOWNESS)
    assert raised.value.stdout == b"so far\r\n"


async def test_what_was_written_outlives_the_tree() -> None:
    """It is there after the block was left."""
    code = "import sys, time; print('written', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(1000)"
    async with open_tree(sys.executable, "-c", code, stdout=PIPE, stderr=PIPE) as tree:
        assert tree.stdout is not None
        assert tree.stderr is not None
        assert (await tree.stderr.readline()).strip() == b"err"
    assert (await tree.stdout.read()).strip() == b"written"


async def test_nothing_is_left_of_a_failed_start() -> None:
    """No pipe stays open: the fixture looks."""
    async with LocalProcessManager() as manager:
        for _ in range(3):
            with pytest.raises(ProgramNotFound):
                await manager.spawn("there-is-none", stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def test_single_processes_are_not_signalled(programs: Programs) -> None:
    """Windows has no way to ask one."""
    async with open_tree(programs.tiny) as tree:
        for single in (partial(tree.send_signal, to="root"), partial(tree.send_signal, to="all")):
            with pytest.raises(RequestNotDelivered):
                single(15)


def test_a_closed_loop_ends_its_trees(programs: Programs) -> None:
    """Also one with pipes that nobody has read."""
    loop = asyncio.new_event_loop()
    try:
        tree = loop.run_until_complete(create_subprocess_exec(programs.tiny, stdin=PIPE, stdout=PIPE))
    finally:
        loop.close()
    assert tree._manager._running is not None
    assert tree._manager._running.left
