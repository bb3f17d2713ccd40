"""Old kernels and container profiles: calls that do not exist (ENOSYS) or are forbidden (EPERM) have fallbacks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from treeguard.types import Mechanism

from ..support import forbidden, seccomp
from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.apart import run_apart
from ..support.mechanisms import CONTAINING
from ..support.programs import Programs
from ..support.supervised import Supervised

pytestmark = pytest.mark.skipif(not seccomp.SUPPORTED, reason="no filter is known for this machine")

ROOT = Path(__file__).parents[2]
#: That which has a fallback. Without adopting orphans there is no guard.
DISPENSABLE = [name for name in seccomp.CALLS if name != "subreaper"]

every_error = pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
every_call = pytest.mark.parametrize("call", DISPENSABLE)
every_scene = pytest.mark.parametrize("scene", forbidden.SCENES)

#: The suite's core: what of it makes trees, without threads, which libc itself cannot start when clone3 says EPERM.
CORE = [
    "tests/system/test_spawn.py",
    "tests/system/test_containment.py",
    "tests/system/test_cgroups.py",
    "tests/system/test_guard_loss.py",
    "tests/system/test_lease.py",
    "tests/system/test_manager.py",
]


def under(calls: list[str], error: str) -> list[str]:
    """The beginning of a command that runs another one under a filter."""
    return [sys.executable, "-m", "tests.support.seccomp", error, ",".join(calls)]


@every_error
@pytest.mark.parametrize("call", seccomp.CALLS)
def test_filter_is_seen_to_work(call: str, error: str) -> None:
    """Control: a forbidden call fails with the error that it was given, and no other one does."""
    without, with_it = seccomp.answers(), run_apart(forbidden.attempts, [call], getattr(errno, error))
    assert with_it == {**without, call: error}
    assert without[call] not in ("ENOSYS", "EPERM")


@every_error
@every_call
def test_one_forbidden_call(call: str, error: str, mechanism: Mechanism, programs: Programs) -> None:
    """Without any one of them everything works, with the mechanism that was asked for."""
    scenes = list(forbidden.SCENES)
    assert run_apart(forbidden.plays, [call], getattr(errno, error), mechanism, list(programs), scenes) == mechanism


@every_error
@every_scene
def test_all_calls_forbidden(scene: str, error: str, mechanism: Mechanism, programs: Programs) -> None:
    """Without all of them at once everything works, with the mechanism that was asked for."""
    calls = getattr(errno, error)
    assert run_apart(forbidden.plays, DISPENSABLE, calls, mechanism, list(programs), [scene]) == mechanism


@every_error
@pytest.mark.parametrize("calls", [["clone3"], ["pidfd_open"], DISPENSABLE], ids=["clone3", "pidfd_open", "all"])
@pytest.mark.parametrize("fork", [None, "libc"])
def test_killed_supervisor_takes_its_trees_along(
    containing: Mechanism, calls: list[str], error: str, fork: str | None, programs: Programs, adoption: Adoption
) -> None:
    """SIGKILL of the supervisor ends its trees, also where only a look at the parent tells, since a copy lives."""
    with (
        Adversary(programs, "zoo") as adversary,
        Supervised(
            [adversary], containment=containing, end="SIGKILL", fork=fork, under=under(calls, error)
        ) as supervisor,
    ):
        os.kill(supervisor.pid, signal.SIGKILL)
        assert supervisor.wait() == -signal.SIGKILL
        adversary.wait_gone()


@every_error
def test_root_of_a_group_dies_with_its_supervisor(error: str, programs: Programs, adoption: Adoption) -> None:
    """With a process group alone at least the root is gone."""
    with (
        Adversary(programs, "alone") as adversary,
        Supervised(
            [adversary], containment="process_group", end="SIGKILL", under=under(DISPENSABLE, error)
        ) as supervisor,
    ):
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        adversary.wait_gone()


@pytest.mark.parametrize(("full", "expected"), [(True, errno.EFBIG), (False, errno.ENOENT)], ids=["full", "missing"])
def test_no_room_for_a_lease(full: bool, expected: int) -> None:
    """A lease that no file can be made for is refused with the step and the errno, and leaves nothing."""
    assert run_apart(forbidden.no_room_for_a_lease, full) == ["lease", expected]


@every_error
@pytest.mark.parametrize("asked", CONTAINING)
def test_without_adoption_a_guard_is_not_to_be_had(asked: str, error: str) -> None:
    """Where orphans cannot be adopted, a mechanism that needs it is unavailable, and the reason is said."""
    said = run_apart(forbidden.achieved, ["subreaper"], getattr(errno, error), asked)
    assert "not available" in said
    assert "adopt orphans" in said
    assert os.strerror(getattr(errno, error)) in said


@every_error
def test_without_adoption_auto_takes_what_is_left_and_says_so(error: str) -> None:
    """Automatic choice reports the weaker mechanism that it took; once a process it warns of it, with the reasons."""
    assert run_apart(forbidden.achieved, ["subreaper"], getattr(errno, error), "auto") == "process_group"
    warned, logged = run_apart(forbidden.settles, ["subreaper"], getattr(errno, error), "auto", 3)
    assert [category for category, _ in warned] == ["ContainmentWarning"]
    words = warned[0][1]
    assert "'process_group'" in words
    assert "subreaper: " in words
    assert os.strerror(getattr(errno, error)) in words
    assert logged == [f"treeguard.containment WARNING: {words}"]


@pytest.mark.parametrize(
    ("calls", "asked"), [([], "auto"), ([], "process_group"), (["subreaper"], "process_group"), (["clone3"], "auto")]
)
def test_nothing_is_said_of_what_contains_or_was_asked_for(calls: list[str], asked: str) -> None:
    """Control: neither of a mechanism that ends escapees, nor of a weaker one that was asked for by name."""
    assert run_apart(forbidden.settles, calls, errno.EPERM, asked, 2) == [[], []]


def run_without_adoption(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``treeguard run`` where no orphans can be adopted."""
    command = [*under(["subreaper"], "EPERM"), sys.executable, "-m", "treeguard", "run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_run_says_that_it_contains_less() -> None:
    """In one line, before the command's own words; not where it was asked for by name."""
    done = run_without_adoption("sh", "-c", "echo mine >&2; exit 3")
    assert done.returncode == 3
    ours, mine = done.stderr.splitlines()
    assert ours.startswith("treeguard run: containment 'process_group' was taken")
    assert "subreaper: " in ours
    assert mine == "mine"
    named = run_without_adoption("--containment", "process_group", "sh", "-c", "exit 3")
    assert (named.returncode, named.stderr) == (3, "")


def test_run_fails_where_what_is_required_is_missing() -> None:
    """With a status of its own, and the reasons; what is there is no hindrance."""
    done = run_without_adoption("--require", "contains_escapees,atomic_kill", "touch", "/nowhere/at/all")
    assert done.returncode == 125
    assert done.stderr.startswith(
        "treeguard run: containment 'process_group' does not give contains_escapees, as requir"
    )
    assert done.stderr.count("\n") == 1
    there = run_without_adoption("--containment", "process_group", "--require", "atomic_kill", "true")
    assert (there.returncode, there.stderr) == (0, "")
    unknown = run_without_adoption("--require", "magic", "true")
    assert unknown.returncode == 125
    assert "'magic' is no guarantee (choose from contains_escapees" in unknown.stderr


@pytest.mark.stress
@pytest.mark.timeout(600)
@every_error
@pytest.mark.parametrize("path", CORE)
def test_core_of_the_suite(path: str, error: str, tmp_path: Path) -> None:
    """The suite's core passes on fallbacks."""
    command = [*under(DISPENSABLE, error), sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'base'}", path],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
