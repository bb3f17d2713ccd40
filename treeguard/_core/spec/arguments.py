"""The checks of spawn arguments that all systems share."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Mapping

from ...errors import invalid_argument
from ...params import SpawnParams
from ...types import ChildKind

__all__ = ["STREAMS", "check_env_names", "check_kind", "check_text", "checked_signal", "program_of"]

#: The standard streams, in the order of their descriptors.
STREAMS = ("stdin", "stdout", "stderr")


def check_kind(params: SpawnParams) -> None:
    """Raises :class:`~treeguard.SpawnError` for an empty kind."""
    if not params.kind:
        raise invalid_argument("kind", "must not be empty", None)


def program_of(params: SpawnParams) -> str:
    """The program to run: this interpreter, if no program is named and the kind is one of our own."""
    if params.program is None:
        if params.kind == ChildKind.EXTERNAL.value:
            raise invalid_argument("program", "must be given for kind 'external'", None)
        if not sys.executable:
            raise invalid_argument("program", "must be given: this interpreter's path is not known", None)
        return sys.executable
    if not params.program:
        raise invalid_argument("program", "must not be empty", "", errno=errno.ENOENT)
    return params.program


def check_text(text: str, filename: str, name: str, *which: object) -> None:
    """Refuses a NUL, which would end the string early. ``name`` and ``which`` make the argument in an error."""
    if "\0" in text:
        raise invalid_argument(name.format(*which), "holds a NUL character", filename)


def check_env_names(env: Mapping[str, str], program: str) -> None:
    """Refuses names that an environment variable cannot have."""
    for name in env:
        if not name or "=" in name:
            raise invalid_argument(f"env: the name {name!r}", "is empty or holds '='", program)


def checked_signal(number: object) -> int:
    """The number of a signal. Raises ValueError for what is none, and for 0, which would send nothing."""
    # Real-time signals are in no enumeration, and CTRL_C_EVENT and CTRL_BREAK_EVENT of Windows in no set.
    if isinstance(number, int) and not isinstance(number, bool):
        if number in signal.valid_signals():
            return int(number)
        with contextlib.suppress(ValueError):
            return int(signal.Signals(number))
    raise ValueError(f"number must be that of a signal, not {number!r}")
