"""The state that ``treeguard run`` inherits and passes on to its command unchanged.

Three signals always have their default action in the command. The interpreter ignores SIGPIPE and SIGXFSZ when it
starts, and nothing shows whether they were ignored before. An ignored SIGCHLD lets the kernel reap a process's
children, and POSIX leaves open whether it stays ignored.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["drop_coerced_locale", "extra_descriptors", "hold_standard_streams", "ignored_signals"]

#: How many descriptors to check where the system does not list them.
_MANY = 65536
_NOT_KEPT = frozenset({signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD})


def hold_standard_streams() -> None:
    """Opens the null device for each standard stream that is closed.

    Otherwise the next descriptor that is opened would get its number, and the command would inherit it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # This gets the lowest free number, which is the wanted one, since those below are open by now.
            try:
                os.open(os.devnull, os.O_RDWR)
            except OSError:
                # A directory can be neither read nor written, like a closed stream.
                os.open("/", os.O_RDONLY)


def extra_descriptors() -> tuple[int, ...]:
    """The descriptors above 2 that survive an exec. Those of the interpreter and of treeguard do not."""
    try:
        listed = sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:  # there is no /proc; numbers above the limit are rare
        listed = list(range(3, min(os.sysconf("SC_OPEN_MAX"), _MANY)))
    return tuple(fd for fd in listed if fd > 2 and _survives_exec(fd))


def _survives_exec(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        # This is the descriptor that the listing itself used.
        return False


def ignored_signals() -> tuple[int, ...]:
    """The signals that were ignored when the interpreter started, except the three named above."""
    numbers = sorted(int(number) for number in signal.valid_signals() - _NOT_KEPT)
    return tuple(number for number in numbers if signal.getsignal(number) == signal.SIG_IGN)


def drop_coerced_locale() -> None:
    """Undoes PEP 538: in the C locale the interpreter sets ``LC_CTYPE`` for its children."""
    if "LC_CTYPE" not in os.environ:
        return
    try:
        given = Path("/proc/self/environ").read_bytes()
    except OSError:
        return
    if not any(entry.startswith(b"LC_CTYPE=") for entry in given.split(b"\0")):
        del os.environ["LC_CTYPE"]
