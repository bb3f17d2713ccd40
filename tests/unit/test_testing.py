"""Scripted children: which command gets which script, what is recorded, and what only a script can do."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import (
    PIPE,
    GuardLost,
    Limits,
    LocalProcessManager,
    ProcessEnded,
    ProgramNotFound,
    RootExit,
    SpawnError,
    SpawnParams,
    TimeoutExpired,
    TreeNotEmpty,
    arun,
)
from treeguard.errors import ProcessLimitReached, ProgramNotExecutable, TooManyOpenFiles
from treeguard.shutdown import Kill, Terminate
from treeguard.testing import (
    NO_PROCESSES,
    NOT_EXECUTABLE,
    NOT_FOUND,
    Descendant,
    KillCall,
    Output,
    Script,
    ScriptedManager,
    Scripts,
    SignalCall,
    SpawnCall,
    UnscriptedCommand,
    scripted,
    virtual_time,
)
from treeguard.types import Mechanism, ResourceUsage


async def code_of(manager: LocalProcessManager, *command: str) -> int:
    return await (await manager.spawn(*command)).wait()


async def test_which_script_a_command_gets() -> None:
    """By name or path of the program, by its first words, by a function; the later one before the earlier."""
    async with ScriptedManager() as manager:
        manager.script("git", exit=1)
        manager.script(["git", "status"], exit=2)
        manager.script(lambda params: "--quiet" in params.args, exit=3)
        manager.script("/opt/bin/git", exit=4)
        assert await code_of(manager, "git", "push") == 1
        assert await code_of(manager, "/usr/bin/git", "push") == 1
        assert await code_of(manager, "git", "status", "-s") == 2
        assert await code_of(manager, "git", "status", "--quiet") == 3
        assert await code_of(manager, "/opt/bin/git", "status") == 4
        manager.script("git", exit=5)
        assert await code_of(manager, "git", "status") == 5


async def test_a_script_for_some_spawns() -> None:
    """Used up, it leaves the earlier one."""
    async with ScriptedManager() as manager:
        manager.script("make", exit=0)
        manager.script("make", exit=2, times=2)
        assert [await code_of(manager, "make") for _ in range(4)] == [2, 2, 0, 0]


async def test_a_command_without_a_script() -> None:
    """The error names it, and what there are scripts for; or it gets the default one."""
    async with ScriptedManager() as manager:
        manager.script("git")
        with pytest.raises(UnscriptedCommand, match=r"no script for the command \['rm', '-rf', '/'\].*'git'") as error:
            await manager.spawn("rm", "-rf", "/")
        assert error.value.argv == ("rm", "-rf", "/")
        assert isinstance(error.value, AssertionError)
        assert not manager.commands
        assert await manager.list_children() == []
    async with ScriptedManager(unknown=Script(exit=9)) as manager:
        assert await code_of(manager, "anything") == 9


def test_wrong_scripts() -> None:
    """They are refused when they are made."""
    scripts = Scripts()
    with pytest.raises(TypeError, match="not both"):
        scripts.script("git", Script(), exit=1)
    with pytest.raises(ValueError, match="times"):
        scripts.script("git", times=0)
    with pytest.raises(ValueError, match="command"):
        scripts.script([])
    with pytest.raises(ValueError, match="after"):
        Script(after=-1)
    with pytest.raises(TypeError, match="exit"):
        Script(exit=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unknown"):
        ScriptedManager(scripts=scripts, unknown=Script())


async def test_calls_are_recorded() -> None:
    """With their times, and as they were made."""
    with virtual_time() as clock:
        async with ScriptedManager() as manager:
            manager.script("server", exit=None, term_after=None)
            manager.script("nothing", fails=NOT_FOUND)
            params = SpawnParams("server", ("--port", "80"), stdout="pipe", kind="network")
            tree = manager.tree((await manager.spawn_child(params)).pid)
            await clock.advance(1.5)
            tree.send_signal(signal.SIGWINCH, to="root")
            tree.send_signal(signal.SIGWINCH, to="all")
            report = await manager.shutdown(tree.id, (Terminate(3.0), Kill(10.0)))
            assert report.forced
            with pytest.raises(ProgramNotFound):
                await manager.spawn("nothing", cwd="/")
        argv = ("server", "--port", "80")
        assert manager.calls == (
            SpawnCall(0.0, argv, params, tree.pid),
            SignalCall(1.5, argv, tree.pid, signal.SIGWINCH, "root"),
            SignalCall(1.5, argv, tree.pid, signal.SIGWINCH, "all"),
            SignalCall(1.5, argv, tree.pid, signal.SIGTERM, "group"),
            KillCall(4.5, argv, tree.pid),
            SpawnCall(4.5, ("nothing",), SpawnParams("nothing", cwd="/"), None),
        )
        assert manager.commands == (argv, ("nothing",))
        assert manager.scripts.calls == manager.calls


@pytest.mark.parametrize(
    ("fails", "kind"),
    [
        (NOT_FOUND, ProgramNotFound),
        (NOT_EXECUTABLE, ProgramNotExecutable),
        (NO_PROCESSES, ProcessLimitReached),
        (("lifeline", 24), TooManyOpenFiles),
        (("exec", 8), SpawnError),
    ],
)
@pytest.mark.parametrize("start_after", [0.0, 1.0])
async def test_failures_to_start(fails: tuple[str, int], kind: type[SpawnError], start_after: float) -> None:
    """Each step with each error, at once or late; nothing is left."""
    with virtual_time() as clock:
        async with ScriptedManager() as manager:
            manager.script("git", fails=fails, start_after=start_after)
            with pytest.raises(kind) as error:
                await manager.spawn("git")
            assert error.value.errno == fails[1]
            assert error.value.step == fails[0] or (start_after and error.value.step == "exec")
            assert await manager.list_children() == []
            assert clock.now == pytest.approx(0.0 if fails[0] == "search" else start_after)


async def test_a_slow_start() -> None:
    """It can be waited for, run out of time, be cancelled and be killed."""
    with virtual_time() as clock:
        async with ScriptedManager() as manager:
            manager.script("slow", start_after=3.0, exit=None)
            spawning = asyncio.ensure_future(manager.spawn("slow"))
            await clock.advance(2.0)
            assert not spawning.done()
            tree = await spawning
            assert clock.now == 3.0
            with pytest.raises(TimeoutExpired):
                await arun(["slow"], timeout=1.0, manager=manager)
            assert clock.now == 4.0
            spawning = asyncio.ensure_future(manager.spawn("slow"))
            await clock.advance(1.0)
            spawning.cancel()
            with pytest.raises(asyncio.CancelledError):
                await spawning
            assert [child.pid for child in await manager.list_children()] == [tree.id]
            starting = asyncio.ensure_future(manager.spawn("slow"))
            await clock.advance(1.0)
            await manager.close()
            with pytest.raises(ProcessEnded):
                await starting


async def test_idle_and_total_timeouts() -> None:
    """Minutes of them, with the output so far."""
    with virtual_time() as clock:
        async with ScriptedManager() as manager:
            lines = [Output(f"{n}\n", after=30.0) for n in range(5)]
            manager.script("build", output=lines, exit=None)
            with pytest.raises(TimeoutExpired) as late:
                await arun(["build"], capture_output=True, idle_timeout=60.0, manager=manager)
            assert (late.value.idle, late.value.output) == (True, b"0\n1\n2\n3\n4\n")
            assert clock.now == pytest.approx(210.0)
            with pytest.raises(TimeoutExpired) as late:
                await arun(["build"], capture_output=True, timeout=75.0, manager=manager)
            assert (late.value.idle, late.value.output) == (False, b"0\n1\n")
            assert clock.now == pytest.approx(285.0)


async def test_what_cannot_be_killed() -> None:
    """A tree, and a manager, that are not empty."""
    with virtual_time() as clock:
        manager = ScriptedManager()
        manager.script("mount", leaves=[Descendant("stuck", killable=False)])
        with pytest.raises(TreeNotEmpty):
            await arun(["mount"], manager=manager)
        before = clock.now
        tree = await manager.spawn("mount")
        tree.kill()
        assert not await tree.wait_empty(20.0)
        with pytest.raises(TreeNotEmpty, match=r"stuck \(state D, waits in the kernel\)"):
            await manager.close()
        assert clock.now - before >= 49.0


async def test_a_lost_guard_in_a_cgroup() -> None:
    """It proves that nothing is left; how the root ended nobody knows."""
    async with ScriptedManager(containment="cgroup") as manager:
        manager.script("server", exit=None, loses_guard_after=0.01, leaves=[Descendant(in_group=False)])
        tree = await manager.spawn("server")
        with pytest.raises(GuardLost):
            await tree.wait()
        assert await tree.wait_empty()
        assert tree.exit == RootExit()


async def test_usage() -> None:
    """What the script says."""
    used = ResourceUsage(user_time=1.5, system_time=0.25, max_rss=1 << 20)
    async with ScriptedManager() as manager:
        manager.script("hungry", usage=used)
        tree = await manager.spawn("hungry", limits=Limits(memory=1 << 30, processes=10))
        await tree.wait_empty()
        assert tree.exit == RootExit(0, None, used)
        stats = await tree.stats()
        assert (stats.user_time, stats.peak_memory, stats.processes) == (1.5, 1 << 20, 0)


async def test_input_is_recorded_and_answered() -> None:
    """A server over standard input and output."""

    def answer(line: bytes) -> str | None:
        return None if line.startswith(b"#") else f"got {line.decode().strip()}\n"

    async with ScriptedManager() as manager:
        manager.script("server", stdout="ready\n", answer=answer, ends_with_input=True, exit=3)
        async with await manager.spawn("server", stdin=PIPE, stdout=PIPE) as tree:
            assert tree.stdin is not None
            assert tree.stdout is not None
            assert await tree.stdout.readline() == b"ready\n"
            tree.stdin.write(b"# a comment\none\ntw")
            assert await tree.stdout.readline() == b"got one\n"
            tree.stdin.write(b"o\nlast")
            tree.stdin.close()
            assert await tree.stdout.read() == b"got two\ngot last\n"
            assert await tree.wait() == 3
        assert manager.input_of(tree.pid) == b"# a comment\none\ntwo\nlast"


async def test_a_pipe_that_nobody_reads() -> None:
    """Its writer dies of SIGPIPE, as a real one."""
    async with ScriptedManager() as manager:
        manager.script("yes", stdout="y\n" * 500_000)
        reader, writer = os.pipe()
        try:
            tree = await manager.spawn("yes", stdout=writer)
        finally:
            os.close(writer)
            os.close(reader)
        assert await tree.wait() == -signal.SIGPIPE


async def test_other_outputs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Inherited ones, files, and one for both."""
    async with ScriptedManager() as manager:
        manager.script("say", stdout="out\n", stderr="err\n")
        await code_of(manager, "say")
        assert capfd.readouterr() == ("out\n", "err\n")
        with (tmp_path / "log").open("wb") as log:
            await (await manager.spawn("say", stdout=log, stderr="stdout")).wait()
        assert (tmp_path / "log").read_bytes() == b"out\nerr\n"
        await (await manager.spawn("say", stdout="null", stderr="null")).wait()


async def test_signals_that_are_ignored_from_the_start() -> None:
    """As after nohup: a program hears them only if it handles them."""
    numbers = [signal.SIGTERM, signal.SIGHUP]
    async with ScriptedManager() as manager:
        manager.script("server", exit=None, leaves=[Descendant()])
        manager.script("handler", exit=None, term_exit=3)
        tree = await manager.spawn("server", ignore_signals=numbers)
        for number in numbers:
            tree.send_signal(number)
        assert len(await tree.members()) == 2
        tree = await manager.spawn("handler", ignore_signals=numbers)
        tree.send_signal(signal.SIGHUP)
        tree.terminate()
        assert await tree.wait() == 3


def fork_and_wait() -> None:
    """A copy of this process that only runs the hooks of a fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, from Python 3.12 on
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


async def test_a_forked_copy_changes_nothing() -> None:
    """It closes its descriptors, and the loop of the original goes on watching the pipes."""
    async with ScriptedManager() as manager:
        manager.script("cat", answer=lambda line: line, ends_with_input=True)
        async with await manager.spawn("cat", stdin=PIPE, stdout=PIPE) as tree:
            fork_and_wait()
            assert tree.stdin is not None
            assert tree.stdout is not None
            tree.stdin.write(b"hello\n")
            assert await tree.stdout.readline() == b"hello\n"
            tree.stdin.close()
            assert await tree.wait() == 0


def test_another_loop_than_asyncios(uvloop: Any) -> None:
    """Pipes, back-pressure and delays, without virtual time."""

    async def run() -> bytes | None:
        async with ScriptedManager() as manager:
            manager.script("cat", answer=lambda line: line, ends_with_input=True, after=0.01)
            tree = await manager.spawn("cat", stdin=PIPE, stdout=PIPE)
            return (await tree.communicate(b"x" * 300_000))[0]

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(run()) == b"x" * 300_000
    finally:
        loop.close()


def test_a_manager_follows_to_another_loop() -> None:
    """What a child was about to do goes on there."""
    manager = ScriptedManager()
    manager.script("sleep", after=0.05)
    manager.script("cat", answer=lambda line: line, ends_with_input=True)

    async def begin() -> tuple[Any, Any]:
        return await manager.spawn("sleep"), await manager.spawn("sleep")

    first, second = asyncio.run(begin())
    first.kill()

    async def end() -> list[int]:
        codes = [await first.wait(), await second.wait()]
        await manager.close()
        return codes

    assert asyncio.run(end()) == [-signal.SIGKILL, 0]


async def test_every_mechanism_and_guarantee() -> None:
    """What a test asks for is there, and says what it is."""
    assert ScriptedManager().containment.mechanism == "cgroup"
    every: tuple[Mechanism, ...] = ("cgroup", "subreaper", "process_group", "job_object")
    for mechanism in every:
        async with ScriptedManager(containment=mechanism) as manager:
            manager.script("git", leaves=[Descendant(in_group=False)])
            tree = await manager.spawn("git", isolation="signals")
            assert (tree.containment.mechanism, await tree.wait()) == (mechanism, 0)
            # An escapee is not waited for where it is not contained.
            assert await tree.wait_empty(0.01) is (mechanism in ("process_group", "job_object"))
    with pytest.raises(treeguard.ContainmentUnavailable, match="contains_escapees"):
        _ = ScriptedManager(containment="process_group", require=["contains_escapees"]).containment


def test_scripted_code_in_threads() -> None:
    """Several loops at once, each with a manager of its own."""
    with scripted() as scripts:
        scripts.script("job", stdout="done\n", after=0.02)
        outputs: list[bytes] = []

        def run() -> None:
            outputs.append(asyncio.run(arun(["job"], capture_output=True)).stdout)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outputs == [b"done\n"] * 8
        with pytest.raises(UnscriptedCommand):
            asyncio.run(arun(["other"]))
    assert len(scripts.commands) == 8


def test_scripted_commands_without_a_loop() -> None:
    """In several threads at once."""
    with scripted() as scripts:
        scripts.script("job", stdout="done\n", after=0.02)
        outputs: list[bytes] = []

        def run() -> None:
            outputs.append(treeguard.run(["job"], capture_output=True).stdout)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outputs == [b"done\n"] * 8
        with pytest.raises(UnscriptedCommand):
            treeguard.run(["other"])


async def test_managers_of_the_code_under_test() -> None:
    """One that is made in the block plays the same scripts."""
    with scripted() as scripts, virtual_time() as clock:
        scripts.script("server", after=60.0, stdout="bye\n")
        async with LocalProcessManager(containment="subreaper", lease=10.0) as manager:
            tree = await manager.spawn("server", stdout=PIPE)
            assert await tree.communicate() == (b"bye\n", None)
            assert clock.now == 60.0
            assert scripts.commands == (("server",),)


async def test_leaving_scripted_ends_its_trees() -> None:
    """Those that nobody has ended, and scripts may be nested."""
    with scripted() as outer:
        outer.script("server", exit=1)
        with scripted() as inner:
            inner.script("server", exit=None)
            tree = await treeguard.create_subprocess_exec("server")
            assert tree.returncode is None
        assert tree.returncode == -signal.SIGKILL
        assert await (await treeguard.create_subprocess_exec("server")).wait() == 1


async def test_spawns_at_the_same_time_are_told_apart() -> None:
    """Also when one of them first has to look up a user in a thread."""
    async with ScriptedManager() as manager:
        manager.script("job", stdout="x")
        ours = [SpawnParams("job", (str(n),), stdout="pipe", user="root" if n % 2 else None) for n in range(4)]
        await asyncio.gather(*map(manager.spawn_child, ours))
        asked = [call.params for call in manager.calls if isinstance(call, SpawnCall)]
        assert sorted(asked, key=lambda params: params.args) == ours
