"""System calls that do not exist or are forbidden: a filter answers them as old kernels and containers do.

    python -m tests.support.seccomp ERRNO CALL[,CALL…] PROGRAM [ARGUMENT…]

It cannot be taken back, and whatever is started inherits it: for processes of their own (:mod:`tests.support.apart`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Collection, Iterable
from typing import NamedTuple

__all__ = ["CALLS", "LANDLOCK", "SUPPORTED", "answers", "forbid", "notify"]

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_P_PIDFD, _PR_SET_CHILD_SUBREAPER, _CLONE_PIDFD, _SIGCHLD = 3, 36, 0x1000, 17

#: ``AUDIT_ARCH_*`` of the machines whose numbers are known here.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ARCH = _ARCHITECTURES.get(platform.machine(), 0)

SUPPORTED = bool(_ARCH)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Call(NamedTuple):
    """A system call. With ``code`` only where its first argument is, or has the bits of, ``value``."""

    x86_64: int
    aarch64: int
    #: Arguments that have no effect. Without a filter the call fails with another errno than the filter gives.
    attempt: tuple[int, ...]
    code: int | None = None
    value: int = 0

    @property
    def number(self) -> int:
        """On this machine."""
        return self.aarch64 if platform.machine() == "aarch64" else self.x86_64


# Classic BPF (linux/filter.h) and what it works on (struct seccomp_data: nr, arch, instruction pointer, arguments).
_LOAD, _EQUAL, _BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_NR, _ARCH_AT, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERRNO, _NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8

CALLS: dict[str, Call] = {
    "clone3": Call(435, 435, (0, 0)),
    "clone_pidfd": Call(56, 220, (_CLONE_PIDFD | 0x00010000, 0, 0, 0, 0), _BITS, _CLONE_PIDFD),
    "pidfd_open": Call(434, 434, (-1, 0)),
    "pidfd_send_signal": Call(424, 424, (-1, 0, 0, 0)),
    "close_range": Call(436, 436, (1, 0, 0)),
    "waitid": Call(247, 95, (_P_PIDFD, -1, 0, 4, 0), _EQUAL, _P_PIDFD),
    "memfd_create": Call(319, 279, (0, 0)),
    "subreaper": Call(157, 167, (_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), _EQUAL, _PR_SET_CHILD_SUBREAPER),
}
#: What only isolation takes.
LANDLOCK: dict[str, Call] = {
    "landlock_create_ruleset": Call(444, 444, (0, 0, 1)),
    "landlock_restrict_self": Call(446, 446, (-1, 0)),
}
_KNOWN = {**CALLS, **LANDLOCK}


def _instruction(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, k)


def _rule(call: Call, error: int) -> bytes:
    """Expects the number loaded, and leaves it so for the next rule."""
    deny = _instruction(_RETURN, _ERRNO | error)
    if call.code is None:
        return _instruction(_EQUAL, call.number, 0, 1) + deny
    judged = _instruction(_LOAD, _FIRST_ARGUMENT) + _instruction(call.code, call.value, 0, 1) + deny
    return _instruction(_EQUAL, call.number, 0, 4) + judged + _instruction(_RETURN, _ALLOW)


def _program(names: Iterable[str], error: int) -> bytes:
    allow = _instruction(_RETURN, _ALLOW)
    ours = _instruction(_LOAD, _ARCH_AT) + _instruction(_EQUAL, _ARCH, 1, 0) + allow + _instruction(_LOAD, _NR)
    return ours + b"".join(_rule(_KNOWN[name], error) for name in names) + allow


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _prctl(option: int, *arguments: object) -> None:
    if _libc.prctl(option, *arguments) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def forbid(names: Iterable[str], error: int) -> None:
    """From now on these calls fail with ``error`` in this process, which has one thread, and in all that it starts."""
    program = _program(names, error)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Filter(len(program) // 8, program)))


def notify(numbers: Iterable[int]) -> int:
    """From now on somebody is asked before each of these calls, in this process and in all that it starts.

    Returns the listener's descriptor (seccomp_unotify(2)). Raises OSError where there is no such filter.
    """
    asked = b"".join(_instruction(_EQUAL, number, 0, 1) + _instruction(_RETURN, _NOTIFY) for number in numbers)
    allow = _instruction(_RETURN, _ALLOW)
    ours = _instruction(_LOAD, _ARCH_AT) + _instruction(_EQUAL, _ARCH, 1, 0) + allow + _instruction(_LOAD, _NR)
    program = ours + asked + allow
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    filtering = ctypes.byref(_Filter(len(program) // 8, program))
    number = ctypes.c_long(_SECCOMP[platform.machine()])
    listener = int(_libc.syscall(number, ctypes.c_long(_SET_MODE_FILTER), ctypes.c_long(_NEW_LISTENER), filtering))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def answers(names: Collection[str] = tuple(CALLS)) -> dict[str, str]:
    """What the system says to each call, made in a way that comes to nothing: the name of an errno."""
    found = {}
    for name in names:
        arguments = [ctypes.c_long(argument) for argument in CALLS[name].attempt]
        ctypes.set_errno(0)
        result = _libc.syscall(ctypes.c_long(CALLS[name].number), *arguments)
        found[name] = "OK" if result >= 0 else errno.errorcode[ctypes.get_errno()]
    return found


def main() -> None:
    """Runs a program under a filter."""
    error, names, *command = sys.argv[1:]
    forbid(names.split(","), getattr(errno, error))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
