"""Isolation by signals: a tree cannot stop, trace or end its guard and its supervisor; without it, it can."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnParams
from treeguard._core import native_isolation
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.containment.isolation import try_isolation
from treeguard.types import Mechanism

from ..support import landlocked, seccomp
from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.apart import run_apart
from ..support.attacker import Attacker, condition, wait_for
from ..support.attacks import CGROUP, EVERYONE, LIMITED, READING, SIGNALS, TERMINAL, TRACING
from ..support.judge import children, look
from ..support.mechanisms import CONTAINING
from ..support.nested import Nested
from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs
from ..support.supervised import Supervised


def _exposed() -> str | None:
    return try_isolation(LocalProcessManager(containment="subreaper").containment)


isolating = pytest.mark.skipif(_exposed() is not None, reason=f"no isolation here: {_exposed()}")
every_victim = pytest.mark.parametrize("victim", ["guard", "supervisor"])
filtered = pytest.mark.skipif(not seccomp.SUPPORTED, reason="no filter is known for this machine")

REFUSED = {"EPERM", "EACCES"}
#: What the attacker is not told of: whether the signal came.
UNTOLD = {"OK"}
#: A debugger's rights may be restricted for all, by Yama; then a control shows nothing.
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
debuggable = pytest.mark.skipif(
    os.geteuid() != 0 and YAMA.exists() and YAMA.read_text("ascii").strip() != "0", reason="Yama lets nobody trace"
)
#: A PID namespace whose init is not the supervisor, so that only the intended victim can be stopped.
NAMESPACE = [
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    *("sh", "-c", '"$@"; exit $?', "sh"),
]


def besieged(attacker: Attacker, containment: Mechanism, isolation: str, **options: Any) -> Supervised:
    """A supervisor of an attacker, in a session of its own, so that its group holds nobody else."""
    return Supervised(
        [attacker], containment=containment, end="return", held=True, isolation=isolation, session=True, **options
    )


def test_a_kernel_that_can_does() -> None:
    """Where Landlock knows signals, its trial succeeds: else all that is told here would be passed over in silence."""
    try:
        version, needed = native_isolation.isolation_abi()
    except OSError:
        pytest.skip("no Landlock")
    assert (_exposed() is None) == (version >= needed), _exposed()


# Out of reach.


@isolating
@every_victim
def test_nothing_that_a_tree_may_do_stops_its_guard_or_supervisor(
    containing: Mechanism, victim: str, adoption: Adoption
) -> None:
    """Signals of every kind and a debugger's calls are refused, one by one; then the supervisor ends the tree."""
    with (
        Attacker(victim, [*SIGNALS, *TRACING, *READING]) as attacker,
        besieged(attacker, containing, "signals") as supervisor,
    ):
        watched = attacker.guard if victim == "guard" else supervisor.pid
        for told in attacker.told():
            assert told.victim == watched
            assert condition(watched) == "runs", told
            assert told.said in REFUSED | (UNTOLD if "SIGIO" in told.name or told.name == "a stranger" else set()), told
        supervisor.go()
        assert supervisor.wait() == 0
        assert condition(told.guard) == "gone"
        assert attacker.is_gone


@isolating
@every_victim
def test_control_each_signal_stops_them_without(victim: str, adoption: Adoption) -> None:
    """The same signals hit a guard and a supervisor of a tree that is not isolated."""
    stops = [name for name in SIGNALS if name != "SIGKILL"]
    with Attacker(victim, [*stops, "SIGKILL"]) as attacker, besieged(attacker, "subreaper", "none") as supervisor:
        watched = attacker.guard if victim == "guard" else supervisor.pid
        for told in itertools.islice(attacker.told(), len(stops)):
            assert (told.said, told.victim) == ("OK", watched), told
            wait_for(watched, "stopped")
            os.kill(watched, signal.SIGCONT)
            wait_for(watched, "runs")
        # It may end with its victim before it can tell.
        attacker.go_on()
        wait_for(watched, "gone")


@isolating
@debuggable
@pytest.mark.parametrize("attack", TRACING)
def test_control_a_debugger_stops_a_supervisor_without(attack: str, adoption: Adoption) -> None:
    """The same calls of a debugger hit the supervisor of a tree that is not isolated."""
    with Attacker("supervisor", [attack]) as attacker, besieged(attacker, "subreaper", "none") as supervisor:
        wait_for(supervisor.pid, "traced")


@isolating
@debuggable
def test_control_a_supervisor_is_an_open_book_without(adoption: Adoption) -> None:
    """The same looks into a supervisor succeed from a tree that is not isolated."""
    with Attacker("supervisor", READING) as attacker, besieged(attacker, "subreaper", "none"):
        assert {told.name: told.said for told in attacker.told()} == dict.fromkeys(READING, "OK")


@isolating
@pytest.mark.parametrize("isolation", ["none", "signals"])
def test_a_signal_to_everyone_is_for_the_tree_alone(containing: Mechanism, isolation: str, adoption: Adoption) -> None:
    """``kill(-1)`` stops guard and supervisor, and with isolation neither: then the supervisor ends the tree."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace is to be had")
    with (
        Attacker("guard", EVERYONE) as attacker,
        besieged(attacker, containing, isolation, under=NAMESPACE) as namespace,
    ):
        guard = attacker.guard
        seen = look(guard)
        assert seen is not None
        if isolation == "none":
            wait_for(guard, "stopped")
            wait_for(seen.parent, "stopped")
        else:
            assert [condition(pid) for pid in (guard, seen.parent)] == ["runs", "runs"]
            namespace.go()
            assert namespace.wait() == 0
            assert attacker.is_gone


@isolating
def test_what_isolation_does_not_cover(adoption: Adoption) -> None:
    """Limits, priorities and the choice of the OOM killer are neither signals nor tracing: they are there as before."""
    with Attacker("supervisor", LIMITED) as attacker, besieged(attacker, "subreaper", "signals"):
        assert {told.name: told.said for told in attacker.told()} == dict.fromkeys(LIMITED, "OK")


@isolating
@pytest.mark.parametrize(("new_session", "said", "becomes"), [(None, "ENXIO", "runs"), (False, "OK", "stopped")])
def test_no_terminal_in_common(new_session: bool | None, said: str, becomes: str, adoption: Adoption) -> None:
    """The kernel's own signals to those at a terminal are out of the tree's hands, unless it stays in the session."""
    ours, theirs = os.openpty()
    # A session leader that opens a terminal gets it as its controlling terminal.
    under = ["sh", "-c", ': <> "$0"; exec "$@"', os.ttyname(theirs)]
    with (
        Attacker("supervisor", TERMINAL) as attacker,
        besieged(attacker, "subreaper", "signals", under=under, new_session=new_session) as supervisor,
    ):
        (told,) = attacker.told()
        assert told.said == said
        wait_for(supervisor.pid, becomes)
        if becomes == "runs":
            supervisor.go()
            assert supervisor.wait() == 0
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def place() -> Iterator[Path]:
    """A cgroup for a supervisor."""
    directory = own_cgroup() / f"treeguard-test-{uuid.uuid4().hex}"
    directory.mkdir()
    yield directory
    wait_until(lambda: not (directory / "cgroup.procs").read_text("ascii"), "nobody is left in the cgroup")
    directory.rmdir()


@isolating
@pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup can be written to")
def test_isolation_does_not_cover_the_supervisors_cgroup(place: Path, adoption: Adoption) -> None:
    """A process that may write to cgroup.kill can have the kernel kill everything in the cgroup."""
    under = ["sh", "-c", f'echo $$ > {place}/cgroup.procs && exec "$@"', "sh"]
    with (
        Attacker("supervisor", ["mem", *CGROUP]) as attacker,
        besieged(attacker, "subreaper", "signals", under=under) as supervisor,
    ):
        attacker.go_on()
        assert supervisor.wait() == -signal.SIGKILL
        attacker.wait_gone()


@isolating
@pytest.mark.parametrize("isolation", ["none", "signals"])
async def test_trees_are_isolated_from_each_other(containing: Mechanism, isolation: Any) -> None:
    """One that is isolated cannot signal another one; one that is not can, whatever that one is."""
    async with LocalProcessManager(containment=containing) as manager:
        other = await manager.spawn_child(SpawnParams("sleep", ("1000",), isolation="signals"))
        script = f"kill -0 {other.os_pid} 2>/dev/null"
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), isolation=isolation))
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert root.code == (1 if isolation == "signals" else 0)


# The promise, with it.


@isolating
@pytest.mark.parametrize("attack", ["kill", "pidfd", "ptrace seize", "SIGKILL"])
def test_a_killed_supervisor_takes_a_tree_along_that_attacks_its_guard(
    containing: Mechanism, attack: str, adoption: Adoption
) -> None:
    """A root that stops, traces or kills its guard again and again is gone after SIGKILL of its supervisor."""
    with Attacker("guard", [attack]) as attacker, besieged(attacker, containing, "signals") as supervisor:
        attacker.go_on()
        os.kill(supervisor.pid, signal.SIGKILL)
        assert supervisor.wait() == -signal.SIGKILL
        attacker.wait_gone()


def lives_on(containment: Mechanism) -> bool:
    """Whether a root that stops its guard again and again, without isolation, outlives its supervisor."""
    with Attacker("guard", ["kill"]) as attacker, besieged(attacker, containment, "none") as supervisor:
        guard = attacker.guard
        attacker.go_on()
        wait_for(guard, "stopped")
        os.kill(supervisor.pid, signal.SIGKILL)
        assert supervisor.wait() == -signal.SIGKILL
        # The kernel has continued the guard, whose group is orphaned now. That was the last time.
        wait_until(lambda: condition(guard) in ("stopped", "gone"), "the guard stands still again, or was faster")
        return condition(guard) == "stopped" and condition(attacker.pid) == "runs"


@isolating
def test_control_without_it_lives_on(containing: Mechanism, adoption: Adoption) -> None:
    """The same without isolation: the guard stands still, and the tree runs without its supervisor; mostly."""
    assert any(lives_on(containing) for _ in range(60))


@isolating
@pytest.mark.parametrize("adversary", ["family", "daemon", "zoo"], indirect=True)
async def test_isolated_trees_are_killed(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """A guard's signals reach everybody of its tree, in whatever session."""
    async with LocalProcessManager(containment=containing, isolation="signals") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces


@isolating
@pytest.mark.parametrize("adversary", ["zoo"], indirect=True)
def test_isolated_trees_end_with_their_supervisor(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """All of the tree is gone after SIGKILL of its supervisor."""
    with Supervised([adversary], containment=containing, end="SIGKILL", isolation="signals") as supervisor:
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        adversary.wait_gone()


@isolating
async def test_the_root_ends_with_its_guard(containing: Mechanism, adoption: Adoption) -> None:
    """Its parent-death signal is armed still."""
    async with LocalProcessManager(containment="subreaper", isolation="signals") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",), clear_env=True))
        seen = look(child.os_pid)
        assert seen is not None
        os.kill(seen.parent, signal.SIGKILL)
        await until(lambda: condition(child.os_pid) == "gone", "the root has ended")


@isolating
async def test_signals_come_in_and_go_about(containing: Mechanism) -> None:
    """From outside, and among the processes of the tree, signals do what they do."""
    # A process that begins before the trap cannot have inherited it.
    script = (
        "sleep 1000 & kill -KILL $!; wait $!; test $? = 137 || exit 1; sleep 1000 & trap 'exit 7' TERM; echo up; wait"
    )
    ours, theirs = os.pipe()
    async with LocalProcessManager(containment=containing, isolation="signals") as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), stdout=theirs))
        os.close(theirs)
        assert await asyncio.to_thread(os.read, ours, 3) == b"up\n"
        os.close(ours)
        assert len(await manager.members(child.pid)) == 2
        await manager.freeze(child.pid)
        await manager.thaw(child.pid)
        await manager.terminate_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        root = await manager.wait_for_root(child.pid)
        assert root is not None
        assert root.code == 7


#: Tells by the notification protocol that it is ready, and stays.
READY = """
import os, signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))
    s.send(b"READY=1")
signal.pause()
"""


@isolating
async def test_sockets_reach_the_supervisor(containing: Mechanism) -> None:
    """What a child tells by a socket is no signal: a notification arrives."""
    async with LocalProcessManager(containment=containing, isolation="signals") as manager:
        child = await manager.spawn_child(SpawnParams(sys.executable, ("-c", READY), notify=True))
        assert await manager.wait_ready(child.pid, PATIENCE)


@isolating
@pytest.mark.parametrize("chain", [[mechanism] * 3 for mechanism in CONTAINING], ids="+".join)
@pytest.mark.parametrize("level", range(3))
def test_supervisors_within_isolated_trees(
    chain: list[str], level: int, programs: Programs, adoption: Adoption
) -> None:
    """Each isolates its own tree from itself, three deep; whichever is killed takes what is below it along."""
    with Adversary(programs, "zoo") as adversary, Nested(chain, adversary, isolation="signals") as nested:
        os.kill(nested.supervisors[level], signal.SIGKILL)
        adversary.wait_gone()


# What is asked for, and told.


def privileges() -> str:
    """As the kernel tells of them: whether a process may gain some by exec."""
    text = Path("/proc/self/status").read_text("ascii")
    return next(line for line in text.splitlines() if line.startswith("NoNewPrivs:"))


#: Ends with 1 if it may not signal its guard, and tells of its privileges.
ASK = "grep NoNewPrivs: /proc/self/status; kill -0 $PPID 2>/dev/null"


async def asked(manager: LocalProcessManager, isolation: Any) -> tuple[int | None, str]:
    """What a root of such parameters is told."""
    ours, theirs = os.pipe()
    child = await manager.spawn_child(SpawnParams("sh", ("-c", ASK), stdout=theirs, isolation=isolation))
    os.close(theirs)
    root = await manager.wait_for_root(child.pid)
    assert root is not None
    said = os.read(ours, 1024).decode().rstrip("\n")
    os.close(ours)
    return root.code, said


@isolating
@pytest.mark.parametrize("by_default", [None, "none", "signals"])
async def test_a_child_may_differ_from_its_manager(containing: Mechanism, by_default: Any) -> None:
    """What a child's parameters say counts, else what the manager does; and the containment tells of the latter."""
    isolated, exposed = (1, "NoNewPrivs:\t1"), (0, privileges())
    async with LocalProcessManager(containment=containing, isolation=by_default) as manager:
        assert manager.containment.isolation == (by_default or "none")
        assert await asked(manager, None) == (isolated if by_default == "signals" else exposed)
        assert await asked(manager, "none") == exposed
        assert await asked(manager, "signals") == isolated


async def test_a_process_group_has_no_guard_to_be_kept_from() -> None:
    """It is refused before anything is started, by the manager and for a child."""
    with pytest.raises(ContainmentUnavailable, match=r"isolation 'signals' is not available here: .*'process_group'"):
        async with LocalProcessManager(containment="process_group", isolation="signals"):
            pass
    before = set(children())
    async with LocalProcessManager(containment="process_group") as manager:
        with pytest.raises(ContainmentUnavailable, match="isolation 'signals' is not available here"):
            await manager.spawn_child(SpawnParams("sleep", ("1000",), isolation="signals"))
        assert set(children()) == before
        assert await manager.list_children() == []
        await manager.spawn_child(SpawnParams("true", isolation="none"))


@isolating
@pytest.mark.parametrize(("isolation", "status"), [("signals", 1), ("none", 0)])
def test_run(isolation: str, status: int) -> None:
    """``treeguard run --isolation signals``: the command can signal its guard no more, nor gain privileges."""
    command = [sys.executable, "-m", "treeguard", "run", "--isolation", isolation, "--", "sh", "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = "NoNewPrivs:\t1" if status else privileges()
    assert (done.returncode, done.stdout) == (status, f"{expected}\n"), done.stderr


def test_run_refuses_what_is_not_to_be_had() -> None:
    """It is treeguard's own failure, and the reason is told."""
    command = [sys.executable, "-m", "treeguard", "run", "--isolation", "signals", "--containment", "process_group"]
    done = subprocess.run([*command, "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "isolation 'signals' is not available here" in done.stderr


# Hosts that cannot.


@filtered
@isolating
@pytest.mark.parametrize("mechanism", CONTAINING)
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("landlock_create_ruleset", "ENOSYS", "the kernel has no Landlock"),
        ("landlock_create_ruleset", "EOPNOTSUPP", "lsm="),
        ("landlock_create_ruleset", "EPERM", "a filter of system calls forbids Landlock"),
        ("landlock_restrict_self", "ENOSYS", os.strerror(errno.ENOSYS)),
        ("landlock_restrict_self", "EPERM", os.strerror(errno.EPERM)),
    ],
)
def test_the_reason_is_told(call: str, error: str, words: str, mechanism: Mechanism) -> None:
    """Old kernels, kernels booted without Landlock, and filters: isolation is refused, and all else works."""
    refused, plain = run_apart(landlocked.asked_for, [call], getattr(errno, error), mechanism)
    assert refused.startswith("isolation 'signals' is not available here: ")
    assert words in refused
    assert plain == 0


@isolating
def test_domains_are_nested_sixteen_deep() -> None:
    """In a process that is in fifteen of them isolation works; in one more it does not, and the reason is told."""
    assert run_apart(landlocked.deep, 15) == ""
    said = run_apart(landlocked.deep, 16)
    assert "not available here" in said
    assert "16 Landlock domains" in said


@isolating
def test_a_domain_too_many_after_the_trial() -> None:
    """What fails later than the trial fails as a spawn does, and leaves nothing."""
    assert run_apart(landlocked.too_late, 16) == ["isolation", errno.E2BIG, True]
