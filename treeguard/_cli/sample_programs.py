"""The processes that ``demo`` and ``doctor`` look at.

A bare interpreter runs this file as a script, so it imports very little: ``sample_programs.py MARKER NAME [PART…]``. A
part is a descendant to start (``worker``, ``session``, ``daemon``, ``stopped``), or a habit of the root itself
(``deaf``, ``cooperative=ASKED,ANSWER,NOTE``). A process takes its name only after it has done everything else.
"""

from __future__ import annotations

import os
import signal
import sys

#: How many seconds a forgotten actor lives before it exits by itself.
LIFE = 60

# The shell blocks on a pipe whose other end it also holds. sh is executed, since only an exec empties an environment.
_DAEMON = "printf daemon >/proc/$$/comm; read -r _"
_COMM = "/proc/self/comm"
_PR_SET_NAME = 15


def _become(name: str) -> None:
    try:
        with open(_COMM, "w", encoding="ascii") as comm:  # noqa: PTH123 - importing pathlib takes longest
            comm.write(name)
    except OSError:
        import ctypes  # noqa: PLC0415 - slow to import, and needed only where /proc is read-only

        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _stay() -> None:
    signal.alarm(LIFE)
    while True:
        signal.pause()


def _worker(_marker: str) -> None:
    _become("worker")


def _session(_marker: str) -> None:
    os.setsid()
    _become("session")


def _stopped(_marker: str) -> None:
    _become("stopped")
    os.kill(os.getpid(), signal.SIGSTOP)


def _daemon(marker: str) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    if not os.access(_COMM, os.W_OK):
        os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, marker, "daemon"], {})
    # An alarm survives an exec.
    signal.alarm(LIFE)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.set_inheritable(writing, True)
    os.execve("/bin/sh", ["sh", "-c", _DAEMON, marker], {})


_DESCENDANTS = {"worker": _worker, "session": _session, "stopped": _stopped, "daemon": _daemon}


def _start(part: str, marker: str) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _DESCENDANTS[part](marker)
            _stay()
        finally:
            os._exit(1)
    if part == "daemon":
        os.waitpid(pid, 0)
    return pid


def _cooperate(asked: int, answer: int, note: int, descendants: list[int]) -> None:
    """Waits for the request, saves, acknowledges, ends its own descendants, and exits."""
    import json  # noqa: PLC0415 - other actors do not need it

    request = json.loads(os.read(asked, 4096))
    os.write(note, f"saved: {request['reason']}".encode())
    os.write(answer, b'{"acknowledged":true}')
    for pid in descendants:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def main(marker: str, name: str, *parts: str) -> None:
    """Starts the descendants, takes the name, and follows its habits."""
    descendants = [_start(part, marker) for part in parts if part in _DESCENDANTS]
    if "deaf" in parts:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _become(name)
    for part in parts:
        habit, _, numbers = part.partition("=")
        if habit == "cooperative":
            asked, answer, note = map(int, numbers.split(","))
            return _cooperate(asked, answer, note, descendants)
    return _stay()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[2]}: {error}")
