"""What ``treeguard run`` was given by whoever started it, and hands on to its command as it is.

Three signals are always at their default in the command. The interpreter ignores SIGPIPE and SIGXFSZ when it starts,
and nothing tells whether they were ignored before. An ignored SIGCHLD lets the kernel reap a process's children, and
POSIX leaves it open whether it stays ignored.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["drop_coerced_locale", "extra_descriptors", "hold_standard_streams", "ignored_signals"]

#: So many descriptors are looked at where they are not listed.
_MANY = 65536
_NOT_KEPT = frozenset({signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD})


def hold_standard_streams() -> None:
    """Opens the null device for each standard stream that is closed.

    A closed one would be the number of the next descriptor that is opened, and the command would inherit that.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is the one asked for, since those below are open by now.
            try:
                os.open(os.devnull, os.O_RDWR)
            except OSError:
                # Neither read nor written with success: that is what a closed one would be.
                os.open("/", os.O_RDONLY)


def extra_descriptors() -> tuple[int, ...]:
    """Descriptors above 2 that would survive an exec. The interpreter's own, and ours, would not."""
    try:
        listed = sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:  # no /proc; numbers above that are rare
        listed = list(range(3, min(os.sysconf("SC_OPEN_MAX"), _MANY)))
    return tuple(fd for fd in listed if fd > 2 and _survives_exec(fd))


def _survives_exec(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        # The listing's own.
        return False


def ignored_signals() -> tuple[int, ...]:
    """Signals that were ignored when the interpreter started, but for the three."""
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
