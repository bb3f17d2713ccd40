"""What ``treeguard run`` says, and its exit status, when it has failed itself or COMMAND could not be started."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import (
    BrokenInstall,
    EmptyProgram,
    ProgramNotExecutable,
    ProgramNotFound,
    SpawnError,
    TreeguardError,
)
from .request import Request

__all__ = ["OWN_FAILURE", "failure"]

OWN_FAILURE = 125
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
#: The options that ask for a step of a start.
_OPTIONS = {
    "user": "--user",
    "groups": "--user",
    "group": "--group",
    "nice": "--nice",
    "notify": "--notify",
    "limit": "--limits",
}


def failure(request: Request, error: TreeguardError) -> tuple[int, str]:
    """The exit status for an error, and what is said of it."""
    if isinstance(error, BrokenInstall):
        return OWN_FAILURE, f"{error.strerror}: {error.filename}"
    if isinstance(error, SpawnError):
        return _status(error), _told(request, error)
    return OWN_FAILURE, str(error)


def _told(request: Request, error: SpawnError) -> str:
    """Why the command was not started, said once."""
    program = request.command[0]
    if isinstance(error, EmptyProgram):
        return "COMMAND must not be empty"
    if isinstance(error, ProgramNotFound):
        return f"{program}: {_not_found(program, error)}"
    if isinstance(error, ProgramNotExecutable):
        return f"{program}: cannot be executed: {os.strerror(error.errno or 0)}"
    if error.step == "cwd":
        return f"--cwd {request.given.get('cwd')}: {error.strerror}"
    return f"{_OPTIONS.get(error.step, program)}: {error.strerror}"


def _not_found(program: str, error: ProgramNotFound) -> str:
    if error.step == "search":
        return "not found in PATH"
    return "the interpreter that its first line names was not found" if Path(program).is_file() else "not found"


def _status(error: SpawnError) -> int:
    if isinstance(error, ProgramNotFound | EmptyProgram):
        return _NOT_FOUND
    return _NOT_EXECUTABLE if error.step in {"search", "exec"} else OWN_FAILURE
