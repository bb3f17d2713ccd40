"""What only the root is given: user and groups, limits, priorities. The root has it, and nobody else."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pwd
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from treeguard import LocalProcessManager, SpawnError, SpawnParams
from treeguard._core import native
from treeguard._core.containment.isolation import try_isolation
from treeguard.errors import PrivilegeRequired, UnknownUser
from treeguard.types import Mechanism

from ..support import attributes, mechanisms
from ..support.adoption import Adoption
from ..support.apart import ROOT, command_of, run_apart, run_here
from ..support.attributes import NAMES, of_user, reported
from ..support.judge import children, look
from ..support.ordinary import USERS, reachable
from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs
from ..support.witness import hear

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a child another user")
guarded = pytest.mark.parametrize("mechanism", mechanisms.CONTAINING, indirect=True)
#: An ordinary user has no cgroup here.
everybodys = pytest.mark.parametrize("mechanism", ["subreaper", "process_group"], indirect=True)
IDS = "grep -E '^(Uid|Gid|Groups):' /proc/self/status"
#: A supervisor that is root's and has no CAP_KILL, nor have those that it starts.
WITHOUT_KILL = ["setpriv", "--inh-caps=-kill", "--bounding-set=-kill"]


@pytest.fixture
def uid() -> Iterator[int]:
    """A user of whom there is no process, and whose processes are gone after the test."""
    user = 61_000 + os.getpid() % 4_000
    assert not of_user(user)
    yield user
    for pid in of_user(user):
        os.kill(pid, signal.SIGKILL)


# What everybody may have.


async def test_the_root_has_all_that_it_was_given(mechanism: Mechanism) -> None:
    """At once; and a root that was given nothing has what this process has."""
    async with LocalProcessManager(containment=mechanism) as manager:
        without = await reported(manager)
        told = await reported(manager, **attributes.given())
        assert told == attributes.expected()
        for name, line, before in zip(NAMES, told, without, strict=True):
            assert line != before, name
        assert await reported(manager) == without


@pytest.mark.parametrize("name", NAMES)
async def test_each_alone_changes_nothing_else(mechanism: Mechanism, name: str) -> None:
    """Of what the root has, only what was given differs from what this process has."""
    async with LocalProcessManager(containment=mechanism) as manager:
        without = await reported(manager)
        told = await reported(manager, **{name: attributes.given()[name]})
    assert [each for each, a, b in zip(NAMES, told, without, strict=True) if a != b] == [name]


@guarded
async def test_guard_and_supervisor_keep_their_own(mechanism: Mechanism, programs: Programs) -> None:
    """Also those that the kernel keeps with the memory, which a guard's start shares."""
    what = attributes.given()
    # It ends at once when it has an argument.
    del what["argv0"]

    def seen(pid: int | str) -> tuple[Any, ...]:
        status = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        kept = [line for line in status if line.startswith(("Umask", "Uid", "Gid", "Groups", "Cpus_allowed_list"))]
        number = os.getpid() if pid == "self" else int(pid)
        limit = resource.prlimit(number, resource.RLIMIT_NOFILE) if os.geteuid() == 0 else None
        score = Path(f"/proc/{pid}/oom_score_adj").read_text("ascii")
        return kept, limit, score, os.getpriority(os.PRIO_PROCESS, number)

    ours = seen("self")
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny, **what))
        root = look(child.os_pid)
        assert root is not None
        assert seen(root.parent) == ours
        assert seen("self") == ours
        assert seen(child.os_pid) != ours


@needs_root
@everybodys
def test_an_ordinary_user_may_give_them_too(mechanism: Mechanism, programs: Programs) -> None:
    """A guard that is undumpable hides files from its user which the root needs."""
    with reachable(programs):
        told, expected = run_apart(attributes.report, mechanism, native.GUARD, USERS["ordinary"])
    assert told == expected


async def test_a_signal_that_is_ignored_here_can_stay_ignored(mechanism: Mechanism, programs: Programs) -> None:
    """With ``restore_signals=False`` those that Python ignores, and those that this program does."""
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        async with LocalProcessManager(containment=mechanism) as manager:
            account = await hear(manager, programs, restore_signals=False, ignore_signals=[signal.SIGHUP])
    finally:
        signal.signal(signal.SIGUSR1, old)
    ignored = {int(number) for number in account.all("ignored")}
    assert ignored == {signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGXFSZ}


@guarded
async def test_a_low_limit_on_descriptors_comes_after_isolation(mechanism: Mechanism, programs: Programs) -> None:
    """That opens one, and a root with no number for it could not be isolated."""
    limits = {resource.RLIMIT_NOFILE: (3, 3)}
    async with LocalProcessManager(containment=mechanism) as manager:
        if try_isolation(manager.containment) is not None:
            pytest.skip("no isolation here")
        child = await manager.spawn_child(SpawnParams(programs.tiny, isolation="signals", rlimits=limits))
        assert resource.prlimit(child.os_pid, resource.RLIMIT_NOFILE) == (3, 3)


def test_copies_of_this_process_delay_no_start(mechanism: Mechanism) -> None:
    """A copy that another thread forks in the moment of a start by fork holds the pipe that would tell of its exec."""
    assert run_apart(attributes.spawns_among_forks, mechanism, 60) == 60


# What fails.


#: Attributes that nobody can have, and the error.
IMPOSSIBLE: list[tuple[dict[str, Any], str, int]] = [
    ({"cpu_affinity": [1023]}, "cpu_affinity", errno.EINVAL),
    # The kernel's bound on descriptors.
    ({"rlimits": {resource.RLIMIT_NOFILE: (1, -1)}}, "rlimits", errno.EPERM),
]


@pytest.mark.parametrize(("options", "step", "number"), IMPOSSIBLE, ids=lambda value: str(value)[:20])
async def test_each_failure_is_told_and_leaves_nothing(
    mechanism: Mechanism, options: dict[str, Any], step: str, number: int
) -> None:
    """By its own step; the next spawn works."""
    async with LocalProcessManager(containment=mechanism) as manager:
        family = set(children())
        with pytest.raises(SpawnError) as caught:
            await manager.spawn_child(SpawnParams("/bin/true", **options))
        assert (caught.value.step, caught.value.errno, caught.value.filename) == (step, number, "/bin/true")
        assert set(children()) == family
        assert await manager.list_children() == []
        assert await reported(manager, "echo works") == ["works"]


#: What an ordinary user may not give, and the error. A user of whom this is one already may be given.
PRIVILEGED: list[tuple[dict[str, Any], str, int]] = [
    ({"nice": -1}, "nice", errno.EACCES),
    ({"oom_score_adj": -1}, "oom_score_adj", errno.EACCES),
    ({"rlimits": {resource.RLIMIT_NOFILE: (1, 1 << 30)}}, "rlimits", errno.EPERM),
    ({"extra_groups": []}, "groups", errno.EPERM),
    ({"group": 0}, "group", errno.EPERM),
    ({"user": 0}, "user", errno.EPERM),
]


@everybodys
def test_what_takes_privileges_is_told_and_leaves_nothing(mechanism: Mechanism, programs: Programs) -> None:
    """Each by its own step, as a PermissionError that names what it takes."""
    uid = USERS["ordinary"]
    cases = [*(options for options, _, _ in PRIVILEGED), {"user": uid, "group": os.getgid() or uid}]
    with reachable(programs):
        *outcomes, own = run_apart(attributes.refused, mechanism, native.GUARD, uid, cases)
    for (_, step, number), outcome in zip(PRIVILEGED, outcomes, strict=True):
        assert (outcome["class"], outcome["step"], outcome["errno"]) == ("PrivilegeRequired", step, number)
        assert "CAP_" in outcome["words"]
    assert own is None


async def test_unknown_names(mechanism: Mechanism) -> None:
    """What pwd and grp don't know is refused before anything is started."""
    async with LocalProcessManager(containment=mechanism) as manager:
        for options in ({"user": "no-such-user"}, {"group": "no-such-group"}, {"extra_groups": ["no-such-group"]}):
            with pytest.raises(UnknownUser, match=next(iter(options))):
                await manager.spawn_child(SpawnParams("/bin/true", **options))


async def test_a_slow_look_up_blocks_nobody(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names may come from a server: the loop goes on meanwhile, and a cancelled spawn leaves nothing."""
    asked, answer = threading.Event(), threading.Event()

    def slow(name: str) -> Any:
        asked.set()
        assert answer.wait(PATIENCE)
        return pwd.getpwuid(os.getuid())

    monkeypatch.setattr(pwd, "getpwnam", slow)
    async with LocalProcessManager(containment=mechanism) as manager:
        params = SpawnParams("/bin/true", user="somebody")
        for cancelled in (True, False):
            spawning = asyncio.create_task(manager.spawn_child(params))
            await until(asked.is_set, "the name is asked for")
            if cancelled:
                spawning.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await spawning
                assert await manager.list_children() == []
            answer.set()
            if not cancelled:
                child = await spawning
                assert await manager.wait_for_exit(child.pid, PATIENCE)
            answer.clear()
            asked.clear()


# Another user.


@needs_root
async def test_a_root_of_another_user(mechanism: Mechanism, programs: Programs, uid: int) -> None:
    """It has that user and those groups, all of them, and dies with its parent as any other root."""
    async with LocalProcessManager(containment=mechanism) as manager:
        lines = await reported(manager, IDS, user=uid, group=uid + 1, extra_groups=[7, 70_000], cwd="/")
        ids, groups = "\t".join([str(uid)] * 4), "\t".join([str(uid + 1)] * 4)
        assert lines == [f"Uid:\t{ids}", f"Gid:\t{groups}", "Groups:\t7 70000 "]
        with reachable(programs) as copies:
            account = await hear(manager, copies, user=uid, cwd="/")
        assert account.number("deathsig") == signal.SIGKILL


@needs_root
async def test_each_of_the_ids_changes_nothing_else(mechanism: Mechanism, uid: int) -> None:
    """As with :mod:`subprocess`: another user keeps the supervisor's groups."""

    def theirs(**options: Any) -> list[str]:
        command = ["/bin/sh", "-c", IDS]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd="/", **options)
        return str(done.stdout).splitlines()

    ours = theirs()
    changes: tuple[dict[str, Any], ...] = ({"user": uid}, {"group": uid}, {"extra_groups": [uid]})
    async with LocalProcessManager(containment=mechanism) as manager:
        for line, options in enumerate(changes):
            lines = await reported(manager, IDS, cwd="/", **options)
            assert [i for i in range(3) if lines[i] != ours[i]] == [line]
            assert lines == theirs(**options)


@needs_root
async def test_another_user_reaches_neither_guard_nor_supervisor(mechanism: Mechanism, uid: int) -> None:
    """By no signal, which it can with the same user."""
    guard = "$PPID" if mechanism != "process_group" else str(os.getpid())
    script = f"for pid in {guard} {os.getpid()}; do kill -0 $pid 2>/dev/null && echo reached; done; echo done"
    async with LocalProcessManager(containment=mechanism) as manager:
        assert await reported(manager, script, cwd="/", user=uid, group=uid, extra_groups=[]) == ["done"]
        assert await reported(manager, script) == ["reached", "reached", "done"]


ESCAPING = "setsid sh -c 'trap : TERM; sleep 1000; :' & while :; do sleep 1000; done"


@needs_root
async def test_a_tree_of_another_user_is_killed(containing: Mechanism, uid: int) -> None:
    """All of it, the escapee as well."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams("/bin/sh", ("-c", ESCAPING), user=uid, cwd="/"))
        await until(lambda: len(of_user(uid)) == 4, "all have come up")
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not of_user(uid)


def names_of(pids: list[int]) -> list[str]:
    """What the living among them run, in alphabetical order."""
    return sorted(seen.name for seen in map(look, pids) if seen is not None)


@needs_root
async def test_a_group_of_another_user_is_signalled_and_killed(mechanism: Mechanism, uid: int) -> None:
    """By the guard, or without one by this process."""
    script = "trap 'exit 7' TERM; sleep 1000 & wait"
    async with LocalProcessManager(containment=mechanism) as manager:
        for end in (manager.terminate_tree, manager.kill_tree):
            child = await manager.spawn_child(SpawnParams("/bin/sh", ("-c", script), user=uid, cwd="/"))
            # A shell's child handles a signal before its exec, and forgets it.
            await until(lambda: names_of(of_user(uid)) == ["sh", "sleep"], "all have come up")
            await end(child.pid)
            exited = await manager.wait_for_root(child.pid, PATIENCE)
            assert exited is not None
            assert (exited.code, exited.signal) in ((7, None), (None, signal.SIGKILL))
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert not of_user(uid)


@contextmanager
def kept(mechanism: Mechanism, script: str, uid: int | None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A supervisor in a process of its own, and the number of its root."""
    command = command_of(attributes.keep, mechanism, script, uid)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        try:
            yield supervisor, int(supervisor.stdout.readline())
        finally:
            supervisor.kill()


def wait_until_gone(uid: int, adoption: Adoption, supervisor: subprocess.Popen[str]) -> None:
    """Waits until there is no process of the user. One that fell to this process is reaped."""

    def gone() -> bool:
        adoption.reap(but={supervisor.pid})
        return not of_user(uid)

    wait_until(gone, "the tree is gone")


@needs_root
def test_a_tree_of_another_user_ends_with_its_supervisor(containing: Mechanism, uid: int, adoption: Adoption) -> None:
    """All of it, after SIGKILL."""
    with kept(containing, ESCAPING, uid) as (supervisor, _):
        wait_until(lambda: len(of_user(uid)) == 4, "all have come up")
        supervisor.kill()
        wait_until_gone(uid, adoption, supervisor)


@needs_root
@pytest.mark.parametrize("victim", ["supervisor", "guard"])
def test_a_root_of_another_user_dies_with_its_parent(
    mechanism: Mechanism, victim: str, uid: int, adoption: Adoption
) -> None:
    """The kernel clears the parent-death signal when the user changes; it was requested again."""
    if victim == "guard" and mechanism == "process_group":
        pytest.skip("has no guard")
    with kept(mechanism, "exec sleep 1000", uid) as (supervisor, root):
        seen = look(root)
        assert seen is not None
        assert seen.parent == supervisor.pid or mechanism != "process_group"
        os.kill(seen.parent if victim == "guard" else supervisor.pid, signal.SIGKILL)
        wait_until_gone(uid, adoption, supervisor)


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_control_a_root_that_changes_its_user_itself_lives_on(uid: int, adoption: Adoption) -> None:
    """Nobody requests the signal again for one that changes its user by itself."""
    script = f"exec setpriv --reuid={uid} --clear-groups sleep 1000"
    with kept("process_group", script, None) as (supervisor, root):
        wait_until(lambda: of_user(uid) == [root], "the root has changed its user")
        supervisor.kill()
        supervisor.wait()
        seen = look(root)
        assert seen is not None
        assert seen.state != "Z"
        os.kill(root, signal.SIGKILL)


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_nobody_starts_a_root_that_cannot_be_ended(mechanism: Mechanism, uid: int) -> None:
    """Without CAP_KILL another user is refused, before anything runs; this process's own user is not."""
    cases = [{"user": uid}, {"user": 0}, {"group": uid}]
    command = [*WITHOUT_KILL, *command_of(attributes.refused, mechanism, native.GUARD, 0, cases)]
    refused, *others = json.loads(run_here(command).stdout)
    assert others == [None, None]
    assert (refused["class"], refused["step"], refused["errno"]) == (PrivilegeRequired.__name__, "user", errno.EACCES)
    assert "CAP_KILL" in refused["words"]
    assert not of_user(uid)
