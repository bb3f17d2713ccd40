"""What a process of the same user may do to a guard: it does not keep the guard's tree from being ended."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import mmap
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from treeguard import ChildHandle, GuardLost, LocalProcessManager, ProcessEnded, SpawnParams
from treeguard._core import native, native_processes
from treeguard._core.engine.lease import Lease
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import descriptors, look
from ..support.mechanisms import CONTAINING
from ..support.newborns import newborns_meet
from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs
from ..support.supervised import Supervised

#: The order to end a tree (csrc/wire.h).
_KILL = struct.pack("=ii", 1, 0)
#: Where process ids begin anew.
PID_LIMIT = int(Path("/proc/sys/kernel/pid_max").read_text("ascii"))


def guard_of(child: ChildHandle) -> int:
    """The parent of a root."""
    root = look(child.os_pid)
    assert root is not None
    assert root.parent != os.getpid()
    return root.parent


def newest_pid() -> int:
    """The last process id that the kernel gave out."""
    return int(Path("/proc/loadavg").read_text("ascii").split()[-1])


@contextlib.contextmanager
def stopping(pid: int) -> Iterator[list[int]]:
    """Stops a process again and again. What it is lent counts how often that was."""
    count, over = [0], threading.Event()

    def stop() -> None:
        while not over.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                count[0] += 1

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


async def test_guard_that_was_stopped_obeys(containing: Mechanism, programs: Programs) -> None:
    """It is let go on with the order."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        os.kill(guard_of(child), signal.SIGSTOP)
        await until(lambda: look(guard_of(child)).state == "T", "the guard stands still")  # type: ignore[union-attr]
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


@pytest.mark.parametrize("adversary", ["daemon", "hydra", "zoo"], indirect=True)
async def test_guard_that_is_stopped_on_and_on_is_done_without(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """What descends from it is found all the same, and nothing else is left when *empty* is said."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        with stopping(guard_of(child)) as stops:
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert not adversary.traces
        assert stops[0] > 10


@pytest.mark.parametrize("adversary", ["hydra"], indirect=True)
async def test_chain_that_forks_on_is_caught(adversary: Adversary, adoption: Adoption) -> None:
    """Below a guard that stands still nothing reaps: the chain would fill the table of processes."""
    async with LocalProcessManager(containment="subreaper") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        guard = guard_of(child)
        os.kill(guard, signal.SIGSTOP)
        await until(lambda: look(guard).state == "T", "the guard stands still")  # type: ignore[union-attr]
        os.kill(child.os_pid, signal.SIGKILL)
        before = newest_pid()
        await until(lambda: native_processes.chase(guard, 20) == 0 and not adversary.traces, "all links are killed")
        assert (newest_pid() - before) % PID_LIMIT < PID_LIMIT // 2
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


@pytest.mark.parametrize("adversary", ["daemon"], indirect=True)
async def test_control_stopped_guard_obeys_nothing(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """The order alone, which lets nobody go on, leaves the tree as it is: the judge sees it."""
    async with LocalProcessManager(containment=containing) as manager:
        before = descriptors()
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        os.kill(guard_of(child), signal.SIGSTOP)
        for fd, what in descriptors().items() - before.items():
            if what.startswith("socket:"):
                with socket.socket(fileno=os.dup(fd)) as lifeline:
                    lifeline.send(_KILL)
        assert not await manager.wait_for_exit(child.pid, 0.5)
        assert adversary.traces
        os.kill(guard_of(child), signal.SIGCONT)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_root_that_stops_its_guard_at_once(containing: Mechanism) -> None:
    """The first that it does is to stop its guard, which has not told of its start yet."""
    async with LocalProcessManager(containment=containing) as manager:
        for _ in range(10):
            stop = SpawnParams(program="/bin/sh", args=("-c", "kill -STOP $PPID; exec sleep 60"))
            child = await asyncio.wait_for(manager.spawn_child(stop), PATIENCE)
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_root_that_stops_its_guard_for_ever(containing: Mechanism) -> None:
    """The spawn ends, one way or the other, and so does the tree."""
    command = "while :; do kill -STOP $PPID; done"
    async with LocalProcessManager(containment=containing) as manager:
        with contextlib.suppress(ProcessEnded):
            stop = SpawnParams(program="/bin/sh", args=("-c", command))
            child = await asyncio.wait_for(manager.spawn_child(stop), PATIENCE)
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)


@pytest.mark.parametrize("adversary", ["zoo"], indirect=True)
@pytest.mark.parametrize("ends", ["killed", "left"])
async def test_guard_without_limits_left(
    containing: Mechanism, ends: str, adversary: Adversary, adoption: Adoption
) -> None:
    """Whichever of its limits is lowered to zero, a guard obeys its orders, sweeps, and does not spin."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        guard = guard_of(child)
        for name in ("NOFILE", "AS", "DATA", "STACK", "FSIZE", "NPROC", "MEMLOCK", "SIGPENDING", "MSGQUEUE"):
            resource.prlimit(guard, getattr(resource, f"RLIMIT_{name}"), (0, 0))
        os.kill(guard, signal.SIGCHLD)  # so that it looks up
        before = _cpu(guard)
        await asyncio.sleep(0.3)
        assert _cpu(guard) - before < 0.1
        if ends == "killed":
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
    assert not adversary.traces


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("adversary", ["deep"], indirect=True)
async def test_flood_of_signals(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """That it is told of deaths that were none keeps a guard from nothing."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        guard, over = guard_of(child), threading.Event()

        def flood() -> None:
            while not over.is_set():
                for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGRTMIN, signal.SIGHUP):
                    with contextlib.suppress(ProcessLookupError, BlockingIOError):
                        os.kill(guard, number)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        finally:
            over.set()
            thread.join()
        assert not adversary.traces


def _lifelines(guard: int) -> Iterator[socket.socket]:
    """Copies of a guard's sockets, by pidfd_getfd(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.pidfd_open(guard)
    for fd in range(64):
        got = libc.syscall(438, handle, fd, 0)
        if got >= 0:
            with contextlib.suppress(OSError):
                yield socket.socket(fileno=got)
                continue
            os.close(got)
    os.close(handle)


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else gets hold of a guard's descriptors")
@pytest.mark.parametrize("then", ["stopped", "killed", "let alone"])
@pytest.mark.parametrize("adversary", ["daemon"], indirect=True)
async def test_forged_last_word_is_not_believed(
    containing: Mechanism, then: str, adversary: Adversary, adoption: Adoption
) -> None:
    """*Empty* is said when the guard has ended as one that has swept, or when all is seen to be gone."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        guard = guard_of(child)
        forged = bytes(
            native._ffi.buffer(native._ffi.new("struct tg_event *", {"kind": native.EMPTY, "pid": child.os_pid}))
        )
        if then == "stopped":
            os.kill(guard, signal.SIGSTOP)
        for lifeline in _lifelines(guard):
            with lifeline, contextlib.suppress(OSError):
                lifeline.send(forged)
        if then == "killed":
            os.kill(guard, signal.SIGKILL)
        try:
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        except GuardLost:
            assert then == "killed"
            assert containing == "subreaper"
        else:
            assert not adversary.traces


#: Traces a process (PTRACE_SEIZE), says so, and holds on to it until its input ends.
_TRACER = """
import ctypes, sys
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None) == 0
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else may trace a guard")
@pytest.mark.parametrize("adversary", ["daemon"], indirect=True)
async def test_guard_that_died_in_the_hands_of_a_tracer(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """A tracer keeps a dead process from being reaped: the loss is told all the same, and nothing is called empty."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        guard = guard_of(child)
        pipe = asyncio.subprocess.PIPE
        tracer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _TRACER, str(guard), stdin=pipe, stdout=pipe
        )
        assert tracer.stdout is not None
        assert await tracer.stdout.readline() == b"\n"
        os.kill(guard, signal.SIGKILL)
        await manager.kill_tree(child.pid)
        try:
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        except GuardLost:
            pass
        else:
            assert not adversary.traces
        seen = look(guard)
        assert seen is not None
        assert seen.state == "Z"
        await tracer.communicate(b"")
        await until(lambda: look(guard) is None, "the guard was reaped")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do it")
async def test_others_of_the_same_user_get_no_hold_of_a_guard(containing: Mechanism, programs: Programs) -> None:
    """Its descriptors and its memory are shut; control: those of a root are not."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert os.listdir(f"/proc/{child.os_pid}/fd")  # noqa: PTH208
        with pytest.raises(PermissionError):
            os.listdir(f"/proc/{guard_of(child)}/fd")  # noqa: PTH208
        assert not list(_lifelines(guard_of(child)))
        with pytest.raises(PermissionError):
            os.close(os.open(f"/proc/{guard_of(child)}/oom_score_adj", os.O_WRONLY))


async def test_manager_that_was_dropped_does_without_a_stopped_guard(
    containing: Mechanism, programs: Programs, adoption: Adoption
) -> None:
    """Where no loop is left, too."""
    with Adversary(programs, "daemon") as adversary:
        manager = LocalProcessManager(containment=containing)
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        with stopping(guard_of(child)), pytest.warns(ResourceWarning):
            manager.__del__()
        assert not adversary.traces
        manager._closed = True  # it has done so already when it is collected


async def test_stops_as_fast_as_they_can_be_made(containing: Mechanism, programs: Programs) -> None:
    """A root that is stopped and continued in a loop costs its supervisor a few events; the last state is told."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        began = asyncio.get_running_loop().time()
        for _ in range(3000):
            os.kill(child.os_pid, signal.SIGSTOP)
            os.kill(child.os_pid, signal.SIGCONT)
            await asyncio.sleep(0)
        took = asyncio.get_running_loop().time() - began
        os.kill(child.os_pid, signal.SIGSTOP)
        state = await manager.wait_for_change(child.pid)
        while state.stopped is None:
            state = await asyncio.wait_for(manager.wait_for_change(child.pid, state), PATIENCE)
        assert 1 <= state.stops <= 32 + took / 0.02 + 5


@pytest.mark.parametrize("adversary", ["daemon"], indirect=True)
def test_supervisor_dies_while_its_guard_is_stopped(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """The kernel lets a stopped group go on that has nobody left to care for it, so the guard sweeps (setpgid(2))."""
    with Supervised([adversary], containment=containing, end="SIGKILL", under=("setsid",)) as supervisor:
        (root,) = supervisor.roots
        guard = look(look(root).parent)  # type: ignore[union-attr]
        assert guard is not None
        os.kill(guard.pid, signal.SIGSTOP)
        wait_until(lambda: look(guard.pid).state == "T", "the guard stands still")  # type: ignore[union-attr]
        supervisor.go()
        assert supervisor.wait() == -signal.SIGKILL
        adversary.wait_gone()


_JOINS = """
import os, signal, time
guard = os.getppid()
if os.fork() == 0:
    os.setpgid(0, guard)
    os.kill(guard, signal.SIGSTOP)
    print("stopped", flush=True)
    time.sleep(60)
time.sleep(60)
"""
_SUPERVISOR = """
import asyncio, os, signal, sys
from treeguard import LocalProcessManager, SpawnParams

async def main(containment, code):
    async with LocalProcessManager(containment=containment) as manager:
        await manager.spawn_child(SpawnParams(sys.executable, ("-c", code)))
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


# From inside of a PID namespace nobody stops a guard.
@pytest.mark.parametrize("containing", CONTAINING, indirect=True)
def test_supervisor_dies_while_its_guard_is_stopped_in_company(containing: Mechanism, adoption: Adoption) -> None:
    """A member of its group with a parent in the session keeps that from being orphaned; it goes on all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR, containing, _JOINS], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "stopped\n"
        supervisor.kill()
        # At its end of file nobody of the tree is left.
        ready, _, _ = select.select([supervisor.stdout], [], [], PATIENCE)
        assert ready
        assert supervisor.stdout.read() == ""


def test_lease_is_out_of_reach() -> None:
    """A process with its descriptor can neither shorten the page, which would kill all guards, nor stamp it."""
    lease = Lease(1.0)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(lease.fd, 0)
        with pytest.raises(PermissionError):
            os.pwrite(lease.fd, bytes(8), 0)
        with pytest.raises(PermissionError):
            mmap.mmap(lease.fd, mmap.PAGESIZE)
        lease.renew()
    finally:
        lease.close()


@pytest.mark.parametrize("descriptors", ["few", "many"])
@pytest.mark.parametrize("whom", ["guard", "root"])
async def test_who_is_stopped_before_its_exec_delays_no_spawn(
    containing: Mechanism, whom: str, descriptors: str
) -> None:
    """It is continued; with many descriptors open the core itself waits for the first step of a guard."""
    with contextlib.ExitStack() as stack:
        for _ in range(300 if descriptors == "many" else 0):
            stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        slow = SpawnParams("sleep", ("1000",), env={f"TREEGUARD_TEST_{i}": "x" * 100_000 for i in range(15)})
        manager = LocalProcessManager(containment=containing)
        await manager.__aenter__()
        early: list[int] = []
        forked_from = Path("/proc/self/comm").read_text() if whom == "guard" else "treeguard-guard\n"

        def stop(pid: int) -> None:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
                if Path(f"/proc/{pid}/comm").read_text() == forked_from:
                    early.append(pid)

        stack.enter_context(newborns_meet(stop, grandchildren=whom == "root"))
        for _ in range(60):
            begun = time.monotonic()
            with contextlib.suppress(ProcessEnded):
                await asyncio.wait_for(manager.spawn_child(slow), PATIENCE)
            assert time.monotonic() - begun < PATIENCE
            if early:
                break
        assert early
    await manager.close()
