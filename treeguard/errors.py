"""The exceptions of treeguard. Each one also derives from the matching exception of the standard library."""

from __future__ import annotations

import errno as _errno
import os
from typing import TypeVar

__all__ = [
    "ArgumentsTooLong",
    "BrokenInstall",
    "CapabilityDenied",
    "ContainmentUnavailable",
    "ContainmentWarning",
    "ControlLost",
    "EmptyProgram",
    "GuardLost",
    "InvalidArgument",
    "LineTooLong",
    "NotOwner",
    "PrivilegeRequired",
    "ProcessEnded",
    "ProcessLimitReached",
    "ProgramNotExecutable",
    "ProgramNotFound",
    "ProgramPathInvalid",
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
    "UnknownUser",
    "WorkingDirectoryDenied",
    "WorkingDirectoryInvalid",
    "WorkingDirectoryNotFound",
]

#: Errors that only mean a shortage of descriptors or memory at the moment. They say nothing about what the host
#: supports.
SHORTAGES = frozenset({_errno.EMFILE, _errno.ENFILE, _errno.ENOMEM})


def _sentence(error: OSError) -> str:
    """Returns the message without the errno that :class:`OSError` puts in front of it."""
    return OSError.__str__(error) if error.strerror is None else str(error.strerror)


class TreeguardError(Exception):
    """The base class of treeguard's errors."""


class UnknownProcess(TreeguardError, LookupError):
    """The manager never issued this process id."""


class UnknownConnection(TreeguardError, LookupError):
    """The connection is not tracked: it never was, it was removed, or it fell silent and its tree was killed."""


class ProcessEnded(TreeguardError, ProcessLookupError):
    """The tree has ended, or is ending, so the operation is no longer possible."""


class NotOwner(TreeguardError, RuntimeError):
    """The manager belongs to another process (this one is a forked copy) or another event loop, or is closed."""


class ContainmentUnavailable(TreeguardError, NotImplementedError):
    """This host cannot provide the requested mechanism or guarantee. Nothing was started."""


class ContainmentWarning(RuntimeWarning):
    """``containment="auto"`` chose a mechanism that does not end escapees, since no other one is available here.

    It is emitted once per process and states the reason. To get an error instead, pass
    ``require=("contains_escapees",)``.
    """


class GuardLost(TreeguardError, ChildProcessError):
    """The guard died before its tree was empty.

    treeguard ended everything that it could still find of the tree: the root, the root's process group, and the
    processes that carry the tree's mark in their environment. Processes that left the group and cleared their
    environment may still be alive (:attr:`Containment.outlives_guard`).
    """


class TreeNotEmpty(TreeguardError, TimeoutError):
    """A tree was ordered to end but did not, because it holds processes that cannot be killed.

    Such processes belong to another user or are stuck in the kernel. The message names them and, where it is visible,
    the reason why they are still alive. The guard keeps trying.
    """


class LineTooLong(TreeguardError, ValueError):
    """A line is longer than ``max_line`` bytes. ``stream`` names where, ``max_line`` is the limit.

    Nothing was taken from the stream. Read the line with another method or a higher limit, or end the tree.
    """

    stream: str = ""
    max_line: int = 0


class RequestNotDelivered(TreeguardError, OSError):
    """A root could not be asked to end. Nothing was done to it.

    This happens on Windows if the root neither shares the console of this process nor shows a window. The root can
    still be ended by force.
    """

    __str__ = _sentence


class TreeNotFrozen(TreeguardError, TimeoutError):
    """A tree could not be frozen in time, so it keeps running.

    Some of its processes are in the kernel, or fork too fast to be stopped.
    """


class CapabilityDenied(TreeguardError, PermissionError):
    """The child's capabilities do not include what it asked for."""

    __str__ = _sentence


class QuotaExceeded(CapabilityDenied, BlockingIOError):
    """The child may do what it asked for, but not now.

    The same call passes in ``retry_after`` seconds if the child makes no other call meanwhile. If ``retry_after`` is
    None, the call has to wait until something that is under way has ended.
    """

    retry_after: float | None = None


class ControlLost(TreeguardError, ConnectionError):
    """The control connection does not exist, has ended, or cannot take any more at the moment."""


class RequestFailed(TreeguardError, RuntimeError):
    """The other side of a control connection answered with an error.

    A handler that raises this exception sends it as its answer. ``code`` is as in JSON-RPC 2.0. ``data`` is the data
    that came with the error.
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

    ``errno`` and ``filename`` are as in :class:`OSError`. ``step`` names the step that failed: ``"argument"``,
    ``"search"``, ``"engine"``, ``"memory"``, ``"lifeline"``, ``"clone"``, ``"cgroup"``, ``"lease"``,
    ``"process_group"``, ``"parent"``, ``"cwd"``, ``"stdio"``, ``"pass_fds"``, ``"limit"``, ``"terminal"``, ``"pty"``,
    ``"exec"``, ``"guard"``, ``"subreaper"``, ``"watch"``, ``"job"``, ``"isolation"``, ``"control"``, ``"notify"``,
    ``"pid_namespace"``, ``"user_map"``, ``"mount_proc"``, ``"nice"``, ``"oom_score_adj"``, ``"cpu_affinity"``,
    ``"rlimits"``, ``"groups"``, ``"group"``, ``"user"`` or ``"pipesize"``.
    """

    step: str = ""


class BrokenInstall(SpawnError):
    """One of treeguard's own files cannot be used. ``filename`` names it. Nothing was started.

    The guard's executable is missing, not executable, damaged, on a file system that is mounted ``noexec``, or of
    another version than the library. This says nothing about what the host supports, so ``containment="auto"`` does not
    fall back to a weaker mechanism.
    """


class InvalidArgument(SpawnError, ValueError):
    """No program can be started with one of the arguments. The message names it."""


class UnknownUser(InvalidArgument, KeyError):
    """There is no user, or no group, of the name that was given."""


class PrivilegeRequired(SpawnError, PermissionError):
    """The root was to be given something that takes a privilege which this process lacks. The message names it.

    Another user or group, more than a limit allows, or a higher priority than this process has. Nothing was started.
    """


class EmptyProgram(InvalidArgument, FileNotFoundError, PermissionError):
    """The program's name is empty."""


class ProgramNotFound(SpawnError, FileNotFoundError):
    """The program does not exist, or the interpreter that its first line names does not."""


class ProgramPathInvalid(ProgramNotFound, NotADirectoryError):
    """A part of the program's path is not a directory."""


class ProgramNotExecutable(SpawnError, PermissionError):
    """The program may not be executed, or is a directory."""


class ArgumentsTooLong(SpawnError):
    """The arguments and the environment together, or a single one of them, exceed the system's limit (E2BIG)."""


class WorkingDirectoryNotFound(SpawnError, FileNotFoundError):
    """The working directory does not exist."""


class WorkingDirectoryInvalid(SpawnError, NotADirectoryError):
    """The working directory is not a directory."""


class WorkingDirectoryDenied(SpawnError, PermissionError):
    """Permission to enter the working directory was denied."""


class ProcessLimitReached(SpawnError, BlockingIOError):
    """A limit on the number of processes was reached (EAGAIN). A later attempt may succeed."""


class TooManyOpenFiles(SpawnError):
    """A limit on the number of open files was reached (EMFILE, ENFILE)."""


_BY_STEP: dict[tuple[str, int], type[SpawnError]] = {
    ("search", _errno.ENOENT): ProgramNotFound,
    ("search", _errno.EACCES): ProgramNotExecutable,
    ("exec", _errno.ENOENT): ProgramNotFound,
    ("exec", _errno.ENOTDIR): ProgramPathInvalid,
    ("exec", _errno.EACCES): ProgramNotExecutable,
    ("exec", _errno.EPERM): ProgramNotExecutable,
    ("exec", _errno.E2BIG): ArgumentsTooLong,
    ("guard", _errno.E2BIG): ArgumentsTooLong,
    # This limit is on cgroups, not on processes.
    ("cgroup", _errno.EAGAIN): SpawnError,
    ("cwd", _errno.ENOENT): WorkingDirectoryNotFound,
    ("cwd", _errno.ENOTDIR): WorkingDirectoryInvalid,
    ("cwd", _errno.EACCES): WorkingDirectoryDenied,
    ("nice", _errno.EACCES): PrivilegeRequired,
    ("nice", _errno.EPERM): PrivilegeRequired,
    ("oom_score_adj", _errno.EACCES): PrivilegeRequired,
    ("rlimits", _errno.EPERM): PrivilegeRequired,
    ("groups", _errno.EPERM): PrivilegeRequired,
    ("group", _errno.EPERM): PrivilegeRequired,
    ("user", _errno.EPERM): PrivilegeRequired,
    ("user", _errno.EACCES): PrivilegeRequired,
    ("pipesize", _errno.EPERM): PrivilegeRequired,
}
_BY_ERRNO: dict[int, type[SpawnError]] = {
    _errno.EAGAIN: ProcessLimitReached,
    _errno.EMFILE: TooManyOpenFiles,
    _errno.ENFILE: TooManyOpenFiles,
}
_WORDS = {
    "argument": "bad argument",
    "search": "cannot find the program",
    "engine": "cannot watch processes",
    "memory": "no memory for the tree",
    "lifeline": "cannot connect to the guard",
    "clone": "cannot create a process",
    "cgroup": "cannot put the tree into a cgroup",
    "process_group": "cannot make a process group",
    "parent": "cannot bind the child to its parent",
    "limit": "cannot limit the memory of the tree",
    "lease": "cannot share the page that the lease is kept in",
    "cwd": "cannot enter the working directory",
    "stdio": "cannot set up standard streams",
    "pass_fds": "cannot pass on a descriptor of pass_fds",
    "terminal": "cannot give the terminal to the child",
    "pty": "cannot give the child a terminal of its own",
    "exec": "cannot execute the program",
    "guard": "cannot execute treeguard's guard",
    "subreaper": "the guard cannot adopt orphans",
    "watch": "the guard cannot watch its children",
    "control": "cannot open a control connection",
    "job": "cannot put the tree into a job object",
    "isolation": "cannot keep the tree's signals from its guard",
    "pid_namespace": "cannot make a PID namespace for the tree",
    "user_map": "cannot give the tree's user namespace its user",
    "mount_proc": "cannot mount proc in the tree's PID namespace",
    "notify": "cannot listen to the child's notifications",
    "nice": "cannot change the nice value",
    "oom_score_adj": "cannot set oom_score_adj",
    "cpu_affinity": "cannot choose the CPUs",
    "rlimits": "cannot set a limit of rlimits",
    "groups": "cannot set the supplementary groups",
    "group": "cannot change the group",
    "user": "cannot change the user",
    "pipesize": "cannot set the size of a pipe",
}
#: Details that the system's own error text lacks.
_DETAILS = {
    ("isolation", _errno.E2BIG): "this process is in 16 Landlock domains, and the kernel nests no more",
    ("nice", _errno.EACCES): "a lower value than this process has takes CAP_SYS_NICE or RLIMIT_NICE",
    ("oom_score_adj", _errno.EACCES): "a lower value than this process has takes CAP_SYS_RESOURCE",
    ("cpu_affinity", _errno.EINVAL): "this process may use none of these CPUs",
    ("rlimits", _errno.EPERM): "a higher hard limit than this process has takes CAP_SYS_RESOURCE",
    ("groups", _errno.EPERM): "that takes CAP_SETGID",
    ("group", _errno.EPERM): "that takes CAP_SETGID",
    ("user", _errno.EPERM): "that takes CAP_SETUID",
    ("pipesize", _errno.EPERM): "more than /proc/sys/fs/pipe-max-size takes CAP_SYS_RESOURCE",
    ("user", _errno.EACCES): "nobody could end the tree: to signal processes of that user takes CAP_KILL",
}


_E = TypeVar("_E", bound=SpawnError)


def spawn_error(step: str, errno: int, filename: str | None, *, detail: str = "") -> SpawnError:
    """Returns the error for a failed step. Its class also is the one that the standard library would have raised."""
    other = BrokenInstall if step == "guard" and errno not in SHORTAGES else SpawnError
    kind = _BY_STEP.get((step, errno)) or _BY_ERRNO.get(errno) or other
    detail = detail or _DETAILS.get((step, errno), "")
    ours = "this installation of treeguard is broken and " if kind is BrokenInstall else ""
    words = f"{ours}{_WORDS.get(step, step)}: {os.strerror(errno)}" + (f" ({detail})" if detail else "")
    return _made(kind, step, errno, words, filename)


def guard_lost(pid: str, *, marked: bool) -> GuardLost:
    """The error for a tree whose guard died. ``marked``: its environment had a mark to find processes by."""
    if marked:
        ended = "its root, its group, its cgroup and all that carries its mark were ended"
        rest = "a process that left them and cleared its environment may live on"
    else:
        ended = "its root, its group and its cgroup were ended"
        rest = "a process that left them may live on: its environment was given whole, without a mark"
    return GuardLost(f"the guard of {pid} died; {ended}, but {rest}")


def invalid_argument(name: str, problem: str, filename: str | None, *, errno: int = _errno.EINVAL) -> InvalidArgument:
    """Returns the error for an argument that was refused before anything was started."""
    kind = EmptyProgram if errno == _errno.ENOENT else InvalidArgument
    return _made(kind, "argument", errno, f"{name} {problem}", filename)


def unknown_user(name: str, kind: str, given: object, filename: str | None) -> UnknownUser:
    """Returns the error for an argument that is no user's name, or no group's: ``kind`` says which of them."""
    words = f"{name} must be the name of a {kind} of this system, or a number, not {given!r}"
    return _made(UnknownUser, "argument", _errno.EINVAL, words, filename)


def capability_denied(words: str) -> CapabilityDenied:
    """Returns the error for something that a child may never do."""
    return CapabilityDenied(_errno.EACCES, words)


def line_too_long(stream: str, max_line: int) -> LineTooLong:
    """Returns the error for a line that is left where it is."""
    error = LineTooLong(f"a line of {stream} is longer than {max_line} bytes; nothing of it was taken")
    error.stream, error.max_line = stream, max_line
    return error


def quota_exceeded(words: str, *, retry_after: float | None) -> QuotaExceeded:
    """Returns the error for something that a child may do later."""
    error = QuotaExceeded(_errno.EAGAIN, words)
    error.retry_after = retry_after
    return error


def _made(kind: type[_E], step: str, errno: int, words: str, filename: str | None) -> _E:
    error = kind(errno, words, filename) if filename is not None else kind(errno, words)
    error.step = step
    return error
