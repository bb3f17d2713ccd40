"""A spawn that fails: its own exception, with step, errno and file name, and nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from treeguard import (
    ContainmentUnavailable,
    LocalProcessManager,
    ProgramNotFound,
    SpawnError,
    SpawnParams,
    TreeguardError,
)
from treeguard._core import native
from treeguard.errors import (
    ArgumentsTooLong,
    EmptyProgram,
    InvalidArgument,
    ProgramNotExecutable,
    ProgramPathInvalid,
    WorkingDirectoryInvalid,
    WorkingDirectoryNotFound,
)
from treeguard.types import Mechanism

from ..support import limits
from ..support.apart import run_apart
from ..support.delegation import full_cgroup
from ..support.judge import children
from ..support.mechanisms import CONTAINING
from ..support.programs import Programs


class Case(NamedTuple):
    """Parameters that cannot be spawned, made from a directory; and what is raised."""

    params: Callable[[Path], dict[str, Any]]
    error: type[SpawnError]
    also: type[Exception]
    step: str
    errno: int
    filename: str | None = "{program}"


def file(path: Path, text: str, mode: int = 0o755) -> str:
    """A file to be executed."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def directory(path: Path) -> str:
    """A directory, with a name that could be a program's."""
    path.mkdir()
    return str(path)


def shut(path: Path) -> str:
    """A directory that its owner may not enter."""
    path.mkdir(mode=0o600)
    return str(path)


def descriptors() -> list[str]:
    """The open ones' numbers."""
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208


def closed_fd() -> int:
    """A number that is no open descriptor, and too high to become one by chance."""
    taken = {int(fd) for fd in descriptors()}
    return next(fd for fd in range(900, 1000) if fd not in taken)


NUL = "a\0b"
CASES = {
    "NUL in an argument": Case(
        lambda _: {"program": "true", "args": ("ok", NUL)}, InvalidArgument, ValueError, "argument", errno.EINVAL
    ),
    "NUL in the program": Case(lambda _: {"program": NUL}, InvalidArgument, ValueError, "argument", errno.EINVAL),
    "NUL in a value": Case(
        lambda _: {"program": "true", "env": {"A": NUL}}, InvalidArgument, ValueError, "argument", errno.EINVAL
    ),
    "NUL in a name": Case(
        lambda _: {"program": "true", "env": {NUL: "a"}}, InvalidArgument, ValueError, "argument", errno.EINVAL
    ),
    "equals sign in a name": Case(
        lambda _: {"program": "true", "env": {"A=B": "a"}}, InvalidArgument, ValueError, "argument", errno.EINVAL
    ),
    "NUL in the directory": Case(
        lambda _: {"program": "true", "cwd": NUL}, InvalidArgument, ValueError, "argument", errno.EINVAL, "{cwd}"
    ),
    "empty program": Case(
        lambda _: {"program": ""}, EmptyProgram, FileNotFoundError, "argument", errno.ENOENT, "{program}"
    ),
    "no program": Case(lambda _: {}, InvalidArgument, ValueError, "argument", errno.EINVAL, None),
    "missing directory": Case(
        lambda d: {"program": "true", "cwd": str(d / "missing")},
        WorkingDirectoryNotFound,
        FileNotFoundError,
        "cwd",
        errno.ENOENT,
        "{cwd}",
    ),
    "directory is a file": Case(
        lambda d: {"program": "true", "cwd": file(d / "file", "")},
        WorkingDirectoryInvalid,
        NotADirectoryError,
        "cwd",
        errno.ENOTDIR,
        "{cwd}",
    ),
    "missing program by name": Case(
        # A directory of PATH that may not be searched would make it a matter of permissions.
        lambda d: {"program": "no-such-program-anywhere", "env": {"PATH": f"{d}:/bin"}},
        ProgramNotFound,
        FileNotFoundError,
        "search",
        errno.ENOENT,
    ),
    "missing program by path": Case(
        lambda d: {"program": str(d / "missing")}, ProgramNotFound, FileNotFoundError, "exec", errno.ENOENT
    ),
    "file as a part of the path": Case(
        lambda d: {"program": file(d / "file", "") + "/x"},
        ProgramPathInvalid,
        NotADirectoryError,
        "exec",
        errno.ENOTDIR,
    ),
    "not executable": Case(
        lambda d: {"program": file(d / "plain", "#!/bin/sh\n", 0o644)},
        ProgramNotExecutable,
        PermissionError,
        "exec",
        errno.EACCES,
    ),
    "not executable in PATH": Case(
        lambda d: {"program": Path(file(d / "plain", "", 0o644)).name, "env": {"PATH": str(d)}},
        ProgramNotExecutable,
        PermissionError,
        "search",
        errno.EACCES,
    ),
    "directory": Case(
        lambda d: {"program": directory(d / "dir")}, ProgramNotExecutable, PermissionError, "exec", errno.EACCES
    ),
    "text without interpreter": Case(
        lambda d: {"program": file(d / "text", "echo never\n")}, SpawnError, OSError, "exec", errno.ENOEXEC
    ),
    "empty file": Case(lambda d: {"program": file(d / "none", "")}, SpawnError, OSError, "exec", errno.ENOEXEC),
    "missing interpreter": Case(
        lambda d: {"program": file(d / "script", "#!/no/such/interpreter\n")},
        ProgramNotFound,
        FileNotFoundError,
        "exec",
        errno.ENOENT,
    ),
    "too many arguments": Case(
        lambda _: {"program": "/bin/true", "args": ("x" * 100_000,) * 100},
        ArgumentsTooLong,
        OSError,
        "exec",
        errno.E2BIG,
    ),
    "too long an argument": Case(
        lambda _: {"program": "/bin/true", "args": ("x" * 200_000,)}, ArgumentsTooLong, OSError, "exec", errno.E2BIG
    ),
    "too long a variable": Case(
        lambda _: {"program": "/bin/true", "env": {"A": "x" * 200_000}}, ArgumentsTooLong, OSError, "exec", errno.E2BIG
    ),
    "bad stream": Case(lambda _: {"program": "true", "stdin": closed_fd()}, SpawnError, OSError, "stdio", errno.EBADF),
    "huge stream": Case(lambda _: {"program": "true", "stdout": 1 << 70}, SpawnError, OSError, "stdio", errno.EBADF),
    "negative stream": Case(lambda _: {"program": "true", "stderr": -9}, SpawnError, OSError, "stdio", errno.EBADF),
    "stream of another kind": Case(
        lambda _: {"program": "true", "stderr": "nonsense"}, InvalidArgument, ValueError, "argument", errno.EINVAL
    ),
    "bad descriptor": Case(
        lambda _: {"program": "true", "pass_fds": (closed_fd(),)}, SpawnError, OSError, "pass_fds", errno.EBADF
    ),
    "signal that cannot be ignored": Case(
        lambda _: {"program": "true", "ignore_signals": (9,)},
        InvalidArgument,
        ValueError,
        "argument",
        errno.EINVAL,
        None,
    ),
    "terminal that is none": Case(
        lambda _: {"program": "true", "stdin": "null", "terminal": 0}, SpawnError, OSError, "terminal", errno.ENOTTY
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_each_error_is_its_own_and_leaves_nothing(
    mechanism: Mechanism, case: Case, tmp_path: Path, programs: Programs
) -> None:
    """A spawn that cannot work raises its own error, leaves no descriptor and no process, and the next one works."""
    wanted = case.params(tmp_path)
    async with LocalProcessManager(containment=mechanism) as manager:
        before, family = descriptors(), set(children())
        with pytest.raises(case.error) as caught:
            await manager.spawn_child(SpawnParams(**wanted))
        assert descriptors() == before
        assert set(children()) == family
        assert await manager.list_children() == []
        after = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert [child.pid for child in await manager.list_children()] == [after.pid]
    error = caught.value
    assert type(error) is case.error
    assert isinstance(error, case.also)
    assert isinstance(error, TreeguardError)
    assert (error.step, error.errno) == (case.step, case.errno)
    expected = None if case.filename is None else case.filename.format(**{"program": "", "cwd": "", **wanted})
    assert error.filename == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any directory")
async def test_forbidden_directory(mechanism: Mechanism, tmp_path: Path) -> None:
    """A working directory that may not be entered is a permission error of its own."""
    async with LocalProcessManager(containment=mechanism) as manager:
        with pytest.raises(PermissionError) as caught:
            await manager.spawn_child(SpawnParams(program="/bin/true", cwd=shut(tmp_path / "shut")))
    assert type(caught.value).__name__ == "WorkingDirectoryDenied"


async def test_errors_are_what_subprocess_raises(mechanism: Mechanism, tmp_path: Path) -> None:
    """Code that catches the errors of ``asyncio.create_subprocess_exec`` catches these errors too."""
    async with LocalProcessManager(containment=mechanism) as manager:
        for program in (str(tmp_path / "missing"), str(tmp_path), "no-such-program-anywhere"):
            with pytest.raises(OSError) as theirs:  # noqa: PT011 - whichever it is
                await asyncio.create_subprocess_exec(program)
            with pytest.raises(type(theirs.value)) as ours:
                await manager.spawn_child(SpawnParams(program=program))
            assert isinstance(ours.value, OSError)
            assert (ours.value.errno, ours.value.filename) == (theirs.value.errno, theirs.value.filename)


def test_too_few_descriptors(mechanism: Mechanism, programs: Programs) -> None:
    """At every limit on open files a spawn either works or says that it was that limit, and leaves nothing."""
    outcomes = run_apart(limits.few_descriptors, mechanism, programs.tiny)
    worked = [outcome is None for outcome in outcomes]
    assert worked == sorted(worked)
    assert worked[-1]
    assert not worked[0]
    for outcome in outcomes:
        assert outcome is None or (outcome["class"], outcome["errno"]) == ("TooManyOpenFiles", errno.EMFILE)


@pytest.mark.parametrize("mechanism", ["subreaper", "process_group"], indirect=True)
def test_too_few_processes(mechanism: Mechanism, programs: Programs) -> None:
    """At a limit on processes a spawn says that it was that limit, which may pass, and leaves nothing."""
    outcomes = run_apart(limits.few_processes, mechanism, programs.tiny)
    assert outcomes[0] is not None
    worked = [outcome is None for outcome in outcomes]
    assert worked == sorted(worked)
    assert worked[-1] or len(outcomes) == 1
    for outcome in outcomes:
        assert outcome is None or outcome == {
            "class": "ProcessLimitReached",
            "step": "clone",
            "errno": errno.EAGAIN,
        }


def test_full_cgroup(mechanism: Mechanism, programs: Programs) -> None:
    """In a cgroup that may have no more processes a spawn says so, which may pass, and leaves nothing."""
    with full_cgroup() as directory:
        outcomes = run_apart(limits.few_processes_in_a_cgroup, mechanism, programs.tiny, str(directory))
    worked = [outcome is None for outcome in outcomes]
    assert worked == sorted(worked)
    assert worked[-1]
    assert not worked[0]
    if mechanism != "process_group":
        assert not worked[1], "there is room for the guard, and none for the root"
    for outcome in outcomes:
        assert outcome is None or outcome == {"class": "ProcessLimitReached", "step": "clone", "errno": errno.EAGAIN}


@pytest.mark.parametrize("asked", ["auto", *CONTAINING])
def test_shortage_is_no_reason_for_a_weaker_mechanism(asked: str) -> None:
    """A trial that fails for want of descriptors is an error; a later one finds what the host gives."""
    said, achieved = run_apart(limits.choice_in_a_shortage, asked)
    assert said == "TooManyOpenFiles"
    assert achieved == (CONTAINING[0] if asked == "auto" else asked)


def test_slow_host_is_no_reason_for_a_weaker_mechanism(tmp_path: Path) -> None:
    """A trial that takes seconds finds what the host gives."""
    slow = tmp_path / "slow-guard"
    code = f"import os, sys, time\ntime.sleep(0.6)\nos.execv({native.GUARD!r}, sys.argv)\n"
    slow.write_text(f"#!{sys.executable} -IS\n{code}")
    slow.chmod(0o755)
    assert run_apart(limits.choice_with_a_slow_guard, str(slow)) == CONTAINING[0]


@pytest.mark.parametrize("asked", ["cgroups", ""])
def test_unknown_mechanism(asked: Any) -> None:
    """A mechanism that does not exist is refused by name, before anything is started."""
    with pytest.raises(ValueError, match="containment"):
        LocalProcessManager(containment=asked)


async def test_mechanism_of_another_system() -> None:
    """Asking for what this host cannot give is an error, never something weaker."""
    with pytest.raises(ContainmentUnavailable):
        await LocalProcessManager(containment="job_object").spawn_child(SpawnParams(program="true"))
