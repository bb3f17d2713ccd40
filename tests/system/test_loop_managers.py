"""Trees without a manager belong to their loop, and end with it, however it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from treeguard import DEVNULL, PIPE, LocalProcessManager, Tree, arun, create_subprocess_exec, create_subprocess_shell
from treeguard.aio.loops import manager_of_loop

from ..support.adoption import Adoption
from ..support.judge import children, look
from ..support.patience import PATIENCE, wait_until

#: A root and an escapee.
SCRIPT = "setsid sleep 1000 & echo $!; wait"


async def start() -> tuple[int, int]:
    """Starts a tree without a manager. Returns the numbers of its root and its escapee."""
    tree = await create_subprocess_shell(SCRIPT, stdout=PIPE)
    assert tree.stdout is not None
    return tree.pid, int(await tree.stdout.readline())


def lives(pid: int) -> bool:
    seen = look(pid)
    return seen is not None and seen.state != "Z"


def new_loop(kind: str, uvloop: Any) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = (uvloop if kind == "uvloop" else asyncio).new_event_loop()
    return loop


loops = pytest.mark.parametrize("kind", ["asyncio", "uvloop"])


def test_asyncio_run_ends_them(adoption: Adoption) -> None:
    """Once the main coroutine has ended, and the tasks that it left were cancelled."""
    order = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append(all(map(lives, pids)))

    async def main() -> tuple[int, int]:
        numbers = await start()
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        assert not task.done()
        pids.extend(numbers)
        return numbers

    pids: list[int] = []
    asyncio.run(main())
    assert order == [True]
    assert not any(map(lives, pids))
    adoption.reap_all()


@loops
def test_a_closed_loop_ends_them(kind: str, uvloop: Any, adoption: Adoption) -> None:
    """At once, also if nobody closed the loop's asynchronous generators first. Between two runs they live."""
    loop = new_loop(kind, uvloop)
    # uvloop complains of pipes that are open when it is closed.
    pids = loop.run_until_complete(start() if kind == "asyncio" else start_without_pipes())
    loop.run_until_complete(asyncio.sleep(0))
    assert all(map(lives, pids))
    loop.close()
    assert not any(map(lives, pids))
    adoption.reap_all()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dropped_loop_ends_them(adoption: Adoption) -> None:
    """A loop that was never closed ends them when it is collected. uvloop's are not, then."""

    def drop() -> tuple[int, int]:
        return asyncio.new_event_loop().run_until_complete(start_without_pipes())

    pids = drop()
    wait_until(lambda: gc.collect() >= 0 and not any(map(lives, pids)), "they are ended")
    adoption.reap_all()


async def start_without_pipes() -> tuple[int, int]:
    """As above. An open pipe would be the loop's, which complains of it."""
    tree = await create_subprocess_exec("sleep", "1000", stdin=DEVNULL)
    return tree.pid, tree.pid


def test_each_loop_has_its_own_manager() -> None:
    """Loops of several threads do not end each other's trees; one loop's trees have one manager."""
    managers: list[LocalProcessManager] = []
    pids: list[int] = []
    lock = threading.Lock()
    together = threading.Barrier(4)

    async def live(last: bool) -> None:
        tree, other = [await create_subprocess_exec("sleep", "1000") for _ in range(2)]
        assert tree._manager is other._manager is manager_of_loop()
        with lock:
            managers.append(tree._manager)
            pids.append(tree.pid)
        await asyncio.to_thread(together.wait)
        if last:
            # The others' loops end first.
            await asyncio.to_thread(together.wait)
            assert lives(tree.pid)

    def run(last: bool) -> None:
        asyncio.run(live(last))
        if not last:
            together.wait()

    threads = [threading.Thread(target=run, args=(i == 0,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(set(map(id, managers))) == 4
    assert not any(map(lives, pids))


def test_commands_run_while_the_loop_shuts_down() -> None:
    """An asynchronous generator may end its tree in its own way, and clean up by a command."""
    outputs: list[bytes | None] = []

    async def generator() -> AsyncGenerator[None, None]:
        script = "trap 'echo ended; exit' TERM; echo up; while :; do sleep 0.05; done"
        tree = await create_subprocess_shell(script, stdout=PIPE)
        assert tree.stdout is not None
        await tree.stdout.readline()
        try:
            yield
        finally:
            tree.terminate()
            outputs.append((await tree.communicate())[0])
            outputs.append((await arun(["echo", "cleaned up"], stdout=PIPE)).stdout)

    async def main() -> None:
        await create_subprocess_exec("sleep", "1000")
        await anext(held)

    family = set(children())
    held = generator()
    asyncio.run(main())
    assert outputs == [b"ended\n", b"cleaned up\n"]
    assert set(children()) == family


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_copy_has_its_own() -> None:
    """Its loop is another one, and ending that, or the copy of the original's, ends nothing of the original."""

    async def around() -> None:
        pid, _ = await start()
        copy = os.fork()
        if copy == 0:
            code = 1
            try:
                signal.alarm(60)
                asyncio._set_running_loop(None)
                asyncio.run(within())
                code = 0
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, copy, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert lives(pid)

    async def within() -> None:
        assert (await arun(["echo", "copy"], stdout=PIPE)).stdout == b"copy\n"

    asyncio.run(around())


@pytest.mark.parametrize("verb", [Tree.kill, Tree.terminate])
@loops
def test_signals_between_two_runs(verb: Callable[[Tree], None], kind: str, uvloop: Any, adoption: Adoption) -> None:
    """They need no running loop."""
    loop = new_loop(kind, uvloop)
    try:
        tree = loop.run_until_complete(create_subprocess_exec("sleep", "1000", stdout=PIPE))
        verb(tree)
        wait_until(lambda: not lives(tree.pid), "it has ended")
        assert loop.run_until_complete(tree.wait()) < 0
        assert loop.run_until_complete(tree.communicate()) == (b"", None)
    finally:
        loop.close()
    adoption.reap_all()


def test_asyncios_signature(tmp_path: Any) -> None:
    """``cwd``, ``env``, inherited descriptors, a session: as with :mod:`subprocess`."""

    async def main() -> None:
        read, write = os.pipe()
        try:
            tree = await create_subprocess_shell(
                f"pwd; echo $A; echo fd >/dev/fd/{write}; cut -d' ' -f5,6 /proc/$$/stat",
                stdout=PIPE,
                cwd=tmp_path,
                env={"A": "b", "PATH": os.environ["PATH"]},
                pass_fds=(write,),
                start_new_session=True,
                close_fds=True,
                restore_signals=True,
                executable="/bin/sh",
            )
            output, errors = await tree.communicate()
            assert output == f"{tmp_path}\nb\n{tree.pid} {tree.pid}\n".encode()
            assert errors is None
            assert os.read(read, 10) == b"fd\n"
            os.set_inheritable(write, True)
            tree = await create_subprocess_shell(f"echo again >/dev/fd/{write}", close_fds=False)
            await tree.wait()
            assert os.read(read, 10) == b"again\n"
        finally:
            os.close(read)
            os.close(write)
        ignoring = "grep SigIgn /proc/self/status"
        for restore, expected in ((True, 0), (False, 1 << (signal.SIGPIPE - 1))):
            tree = await create_subprocess_exec(*ignoring.split(), stdout=PIPE, restore_signals=restore)
            output, _ = await tree.communicate()
            assert output is not None
            assert int(output.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == expected

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"preexec_fn": print}, ValueError, "preexec_fn must be None: .* use start_new_session=True"),
        ({"process_group": 5}, ValueError, "process_group must be 0"),
        ({"text": True}, ValueError, "text must be False"),
        ({"encoding": "utf-8"}, ValueError, "encoding must be None"),
        ({"bufsize": 1}, ValueError, "bufsize must be 0"),
        ({"shell": True}, ValueError, "shell must be False"),
        ({"pipesize": -2}, ValueError, "pipesize must be a number of bytes"),
        ({"limit": 0}, ValueError, "limit must be positive"),
        ({"nonsense": 1}, TypeError, "unexpected keyword argument 'nonsense'"),
    ],
)
async def test_what_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    """With the reason, and before anything is started."""
    with pytest.raises(error, match=words):
        await create_subprocess_exec("true", **options)


async def test_a_limit_is_asyncios() -> None:
    """``readline`` with a limit raises as asyncio's does, and goes on behind the line."""
    tree = await create_subprocess_exec("printf", f"{'x' * 100}\\nend\\n", stdout=PIPE, limit=10)
    assert tree.stdout is not None
    with pytest.raises(ValueError, match="limit"):
        await tree.stdout.readline()
    assert await tree.stdout.readline() == b"end\n"
    await tree.wait_empty(PATIENCE)
