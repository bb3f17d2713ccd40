"""The state that ``treeguard run`` inherits and passes on to its command unchanged.

An ignored SIGCHLD is not among the signals here: the guard needs it, so it is ignored in the command alone
(``command_params``).

The interpreter ignores SIGPIPE and SIGXFSZ when it starts, and nothing shows whether they were ignored before. Only a
shell hands on what it ignores itself (``trap '' PIPE``), so they stay ignored where the parent is a shell that does.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = [
    "drop_coerced_locale",
    "drop_own_handle",
    "extra_descriptors",
    "hold_standard_streams",
    "ignored_signals",
]

#: Set by systemd from version 258 on.
_HANDLE = "LISTEN_PIDFDID"
#: How many descriptors to check where the system does not list them.
_MANY = 65536
_HIDDEN = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
_NOT_KEPT = _HIDDEN | {signal.SIGCHLD}
_SHELLS = frozenset({"ash", "bash", "dash", "ksh", "ksh93", "mksh", "sh", "yash", "zsh"})


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
    """The signals that were ignored when the interpreter started."""
    seen = (number for number in signal.valid_signals() - _NOT_KEPT if signal.getsignal(number) == signal.SIG_IGN)
    return tuple(sorted(int(number) for number in (*seen, *_ignored_by_shell())))


def _ignored_by_shell() -> list[int]:
    """Those that the interpreter hides, if the parent is a shell that ignores them."""
    try:
        status = Path(f"/proc/{os.getppid()}/status").read_text("utf-8", "replace")
    except OSError:
        return []
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if fields.get("Name") not in _SHELLS:
        return []
    ignored = int(fields.get("SigIgn", "0"), 16)
    return [number for number in _HIDDEN if ignored >> (number - 1) & 1]


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


def drop_own_handle() -> None:
    """Drops ``LISTEN_PIDFDID`` where it names this process by the inode of its pidfd.

    The command has another one, and nobody knows it before it has started. sd_listen_fds(3) compares it only where it
    is set, and always compares ``LISTEN_PID``, which the command gets.
    """
    named = os.environ.get(_HANDLE)
    if named is None:
        return
    try:
        fd = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):
        return
    try:
        if named == str(os.fstat(fd).st_ino):
            del os.environ[_HANDLE]
    finally:
        os.close(fd)
