"""Scripts whose first line names no interpreter. Shells, env, nice and timeout let ``/bin/sh`` run them: execvp(3)."""

from __future__ import annotations

import errno
import os

import msgspec

from .._core.spec.compiler import SpecCompiler
from ..errors import SpawnError
from ..params import SpawnParams

__all__ = ["as_script"]

_SHELL = "/bin/sh"
#: How much of a file is looked at, in bytes: as much as bash does.
_HEAD = 80


def as_script(params: SpawnParams, error: SpawnError) -> SpawnParams | None:
    """The parameters for a shell that runs the program. None: it is no script, or ``error`` says another thing.

    A program for another machine is none: it has zeros in its head.
    """
    if (error.step, error.errno) != ("exec", errno.ENOEXEC):
        return None
    path = os.fsdecode(SpecCompiler().compile(params).program)
    try:
        with open(os.path.join(params.cwd or "", path), "rb") as program:  # noqa: PTH118, PTH123 - as it was searched
            head = program.read(_HEAD)
    except OSError:
        return None
    if b"\0" in head:
        return None
    # The shell takes a name that begins with a dash for options.
    return msgspec.structs.replace(params, program=_SHELL, args=(f"./{path}" if path[0] == "-" else path, *params.args))
