"""What a root gets, and what it doesn't; and what its guard is like."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from treeguard import LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from ..support import mechanisms
from ..support.judge import look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs
from ..support.witness import hear, read_to_end

GUARDED = [mechanism for mechanism in mechanisms.EVERY if mechanism != "process_group"]


async def test_arguments_arrive_unchanged(mechanism: Mechanism, programs: Programs) -> None:
    """Arguments arrive as they are: empty ones, spaces, bytes that are no UTF-8; the program's name is the first."""
    args = ("", "two words", "ümlaut", "new\nline", os.fsdecode(b"\xff\xfe"), "-x")
    async with LocalProcessManager(containment=mechanism) as manager:
        read, write = os.pipe()
        await manager.spawn_child(SpawnParams(program=programs.witness, args=args, stdout=write))
        os.close(write)
        told = await read_to_end(read)
    heard = [record[4:] for record in told.split(b"\0") if record.startswith(b"arg ")]
    assert heard == [os.fsencode(arg) for arg in (programs.witness, *args)]


async def test_environment_is_added_to_the_inherited_one(
    mechanism: Mechanism, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``env`` adds to and overrides the inherited environment as it is at the moment of the spawn."""
    async with LocalProcessManager(containment=mechanism) as manager:
        monkeypatch.setenv("KEPT", "1")
        monkeypatch.setenv("CHANGED", "old")
        before = await hear(manager, programs)
        monkeypatch.setenv("KEPT", "2")
        after = await hear(manager, programs, env={"CHANGED": "new", "ADDED": "a=b"})
    assert before.unmarked_env == {**os.environ, "KEPT": "1"}
    assert after.unmarked_env == {**os.environ, "KEPT": "2", "CHANGED": "new", "ADDED": "a=b"}


@pytest.mark.parametrize("env", [{}, {"ONLY": "this"}])
async def test_cleared_environment_is_exactly_what_was_given(
    mechanism: Mechanism, programs: Programs, env: dict[str, str]
) -> None:
    """With ``clear_env`` the child gets ``env`` and nothing else."""
    async with LocalProcessManager(containment=mechanism) as manager:
        account = await hear(manager, programs, env=env, clear_env=True)
    assert account.env == env


async def test_working_directory(mechanism: Mechanism, programs: Programs, tmp_path: Path) -> None:
    """The child starts in ``cwd``, and in the supervisor's directory without."""
    async with LocalProcessManager(containment=mechanism) as manager:
        there = await hear(manager, programs, cwd=tmp_path)
        here = await hear(manager, programs)
    assert there.all("cwd") == [str(tmp_path)]
    assert here.all("cwd") == [str(Path.cwd())]


async def test_relative_program_is_relative_to_the_working_directory(
    mechanism: Mechanism, programs: Programs, tmp_path: Path
) -> None:
    """A relative path of a program is looked up in ``cwd``."""
    (tmp_path / "here").symlink_to(programs.witness)
    async with LocalProcessManager(containment=mechanism) as manager:
        account = await hear(manager, programs, program="./here", cwd=str(tmp_path))
    assert account.all("arg") == ["./here"]


async def test_program_is_searched_in_the_childs_path(mechanism: Mechanism, programs: Programs, tmp_path: Path) -> None:
    """A name without a slash is found in the child's ``PATH``; what cannot be executed is passed over."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "found").touch(mode=0o644)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "found").symlink_to(programs.witness)
    path = f"{tmp_path}/missing:{tmp_path}/first:{tmp_path}/second"
    async with LocalProcessManager(containment=mechanism) as manager:
        account = await hear(manager, programs, program="found", env={"PATH": path})
    assert account.all("arg") == ["found"]


async def test_no_program_means_this_interpreter(mechanism: Mechanism) -> None:
    """A kind other than ``external`` needs no program: it gets this Python."""
    read, write = os.pipe()
    code = "import sys; print(sys.executable)"
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(kind="storage", args=("-c", code), stdout=write))
        os.close(write)
        assert (await read_to_end(read)).decode().strip() == sys.executable
        assert await manager.wait_for_exit(child.pid, PATIENCE)
    assert child.kind == "storage"


async def test_child_gets_no_descriptor_but_those_it_should(
    mechanism: Mechanism, programs: Programs, tmp_path: Path
) -> None:
    """Of all that the supervisor has open, inheritable or not, the child gets its three streams and ``pass_fds``."""
    leak, passed = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    high = os.dup2(leak, 900)
    os.set_inheritable(leak, True)
    try:
        async with LocalProcessManager(containment=mechanism) as manager:
            first = await manager.spawn_child(SpawnParams(program=programs.tiny))
            account = await hear(manager, programs, stdin="null", stderr="null", pass_fds=(passed,))
            await manager.kill_tree(first.pid)
    finally:
        for fd in (leak, passed, high):
            os.close(fd)
    fds = account.fds
    assert fds.pop(1).startswith("pipe:")
    assert fds == {0: "/dev/null", 2: "/dev/null", passed: str(tmp_path)}


async def test_standard_streams_may_be_crossed(mechanism: Mechanism, programs: Programs, tmp_path: Path) -> None:
    """Streams may be given any descriptor, also each other's."""
    files = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("a", "b")]
    try:
        async with LocalProcessManager(containment=mechanism) as manager:
            account = await hear(manager, programs, stdin=files[1], stderr=files[0])
            crossed = await hear(manager, programs, stdin=2, stderr=0)
    finally:
        for fd in files:
            os.close(fd)
    assert account.fds[0] == str(tmp_path / "b")
    assert account.fds[2] == str(tmp_path / "a")
    assert crossed.fds[0] == os.readlink("/proc/self/fd/2")  # noqa: PTH115
    assert crossed.fds[2] == os.readlink("/proc/self/fd/0")  # noqa: PTH115


async def test_signals_are_at_their_defaults(mechanism: Mechanism, programs: Programs) -> None:
    """No signal is blocked or ignored in the child, whatever the supervisor does with its own."""
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
    try:
        async with LocalProcessManager(containment=mechanism) as manager:
            account = await hear(manager, programs)
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGUSR2, signal.SIGTERM}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGUSR1, old)
    assert account.all("ignored") == []
    assert account.all("blocked") == []


async def test_signals_are_ignored_on_request(mechanism: Mechanism, programs: Programs) -> None:
    """``ignore_signals`` are ignored in the child, and no others."""
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGRTMAX)
    async with LocalProcessManager(containment=mechanism) as manager:
        account = await hear(manager, programs, ignore_signals=ignored)
    assert account.all("ignored") == [str(int(number)) for number in ignored]
    assert account.all("blocked") == []


async def test_root_leads_a_group_in_the_supervisors_session(mechanism: Mechanism, programs: Programs) -> None:
    """The root leads a process group of its own, stays in the session, and dies with the process that started it."""
    async with LocalProcessManager(containment=mechanism) as manager:
        account = await hear(manager, programs)
    assert account.number("group") == account.number("pid") == account.child.os_pid
    assert account.number("session") == os.getsid(0)
    assert account.number("deathsig") == signal.SIGKILL
    assert (account.number("parent") == os.getpid()) == (mechanism == "process_group")


async def test_root_leads_a_session_on_request(mechanism: Mechanism, programs: Programs) -> None:
    """With ``new_session`` it leads a session of its own as well, and is ended as any other."""
    async with LocalProcessManager(containment=mechanism) as manager:
        account = await hear(manager, programs, new_session=True)
        assert account.number("session") == account.number("group") == account.number("pid") == account.child.os_pid
        assert account.number("deathsig") == signal.SIGKILL
        await manager.kill_tree(account.child.pid)
        assert await manager.wait_for_exit(account.child.pid, PATIENCE)


async def guard_of(manager: LocalProcessManager, params: SpawnParams) -> int:
    """Spawns a tree, and finds its guard where it has to be: between this process and the root."""
    child = await manager.spawn_child(params)
    root = look(child.os_pid)
    assert root is not None
    guard = look(root.parent)
    assert guard is not None
    assert guard.parent == os.getpid()
    return guard.pid


#: A guard is not dumpable, so what `/proc` has of it belongs to root.
shut_to_its_user = pytest.mark.skipif(os.geteuid() != 0, reason="nobody else may look into a guard")


@shut_to_its_user
@pytest.mark.parametrize("mechanism", GUARDED, indirect=True)
async def test_guard_keeps_out_of_the_way(mechanism: Mechanism, programs: Programs, tmp_path: Path) -> None:
    """A guard is in the supervisor's session and a group of its own, and keeps no directory busy."""
    async with LocalProcessManager(containment=mechanism) as manager:
        guard = await guard_of(manager, SpawnParams(program=programs.tiny, cwd=str(tmp_path)))
        await until(lambda: os.readlink(f"/proc/{guard}/cwd") == "/", "the guard went to /")  # noqa: PTH115
        seen = look(guard)
        assert seen is not None
        assert seen.session == os.getsid(0)
        assert seen.group == guard


@shut_to_its_user
@pytest.mark.parametrize("mechanism", GUARDED, indirect=True)
async def test_guard_holds_only_its_own_descriptors(mechanism: Mechanism, programs: Programs, tmp_path: Path) -> None:
    """A guard holds nothing that its root was given: what the root closes is closed."""
    read, write = os.pipe()
    other = os.open(tmp_path, os.O_RDONLY)
    async with LocalProcessManager(containment=mechanism) as manager:
        params = SpawnParams(program=programs.tiny, stdout=write, stderr=other, pass_fds=(write, other))
        child = await manager.spawn_child(params)
        os.close(write)
        os.close(other)
        root = look(child.os_pid)
        assert root is not None
        targets = [os.readlink(entry) for entry in Path(f"/proc/{root.parent}/fd").iterdir()]  # noqa: PTH115
        await manager.kill_tree(child.pid)
        assert await read_to_end(read) == b""
    # A lifeline, a pidfd and a signalfd; its list of children, or the manager's cgroup, the leaf and what kills that.
    ours = re.compile(r"socket:|anon_inode:|/proc/\d+/task/\d+/children$|.*/treeguard\.")
    assert not [target for target in targets if not ours.match(target)]
    assert len(targets) <= (4 if mechanism == "subreaper" else 6)


@shut_to_its_user
@pytest.mark.parametrize("mechanism", GUARDED, indirect=True)
async def test_guard_forgets_its_roots_command_line(mechanism: Mechanism, programs: Programs) -> None:
    """Neither the root's arguments nor its environment show in its guard: what looks for the root finds the root."""
    secret = "unlikely-" + "x" * 9000
    waiting, end = os.pipe()
    async with LocalProcessManager(containment=mechanism) as manager:
        # The tiny one ends at once when it has an argument, so another waits here.
        params = SpawnParams(program="sh", args=("-c", "read x; :", secret), stdin=waiting, env={"SECRET": secret})
        guard = await guard_of(manager, params)
        await until(
            lambda: b"unlikely" not in Path(f"/proc/{guard}/environ").read_bytes(), "the environment is forgotten"
        )
        shown = Path(f"/proc/{guard}/cmdline").read_bytes().strip(b"\0").split()
        assert shown[:2] == [b"treeguard-guard", b"supervised"]
        facts = dict(fact.split(b"=", 1) for fact in shown[2:])
        root = int(Path(f"/proc/{guard}/task/{guard}/children").read_text())
        assert facts.pop(b"manager").isalnum()
        assert facts == {
            b"root": b"%d" % root,
            b"tree": b"1",
            b"mechanism": mechanism.encode(),
            b"isolated": b"0",
            b"parent": b"0",
            b"kind": b"external",
        }
    os.close(waiting)
    os.close(end)


@shut_to_its_user
@pytest.mark.parametrize("mechanism", GUARDED, indirect=True)
async def test_guard_is_small(mechanism: Mechanism, programs: Programs) -> None:
    """A guard has at most 100 KiB of memory of its own, whatever it was given to start."""
    async with LocalProcessManager(containment=mechanism) as manager:
        params = SpawnParams(program=programs.tiny, env={f"V{i}": "v" * 1000 for i in range(500)})
        guard = await guard_of(manager, params)

        def private() -> int:
            lines = Path(f"/proc/{guard}/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

        await until(lambda: private() <= 100, "the guard is small")


@pytest.mark.parametrize("mechanism", GUARDED, indirect=True)
async def test_guard_ignores_signals(mechanism: Mechanism, programs: Programs) -> None:
    """Every signal that can be ignored leaves a guard at its post."""
    async with LocalProcessManager(containment=mechanism) as manager:
        guard = await guard_of(manager, SpawnParams(program=programs.tiny))
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            os.kill(guard, number)
        (child,) = await manager.list_children()
        assert not await manager.wait_for_exit(child.pid, 0.05)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
