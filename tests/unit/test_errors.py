"""Errors: what the standard library would have raised, readable, and whole after a journey to another process."""

import copy
import errno
import inspect
import os
import pickle
import re
from typing import Any

import pytest

import treeguard
from treeguard import errors
from treeguard.errors import SpawnError, TreeguardError, invalid_argument, spawn_error

COUNTERPARTS: dict[str, type[Exception]] = {
    "ArgumentsTooLong": OSError,
    "BrokenInstall": OSError,
    "CapabilityDenied": PermissionError,
    "ContainmentUnavailable": NotImplementedError,
    "ControlLost": ConnectionError,
    "EmptyProgram": FileNotFoundError,
    "GuardLost": ChildProcessError,
    "InvalidArgument": ValueError,
    "LineTooLong": ValueError,
    "NotOwner": RuntimeError,
    "PrivilegeRequired": PermissionError,
    "ProcessEnded": ProcessLookupError,
    "ProcessLimitReached": BlockingIOError,
    "ProgramNotExecutable": PermissionError,
    "ProgramNotFound": FileNotFoundError,
    "ProgramPathInvalid": NotADirectoryError,
    "QuotaExceeded": BlockingIOError,
    "RequestFailed": RuntimeError,
    "RequestTimedOut": TimeoutError,
    "SpawnError": OSError,
    "TooManyOpenFiles": OSError,
    "TreeNotEmpty": TimeoutError,
    "RequestNotDelivered": OSError,
    "TreeNotFrozen": TimeoutError,
    "TreeguardError": Exception,
    "UnknownConnection": LookupError,
    "UnknownProcess": LookupError,
    "UnknownUser": KeyError,
    "WorkingDirectoryDenied": PermissionError,
    "WorkingDirectoryInvalid": NotADirectoryError,
    "WorkingDirectoryNotFound": FileNotFoundError,
}
STEPS = re.findall(r'``"(\w+)"``', inspect.getdoc(SpawnError) or "")


def test_every_error_is_tested_here() -> None:
    """No public error is missing in the table, and all are public."""
    classes = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    kinds = {name for name, kind in classes.items() if issubclass(kind, Exception) and not issubclass(kind, Warning)}
    assert kinds == set(COUNTERPARTS)
    assert kinds <= set(errors.__all__)


@pytest.mark.parametrize(("name", "counterpart"), COUNTERPARTS.items())
def test_errors_have_counterparts(name: str, counterpart: type[Exception]) -> None:
    """An error is caught as treeguard's and as the standard library's."""
    kind = getattr(errors, name)
    assert issubclass(kind, TreeguardError)
    assert issubclass(kind, counterpart)


@pytest.mark.parametrize("name", COUNTERPARTS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_travel(name: str, protocol: int) -> None:
    """A pickled error is the same: class, text, errno, filename and step."""
    kind: type[Exception] = getattr(errors, name)
    error = kind(errno.EIO, "words", "/file") if issubclass(kind, OSError) else kind("words")
    if isinstance(error, SpawnError):
        error.step = "exec"
    arrived: Any = pickle.loads(pickle.dumps(error, protocol))
    assert str(arrived) == str(error)
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)
    if isinstance(error, OSError):
        assert (arrived.errno, arrived.filename) == (errno.EIO, "/file")
    if isinstance(error, SpawnError):
        assert arrived.step == "exec"
    assert type(arrived) is kind


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_errors_show_their_message(name: str) -> None:
    """With a message alone, and with nothing; as they are, copied and pickled."""
    kind = getattr(errors, name)
    error = kind("words")
    if isinstance(error, errors.QuotaExceeded):
        error.retry_after = 1.5
    for each in (error, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert str(each) == ("words (-32000)" if name == "RequestFailed" else "words")
        assert vars(each) == vars(error)
    assert name == "RequestFailed" or not str(kind())


@pytest.mark.parametrize("name", ["CapabilityDenied", "QuotaExceeded", "RequestNotDelivered"])
def test_a_sentence_shows_no_errno(name: str) -> None:
    """The text is the message without the errno, which the error still has."""
    error = getattr(errors, name)(errno.EACCES, "words")
    assert (str(error), error.errno, error.strerror) == ("words", errno.EACCES, "words")


@pytest.mark.parametrize(
    ("step", "number", "kind"),
    [
        ("search", errno.ENOENT, treeguard.ProgramNotFound),
        ("search", errno.EACCES, treeguard.errors.ProgramNotExecutable),
        ("exec", errno.ENOENT, treeguard.ProgramNotFound),
        ("exec", errno.ENOTDIR, errors.ProgramPathInvalid),
        ("exec", errno.EACCES, treeguard.errors.ProgramNotExecutable),
        ("exec", errno.EPERM, treeguard.errors.ProgramNotExecutable),
        ("exec", errno.E2BIG, treeguard.errors.ArgumentsTooLong),
        ("exec", errno.ENOEXEC, SpawnError),
        ("exec", errno.EIO, SpawnError),
        ("cwd", errno.ENOENT, treeguard.errors.WorkingDirectoryNotFound),
        ("cwd", errno.ENOTDIR, treeguard.errors.WorkingDirectoryInvalid),
        ("cwd", errno.EACCES, treeguard.errors.WorkingDirectoryDenied),
        ("clone", errno.EAGAIN, treeguard.errors.ProcessLimitReached),
        ("clone", errno.ENOMEM, SpawnError),
        ("lifeline", errno.EMFILE, treeguard.errors.TooManyOpenFiles),
        ("engine", errno.ENFILE, treeguard.errors.TooManyOpenFiles),
        ("guard", errno.ENOENT, treeguard.errors.BrokenInstall),
        ("guard", errno.EACCES, treeguard.errors.BrokenInstall),
        ("guard", errno.ENOEXEC, treeguard.errors.BrokenInstall),
        ("guard", errno.ENOMEM, SpawnError),
        ("guard", errno.EAGAIN, treeguard.errors.ProcessLimitReached),
        ("guard", errno.E2BIG, treeguard.errors.ArgumentsTooLong),
        ("stdio", errno.EBADF, SpawnError),
        ("user", errno.EPERM, treeguard.errors.PrivilegeRequired),
        ("user", errno.EACCES, treeguard.errors.PrivilegeRequired),
        ("user", errno.EINVAL, SpawnError),
        ("group", errno.EPERM, treeguard.errors.PrivilegeRequired),
        ("groups", errno.EPERM, treeguard.errors.PrivilegeRequired),
        ("nice", errno.EACCES, treeguard.errors.PrivilegeRequired),
        ("rlimits", errno.EPERM, treeguard.errors.PrivilegeRequired),
        ("oom_score_adj", errno.EACCES, treeguard.errors.PrivilegeRequired),
        ("cpu_affinity", errno.EINVAL, SpawnError),
    ],
)
def test_a_failed_step_has_its_class(step: str, number: int, kind: type[SpawnError]) -> None:
    """The class of an error tells step and errno apart; a missing guard is not a missing program."""
    error = spawn_error(step, number, "prog")
    assert type(error) is kind
    assert (error.step, error.errno, error.filename) == (step, number, "prog")


def test_each_error_has_its_own_step() -> None:
    """Another error of the same class does not change the step of this one, which travels with it."""
    error = spawn_error("memory", errno.ENOMEM, None)
    other = spawn_error("clone", errno.ENOMEM, None)
    assert type(error) is type(other)
    assert (error.step, other.step, SpawnError.step) == ("memory", "clone", "")
    assert pickle.loads(pickle.dumps(error)).step == "memory"


def test_every_step_of_the_core_is_described() -> None:
    """Each step that the C core can report has words, and stands in the documentation of SpawnError."""
    from treeguard._core import native

    reported = set(native._STEPS.values()) - {"none"}
    assert reported
    assert reported <= set(STEPS)
    assert set(STEPS) == set(errors._WORDS)


@pytest.mark.parametrize("step", STEPS)
def test_errors_are_readable(step: str) -> None:
    """An error's text says what was being done, what went wrong, with which file, and the detail."""
    text = str(spawn_error(step, errno.EPERM, "/bin/prog", detail="a detail"))
    assert re.fullmatch(rf"\[Errno {errno.EPERM}\] [\w' ]+: {os.strerror(errno.EPERM)} \(a detail\): '/bin/prog'", text)
    assert "None" not in str(spawn_error(step, errno.EPERM, None))


def test_a_bad_argument_is_named() -> None:
    """A refused argument is a ValueError that begins with the argument's name."""
    error = invalid_argument("args[2]", "holds a NUL character", "prog")
    assert type(error) is treeguard.errors.InvalidArgument
    assert (error.step, error.errno, error.filename) == ("argument", errno.EINVAL, "prog")
    assert error.strerror == "args[2] holds a NUL character"
    empty = invalid_argument("program", "must not be empty", "", errno=errno.ENOENT)
    assert type(empty) is treeguard.errors.EmptyProgram
    assert (empty.step, empty.errno, empty.filename) == ("argument", errno.ENOENT, "")
