"""The processes that ``demo`` looks at on Windows; see :mod:`treeguard._cli.sample_programs`.

A bare interpreter runs this file as a script: ``sample_programs_windows.py MARKER NAME [PART…]``. A part is a
descendant to start (``worker``, ``console``, ``breakaway``, ``daemon``), or a habit of the root itself (``deaf``,
``cooperative=…``).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

assert sys.platform == "win32"

#: How many seconds a forgotten actor lives before it exits by itself.
LIFE = 60


def _become(marker: str, name: str) -> None:
    """Shows that everything else is done, by an event that lives as long as this process."""
    assert name
    ctypes.windll.kernel32.CreateEventW(None, True, False, f"Local\\{marker}-{os.getpid()}")


def _start(marker: str, name: str, *parts: str, flags: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", __file__, marker, name, *parts]
    return subprocess.Popen(command, creationflags=flags, stdin=subprocess.DEVNULL)


def _worker(marker: str) -> subprocess.Popen[bytes]:
    return _start(marker, "worker")


def _console(marker: str) -> subprocess.Popen[bytes]:
    return _start(marker, "console", flags=subprocess.CREATE_NEW_CONSOLE)


def _breakaway(marker: str) -> subprocess.Popen[bytes]:
    try:
        return _start(marker, "breakaway", flags=subprocess.CREATE_BREAKAWAY_FROM_JOB)
    except PermissionError:
        return _start(marker, "breakaway", flags=subprocess.CREATE_NEW_PROCESS_GROUP)


def _daemon(marker: str) -> subprocess.Popen[bytes]:
    """Starts a daemon through a launcher that exits, so that the daemon has neither a parent nor a console."""
    launcher = _start(marker, "launcher", flags=subprocess.DETACHED_PROCESS)
    launcher.wait()
    return launcher


_DESCENDANTS = {"worker": _worker, "console": _console, "breakaway": _breakaway, "daemon": _daemon}


def _cooperate(numbers: str, descendants: list[subprocess.Popen[bytes]]) -> None:
    """Waits for the request, saves, acknowledges, ends its own descendants, and exits."""
    import json  # noqa: PLC0415 - other actors do not need it

    asked, answer, note = map(int, numbers.split(","))
    request = json.loads(os.read(asked, 4096))
    os.write(note, f"saved: {request['reason']}".encode())
    os.write(answer, b'{"acknowledged":true}')
    for process in descendants:
        process.terminate()
        process.wait()


def main(marker: str, name: str, *parts: str) -> None:
    """Starts the descendants, shows that it is in place, and follows its habits."""
    if name == "launcher":
        _start(marker, "daemon", flags=subprocess.DETACHED_PROCESS)
        return None
    descendants = [_DESCENDANTS[part](marker) for part in parts if part in _DESCENDANTS]
    if "deaf" in parts:
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    _become(marker, name)
    for part in parts:
        habit, _, numbers = part.partition("=")
        if habit == "cooperative":
            return _cooperate(numbers, descendants)
    time.sleep(LIFE)
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
