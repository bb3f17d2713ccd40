"""The checks of spawn arguments that all systems share."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping

from ...errors import invalid_argument
from ...params import SpawnParams, Stream
from ...types import ChildKind

__all__ = ["STREAMS", "WORDS_OF_STREAMS", "check_env_names", "check_text", "default_program", "stdin_of"]

#: The standard streams, in the order of their descriptors.
STREAMS = ("stdin", "stdout", "stderr")
#: What each of them may be.
WORDS_OF_STREAMS = {
    "stdin": "'inherit', 'null', 'pipe' or a descriptor",
    "stdout": "'inherit', 'null', 'pipe' or a descriptor",
    "stderr": "'inherit', 'null', 'pipe', 'stdout' or a descriptor",
}


def default_program(params: SpawnParams) -> str:
    """This interpreter, for parameters that name no program and a kind of our own.

    Raises :class:`~treeguard.SpawnError` for all others that lack a program or a kind.
    """
    if not params.kind:
        raise invalid_argument("kind", "must not be empty", None)
    if params.program is not None:
        raise invalid_argument("program", "must not be empty", "", errno=errno.ENOENT)
    if params.kind == ChildKind.EXTERNAL.value:
        raise invalid_argument("program", "must be given for kind 'external'", None)
    if not sys.executable:
        raise invalid_argument("program", "must be given: this interpreter's path is not known", None)
    return sys.executable


def stdin_of(params: SpawnParams, added: Stream) -> Stream:
    """The standard input that a hook has for the child. Raises :class:`~treeguard.SpawnError` if the caller has too."""
    if params.stdin != "null":
        raise invalid_argument("stdin", "must be 'null': the child is given something else", params.program)
    return added


def check_text(text: str, filename: str, name: str, *which: object) -> None:
    """Refuses a NUL, which would end the string early. ``name`` and ``which`` make the argument in an error."""
    if "\0" in text:
        raise invalid_argument(name.format(*which), "holds a NUL character", filename)


def check_env_names(env: Mapping[str, str], program: str) -> None:
    """Refuses names that an environment variable cannot have."""
    for name in env:
        if not name or "=" in name:
            raise invalid_argument(f"env: the name {name!r}", "is empty or holds '='", program)
