"""What a child of the standard library's inherits: ignored signals, and descriptors with ``close_fds=False``."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signal import getsignal
else:
    # Without the conversion to an enumeration, which takes ten times as long.
    from _signal import getsignal

__all__ = ["ignored_signals", "inheritable_fds"]

#: Nobody can ignore these, or a guard depends on them.
_NEVER = frozenset(getattr(signal, name) for name in ("SIGKILL", "SIGSTOP", "SIGCHLD") if hasattr(signal, name))
#: What Python itself ignores, and ``restore_signals`` gives back to a child.
_RESTORED = frozenset(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if hasattr(signal, name))
_NUMBERS = tuple(sorted(int(number) for number in signal.valid_signals() - _NEVER))
_IGNORE = int(signal.SIG_IGN)
#: How many descriptors the C runtime of Windows has. It cannot list them.
_MOST = 8192


#: The handlers that were seen last, and what is ignored then.
_seen: dict[bool, tuple[list[Any], tuple[int, ...]]] = {}


def ignored_signals(*, restore: bool) -> tuple[int, ...]:
    """Returns the signals that this process ignores. ``restore``: but for those that Python itself has it ignore."""
    handlers = [*map(getsignal, _NUMBERS)]
    # A comparison as a whole takes a fraction of the time of a look at each.
    seen = _seen.get(restore)
    if seen is None or seen[0] != handlers:
        skipped = _RESTORED if restore else ()
        ignored = (number for number, handler in zip(_NUMBERS, handlers, strict=True) if handler == _IGNORE)
        seen = _seen[restore] = handlers, tuple(number for number in ignored if number not in skipped)
    return seen[1]


def inheritable_fds() -> tuple[int, ...]:
    """Returns the inheritable descriptors of this process, except the standard streams. Looks at every open one.

    Another thread may open an inheritable descriptor at any time, so the list may be out of date.
    """
    fds = range(_MOST) if sys.platform == "win32" else map(int, os.listdir("/dev/fd"))  # noqa: PTH208 - numbers
    return tuple(fd for fd in fds if fd > 2 and _is_inheritable(fd))


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the descriptor of the listing itself
        return False
