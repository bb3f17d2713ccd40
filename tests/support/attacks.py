"""What a process of a tree may do to its guard, or to its supervisor.

    python -m tests.support.attacks MARKER REPORT LIFE VICTIM ATTACKS

VICTIM is ``guard`` or ``supervisor``. ATTACKS is a list of JSON: each is tried once and told of in a line of JSON, and
after SIGUSR1 comes the next; the last one is tried over and over. The attacker stays for LIFE seconds at most.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["CGROUP", "EVERYONE", "LIMITED", "READING", "SIGNALS", "TERMINAL", "TRACING"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

#: x86-64 and the generic table.
_NUMBERS = {
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "ioprio_set": (251, 30),
    "pidfd_getfd": (438, 438),
}
_SI_QUEUE = -1
_PTRACE_ATTACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 16, 0x4206, 0x4207
_F_OWNER_TID, _F_OWNER_PID, _F_OWNER_PGRP = 0, 1, 2
_F_SETOWN_EX = 15
_PIDFD_THREAD, _SIGNAL_THREAD, _SIGNAL_GROUP = os.O_EXCL, 1, 4

_STOP = signal.SIGSTOP


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def _call(name: str, *arguments: object) -> int:
    number = _NUMBERS[name][platform.machine() == "aarch64"]
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *values), name)


def _ptrace(request: int, pid: int) -> None:
    _libc.ptrace.restype = ctypes.c_long
    _checked(_libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, None), "ptrace")


def _parent_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return int(text.rpartition(")")[2].split()[1])


# Signals.


def _queued(pid: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=iiiiii", _STOP, 0, _SI_QUEUE, 0, os.getpid(), os.getuid()), 128)


def _by_pidfd(pid: int, flags: int = 0, opened: int = 0) -> None:
    fd = os.pidfd_open(pid, opened)
    signal.pidfd_send_signal(fd, _STOP, None, flags)


def _by_sigio(owner: Callable[[int], object]) -> None:
    """The end of a pipe whose owner is signalled when there is something to be read."""
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    owner(fd)
    fcntl.fcntl(fd, fcntl.F_SETSIG, _STOP)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    theirs.send(b".")


def _own(kind: int, number: int) -> Callable[[int], object]:
    return lambda fd: _checked(_libc.fcntl(fd, _F_SETOWN_EX, struct.pack("=ii", kind, number)), "F_SETOWN_EX")


def _every_thread(pid: int) -> None:
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - numbers
        _call("tgkill", pid, int(task), _STOP)


def _by_a_stranger(pid: int) -> None:
    """An orphan in a session of its own, with nothing in its environment, does it."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.set_inheritable(theirs, True)
            os.execve("/bin/sh", ["sh", "-c", f"kill -STOP {pid} 2>/dev/null"], {})
        os._exit(0)
    os.wait()
    os.close(theirs)
    os.read(ours, 1)


def _by_terminal(pid: int) -> None:
    """The kernel stops a whole background group if one of its processes reads from the terminal. Any can join it."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    terminal = os.open("/dev/tty", os.O_RDWR)
    os.tcsetpgrp(terminal, os.getpgrp())
    if os.fork() == 0:
        os.setpgid(0, os.getpgid(pid))
        os.read(terminal, 1)
        os._exit(0)


#: Needs a terminal that attacker and victim share.
TERMINAL: dict[str, Callable[[int], object]] = {"terminal": _by_terminal}

#: Each stops its victim, where it works; the last ends it.
SIGNALS: dict[str, Callable[[int], object]] = {
    "kill": lambda pid: os.kill(pid, _STOP),
    "killpg": lambda pid: os.killpg(os.getpgid(pid), _STOP),
    "tkill": lambda pid: _call("tkill", pid, _STOP),
    "tgkill": lambda pid: _call("tgkill", pid, pid, _STOP),
    "every thread": _every_thread,
    "sigqueue": lambda pid: _call("rt_sigqueueinfo", pid, _STOP, _queued(pid)),
    "tgsigqueue": lambda pid: _call("rt_tgsigqueueinfo", pid, pid, _STOP, _queued(pid)),
    "pidfd": _by_pidfd,
    "pidfd of a thread": lambda pid: _by_pidfd(pid, 0, _PIDFD_THREAD),
    "pidfd to a thread": lambda pid: _by_pidfd(pid, _SIGNAL_THREAD),
    "pidfd to the group": lambda pid: _by_pidfd(os.getpgid(pid), _SIGNAL_GROUP),
    "SIGIO": lambda pid: _by_sigio(lambda fd: fcntl.fcntl(fd, fcntl.F_SETOWN, pid)),
    "SIGIO to the group": lambda pid: _by_sigio(_own(_F_OWNER_PGRP, os.getpgid(pid))),
    "SIGIO to a thread": lambda pid: _by_sigio(_own(_F_OWNER_TID, pid)),
    "SIGIO to a process": lambda pid: _by_sigio(_own(_F_OWNER_PID, pid)),
    "a stranger": _by_a_stranger,
    "SIGKILL": lambda pid: os.kill(pid, signal.SIGKILL),
}


def _seized(pid: int) -> None:
    _ptrace(_PTRACE_SEIZE, pid)
    _ptrace(_PTRACE_INTERRUPT, pid)


#: Each stops its victim as a debugger does, where it works.
TRACING: dict[str, Callable[[int], object]] = {
    "ptrace seize": _seized,
    "ptrace attach": lambda pid: _ptrace(_PTRACE_ATTACH, pid),
}


# Looking into it, and taking what it has.


def _vectors() -> tuple[object, object]:
    room = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(room), 8)
    return here, (ctypes.c_size_t * 2)(0x10000, 8)


def _memory(name: str, pid: int) -> None:
    here, there = _vectors()
    try:
        _call(name, pid, here, 1, there, 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:  # nothing is mapped there; that is known only to who may look
            raise


def _opened(pid: int, name: str, how: int = os.O_RDONLY) -> None:
    os.close(os.open(f"/proc/{pid}/{name}", how))


def _a_descriptor(pid: int) -> int:
    return min(map(int, os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208


#: What a debugger may do, and the files of ``/proc`` that ask for the same right. CAP_PERFMON gives it for some of
#: them, too.
READING: dict[str, Callable[[int], object]] = {
    "mem": lambda pid: _opened(pid, "mem", os.O_RDWR),
    **({} if os.geteuid() == 0 else {"environ": lambda pid: _opened(pid, "environ")}),
    "a descriptor": lambda pid: os.readlink(f"/proc/{pid}/fd/{_a_descriptor(pid)}"),  # noqa: PTH115
    "cwd": lambda pid: os.readlink(f"/proc/{pid}/cwd"),  # noqa: PTH115
    "root": lambda pid: os.listdir(f"/proc/{pid}/root/"),  # noqa: PTH208
    "exe": lambda pid: _opened(pid, "exe"),
    "pidfd_getfd": lambda pid: _call("pidfd_getfd", os.pidfd_open(pid), _a_descriptor(pid), 0),
    "process_vm_readv": lambda pid: _memory("process_vm_readv", pid),
    "process_vm_writev": lambda pid: _memory("process_vm_writev", pid),
    "kcmp": lambda pid: _call("kcmp", os.getpid(), pid, 1, 0, 0),
}


# Neither signals nor tracing: it works with isolation too.


def _worse_oom_score(pid: int) -> None:
    file = Path(f"/proc/{pid}/oom_score_adj")
    file.write_text(str(min(1000, int(file.read_text("ascii")) + 1)), "ascii")


LIMITED: dict[str, Callable[[int], object]] = {
    "prlimit": lambda pid: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0)),
    "setpriority": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
    "sched_setscheduler": lambda pid: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
    "sched_setaffinity": lambda pid: os.sched_setaffinity(pid, {min(os.sched_getaffinity(pid))}),
    "ioprio_set": lambda pid: _call("ioprio_set", 1, pid, 3 << 13),
    "oom_score_adj": _worse_oom_score,
}


def _its_cgroup(pid: int) -> None:
    """Steps out of the cgroup that it is in together with its victim, and lets the kernel kill what is left there."""
    from treeguard._core.cgroup.cgroups import own_cgroup

    directory = own_cgroup()
    Path(directory.parent, "cgroup.procs").write_text("0", "ascii")
    Path(directory, "cgroup.kill").write_text("1", "ascii")


#: It takes a cgroup that is the supervisor's alone.
CGROUP: dict[str, Callable[[int], object]] = {"its cgroup": _its_cgroup}

#: It signals every process, so it runs only in a namespace of its own.
EVERYONE: dict[str, Callable[[int], object]] = {"everyone": lambda _: os.kill(-1, _STOP)}

_ATTACKS = {**SIGNALS, **TRACING, **READING, **LIMITED, **TERMINAL, **CGROUP, **EVERYONE}


def _done(name: str, pid: int) -> str:
    try:
        _ATTACKS[name](pid)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "OK"


def main() -> None:
    """Attacks, tells, and goes on."""
    report, life, victim, names = int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.alarm(int(life))
    guard = os.getppid()
    pid = guard if victim == "guard" else _parent_of(guard)
    for name in names:
        said = _done(name, pid)
        os.write(report, (json.dumps({"name": name, "said": said, "victim": pid, "guard": guard}) + "\n").encode())
        signal.sigwait({signal.SIGUSR1})
    while True:
        _done(names[-1], pid)


if __name__ == "__main__":
    main()
