"""What can go wrong. Each error also is what the standard library would have raised in its place."""

from __future__ import annotations

import errno as _errno
import os
from typing import TypeVar

__all__ = [
    "SHORTAGES",
    "ArgumentsTooLong",
    "BrokenInstall",
    "CapabilityDenied",
    "ContainmentUnavailable",
    "ContainmentWarning",
    "ControlLost",
    "EmptyProgram",
    "GuardLost",
    "InvalidArgument",
    "NotOwner",
    "ProcessEnded",
    "ProcessLimitReached",
    "ProgramNotExecutable",
    "ProgramNotFound",
    "QuotaExceeded",
    "RequestFailed",
    "RequestNotDelivered",
    "RequestTimedOut",
    "SpawnError",
    "TooManyOpenFiles",
    "TreeNotEmpty",
    "TreeNotFrozen",
    "TreeguardError",
    "UnknownConnection",
    "UnknownProcess",
    "WorkingDirectoryDenied",
    "WorkingDirectoryInvalid",
    "WorkingDirectoryNotFound",
    "spawn_error",
]

#: What says nothing of the host, but that there are too few descriptors, or too little memory, at the moment.
SHORTAGES = frozenset({_errno.EMFILE, _errno.ENFILE, _errno.ENOMEM})


class TreeguardError(Exception):
    """The root of treeguard's errors."""


class UnknownProcess(TreeguardError, LookupError):
    """The manager never issued this process id."""


class UnknownConnection(TreeguardError, LookupError):
    """The connection is not tracked: it never was, or was removed, or fell silent and its tree was killed."""


class ProcessEnded(TreeguardError, ProcessLookupError):
    """The tree has ended, or is being ended, so nothing can be done with it any more."""


class NotOwner(TreeguardError, RuntimeError):
    """The manager belongs to another process (this one is a forked copy), or to another event loop, or is closed."""


class ContainmentUnavailable(TreeguardError, NotImplementedError):
    """This host cannot give the mechanism, or the guarantee, that was asked for. Nothing was started."""


class ContainmentWarning(RuntimeWarning):
    """``containment="auto"`` took a mechanism that does not end escapees, since no other one is to be had here.

    It is given once a process, and says why. Whoever wants an error in its place asks for
    ``require=("contains_escapees",)``.
    """


class GuardLost(TreeguardError, ChildProcessError):
    """The guard died before its tree was empty.

    What treeguard could still find of the tree was ended: its root, the root's group, and those that carry the tree's
    mark in their environment. Those that left the group and cleared their environment may live on
    (:attr:`Containment.outlives_guard`).
    """


class TreeNotEmpty(TreeguardError, TimeoutError):
    """A tree was told to end and did not: it holds processes that cannot be killed (another user's, or in the kernel).

    The message names them, and why they live as far as it can be seen.

    Its guard goes on trying.
    """


class RequestNotDelivered(TreeguardError, OSError):
    """A root could not be asked to end; nothing was done to it.

    On Windows: it neither shares the console of this process nor shows a window. By force it can be ended all the same.
    """


class TreeNotFrozen(TreeguardError, TimeoutError):
    """A tree did not stand still in time, and goes on: processes in the kernel, or forking too fast to be stopped."""


class CapabilityDenied(TreeguardError, PermissionError):
    """The child's capabilities do not include what it asked for."""


class QuotaExceeded(CapabilityDenied, BlockingIOError):
    """The child may have what it asked for, but not now.

    The same will pass in ``retry_after`` seconds if nothing else is asked for meanwhile; None: when something that is
    under way has ended.
    """

    retry_after: float | None = None


class ControlLost(TreeguardError, ConnectionError):
    """There is no control connection, or not any more, or it can take no more at the moment."""


class RequestFailed(TreeguardError, RuntimeError):
    """The other side of a control connection answered with an error. A handler that raises this one answers so itself.

    ``code`` is as in JSON-RPC 2.0; ``data`` is what came with it.
    """

    def __init__(self, message: str, code: int = -32000, data: object = None) -> None:
        super().__init__(message, code, data)
        self.code = code
        self.data = data

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.code})"


class RequestTimedOut(TreeguardError, TimeoutError):
    """The other side of a control connection did not answer in time."""


class SpawnError(TreeguardError, OSError):
    """A tree could not be started, and nothing of it is left.

    ``errno`` and ``filename`` are as in :class:`OSError`; ``step`` names what was being done: ``"argument"``,
    ``"search"``, ``"engine"``, ``"memory"``, ``"lifeline"``, ``"clone"``, ``"cgroup"``, ``"lease"``, ``"group"``,
    ``"parent"``, ``"cwd"``, ``"stdio"``, ``"pass_fds"``, ``"limit"``, ``"terminal"``, ``"exec"``, ``"guard"``,
    ``"subreaper"``, ``"watch"``, ``"job"``, ``"isolation"``, ``"control"`` or ``"notify"``.
    """

    step: str = ""


class BrokenInstall(SpawnError):
    """A file of treeguard's own cannot be used: ``filename`` names it. Nothing was started.

    The guard's executable is missing, not executable, damaged, on a file system that is mounted ``noexec``, or of
    another version than the library. That says nothing of what this host can give, so ``containment="auto"`` takes no
    weaker mechanism for it.
    """


class InvalidArgument(SpawnError, ValueError):
    """An argument that no program could be started with. The message names it."""


class EmptyProgram(InvalidArgument, FileNotFoundError):
    """The program's name is empty."""


class ProgramNotFound(SpawnError, FileNotFoundError):
    """No such program, or the interpreter that its first line names does not exist."""


class ProgramNotExecutable(SpawnError, PermissionError):
    """The program may not be executed, or is a directory."""


class ArgumentsTooLong(SpawnError):
    """Arguments and environment together, or one of them alone, are longer than the system takes (E2BIG)."""


class WorkingDirectoryNotFound(SpawnError, FileNotFoundError):
    """No such working directory."""


class WorkingDirectoryInvalid(SpawnError, NotADirectoryError):
    """The working directory is not a directory."""


class WorkingDirectoryDenied(SpawnError, PermissionError):
    """The working directory may not be entered."""


class ProcessLimitReached(SpawnError, BlockingIOError):
    """A limit on the number of processes was reached (EAGAIN). Trying later may succeed."""


class TooManyOpenFiles(SpawnError):
    """A limit on the number of open files was reached (EMFILE, ENFILE)."""


_BY_STEP: dict[tuple[str, int], type[SpawnError]] = {
    ("search", _errno.ENOENT): ProgramNotFound,
    ("search", _errno.EACCES): ProgramNotExecutable,
    ("exec", _errno.ENOENT): ProgramNotFound,
    ("exec", _errno.ENOTDIR): ProgramNotFound,
    ("exec", _errno.EACCES): ProgramNotExecutable,
    ("exec", _errno.EPERM): ProgramNotExecutable,
    ("exec", _errno.E2BIG): ArgumentsTooLong,
    ("guard", _errno.E2BIG): ArgumentsTooLong,
    # A limit on cgroups, not on processes.
    ("cgroup", _errno.EAGAIN): SpawnError,
    ("cwd", _errno.ENOENT): WorkingDirectoryNotFound,
    ("cwd", _errno.ENOTDIR): WorkingDirectoryInvalid,
    ("cwd", _errno.EACCES): WorkingDirectoryDenied,
}
_BY_ERRNO: dict[int, type[SpawnError]] = {
    _errno.EAGAIN: ProcessLimitReached,
    _errno.EMFILE: TooManyOpenFiles,
    _errno.ENFILE: TooManyOpenFiles,
}
_WORDS = {
    "argument": "bad argument",
    "search": "program not found or not executable",
    "engine": "cannot watch processes",
    "memory": "no memory for the tree",
    "lifeline": "cannot connect to the guard",
    "clone": "cannot create a process",
    "cgroup": "cannot put the tree into a cgroup",
    "group": "cannot make a process group",
    "parent": "cannot bind the child to its parent",
    "limit": "cannot limit the memory of the tree",
    "lease": "cannot share the page that the lease is kept in",
    "cwd": "cannot enter the working directory",
    "stdio": "cannot set up standard streams",
    "pass_fds": "cannot pass on a descriptor of pass_fds",
    "terminal": "cannot give the terminal to the child",
    "exec": "cannot execute the program",
    "guard": "cannot execute treeguard's guard",
    "subreaper": "the guard cannot adopt orphans",
    "watch": "the guard cannot watch its children",
    "control": "cannot open a control connection",
    "job": "cannot put the tree into a job object",
    "isolation": "cannot keep the tree's signals from its guard",
    "notify": "cannot listen to the child's notifications",
}
#: What the system's own words would not say.
_DETAILS = {
    ("isolation", _errno.E2BIG): "this process is in 16 Landlock domains, and the kernel nests no more",
}


_E = TypeVar("_E", bound=SpawnError)


def spawn_error(step: str, errno: int, filename: str | None, *, detail: str = "") -> SpawnError:
    """The error for a failed step; its class tells what the standard library would have raised."""
    kind = _BY_STEP.get((step, errno)) or _BY_ERRNO.get(errno) or _kind_of(step, errno)
    detail = detail or _DETAILS.get((step, errno), "")
    ours = "this installation of treeguard is broken and " if kind is BrokenInstall else ""
    words = f"{ours}{_WORDS.get(step, step)}: {os.strerror(errno)}" + (f" ({detail})" if detail else "")
    return _made(kind, step, errno, words, filename)


def _kind_of(step: str, errno: int) -> type[SpawnError]:
    return BrokenInstall if step == "guard" and errno not in SHORTAGES else SpawnError


def invalid_argument(name: str, problem: str, filename: str | None, *, errno: int = _errno.EINVAL) -> InvalidArgument:
    """The error for an argument that was refused before anything was started."""
    kind = EmptyProgram if errno == _errno.ENOENT else InvalidArgument
    return _made(kind, "argument", errno, f"{name} {problem}", filename)


def capability_denied(words: str) -> CapabilityDenied:
    """The error for what a child may never have."""
    return CapabilityDenied(_errno.EACCES, words)


def quota_exceeded(words: str, *, retry_after: float | None) -> QuotaExceeded:
    """The error for what a child may have later."""
    error = QuotaExceeded(_errno.EAGAIN, words)
    error.retry_after = retry_after
    return error


def _made(kind: type[_E], step: str, errno: int, words: str, filename: str | None) -> _E:
    error = kind(errno, words, filename) if filename is not None else kind(errno, words)
    error.step = step
    return error
