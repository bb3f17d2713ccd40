"""Code that starts commands without a manager of its own sees the same, with processes and without."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import treeguard
from treeguard import (
    PIPE,
    LocalProcessManager,
    arun,
    create_subprocess_exec,
    create_subprocess_shell,
    open_tree,
    subprocess,
)
from treeguard.testing import scripted

from ..support.blocking import own_managers
from ..support.contract import BEGUN, learn
from ..support.patience import until

__all__ = ["own_managers"]


@pytest.fixture(params=["real", "scripted"])
def either(request: pytest.FixtureRequest) -> Iterator[str]:
    """With processes, and without."""
    if request.param == "real":
        yield "real"
        return
    with scripted() as scripts:
        learn(scripts)
        yield "scripted"


def sh(code: str) -> list[str]:
    return ["sh", "-c", code]


async def test_arun(either: str) -> None:
    """Outputs, codes, input and errors."""
    done = await arun(sh("echo out; echo err >&2"), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr, done.left) == (0, "out\n", "err\n", ())
    assert (await arun(sh("exit 7"))).returncode == 7
    assert (await arun(sh("kill -9 $$"))).returncode == -9
    assert (await arun(sh("cat"), input=b"x" * 200_000, capture_output=True)).stdout == b"x" * 200_000
    assert len((await arun(sh("yes | head -c 1000000"), capture_output=True)).stdout) == 1_000_000
    with pytest.raises(treeguard.CalledProcessError):
        await arun(sh("exit 7"), check=True)
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        await arun(["treeguard-no-such-program"])


async def test_arun_names_who_was_left(either: str) -> None:
    """And is not held up by it."""
    done = await arun(sh(f"sleep 60 & {BEGUN}; exit 5"), capture_output=True)
    assert (done.returncode, [(each.name, each.held_output) for each in done.left]) == (5, [("sleep", True)])


def test_run(either: str) -> None:
    """Outputs, codes, input and errors."""
    done = treeguard.run(sh("echo out; echo err >&2"), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr, done.left) == (0, "out\n", "err\n", ())
    assert treeguard.run(sh("exit 7")).returncode == 7
    assert treeguard.run(sh("kill -9 $$")).returncode == -9
    assert treeguard.run(sh("cat"), input=b"x" * 200_000, capture_output=True).stdout == b"x" * 200_000
    assert len(treeguard.run(sh("yes | head -c 1000000"), capture_output=True).stdout) == 1_000_000
    with pytest.raises(treeguard.CalledProcessError):
        treeguard.run(sh("exit 7"), check=True)
    with pytest.raises(FileNotFoundError, match="No such file or directory: 'treeguard-no-such-program'"):
        treeguard.run(["treeguard-no-such-program"])


def test_run_names_who_was_left(either: str) -> None:
    """And is not held up by it."""
    done = treeguard.run(sh(f"sleep 60 & {BEGUN}; exit 5"), capture_output=True)
    assert (done.returncode, [(each.name, each.held_output) for each in done.left]) == (5, [("sleep", True)])


def test_run_that_takes_too_long(either: str) -> None:
    """The output so far, in an error."""
    with pytest.raises(treeguard.TimeoutExpired) as late:
        treeguard.run(sh("trap '' TERM; echo deaf; while :; do sleep 60; done"), capture_output=True, timeout=0.5)
    assert late.value.output == b"deaf\n"


def test_popen(either: str) -> None:
    """Step by step, in text."""
    with subprocess.Popen(sh("cat"), stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.poll() is None
        assert process.communicate("one\ntwo\n")[0] == "one\ntwo\n"
        assert process.returncode == 0
    with subprocess.Popen(sh("exec sleep 60")) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        process.terminate()
        assert process.wait() == -signal.SIGTERM


async def test_functions_of_asyncio(either: str) -> None:
    """They use the loop's own manager."""
    tree = await create_subprocess_exec(*sh("sleep 0.05; echo late"), stdout=PIPE)
    assert await tree.communicate() == (b"late\n", None)
    tree = await create_subprocess_shell("exit 7")
    assert await tree.wait() == 7
    async with open_tree(*sh("exec sleep 60")) as tree:
        assert tree.returncode is None
    assert tree.returncode == -signal.SIGKILL
    tree = await create_subprocess_exec(*sh("exec sleep 60"))
    tree.kill()
    await until(lambda: tree.returncode == -signal.SIGKILL, "the kill is seen")


async def test_a_block_has_an_end() -> None:
    """After it, and in a manager that was made before it, there are processes."""
    async with LocalProcessManager() as manager:
        with scripted() as scripts:
            scripts.script("sh", exit=9)
            assert (await arun(sh("exit 7"))).returncode == 9
            assert await (await manager.spawn(*sh("exit 7"))).wait() == 7
    async with LocalProcessManager() as manager:
        assert await (await manager.spawn(*sh("exit 7"))).wait() == 7
    assert (await arun(sh("exit 7"))).returncode == 7
    assert scripts.commands == (("sh", "-c", "exit 7"),)
