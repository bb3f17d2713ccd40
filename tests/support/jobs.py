"""A pseudo-terminal with a session on it: a program, or a real shell with job control."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from .patience import PATIENCE

PROMPT = "ready> "
SHELLS = [
    shell
    for shell in (
        ["bash", "--norc", "--noprofile", "--noediting", "-i"],
        ["dash", "-i"],
        # Without its line editor, and the mark for a line that has not ended.
        ["zsh", "--no-rcs", "--no-zle", "--no-prompt-sp", "-i"],
    )
    if shutil.which(shell[0]) is not None
] or [["sh", "-i"]]
#: How shells say that a job has been stopped, and that it goes on.
STOPPED = "Stopped|suspended"
_RUNNING = "Running|running|continued"
INTERRUPT, QUIT, SUSPEND = "\x03", "\x1c", "\x1a"


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class Session:
    """A terminal, and the session that runs on it."""

    def __init__(self, *command: str) -> None:
        self.master, slave = os.openpty()
        try:
            # A session leader without a terminal gets the one that it opens first.
            self.leader = subprocess.Popen(
                ["sh", "-c", 'exec "$@" <>"$TERMINAL" >&0 2>&1', "sh", *command],
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "TERMINAL": os.ttyname(slave),
                    "PYTHON": sys.executable,
                    "PS1": PROMPT,
                    "TERM": "dumb",
                    "HISTFILE": "",
                },
                start_new_session=True,
            )
            # Until the leader has opened it, it is ours that keeps the terminal from being hung up.
            eventually(lambda: self.foreground == self.leader.pid or self.leader.poll(), "no terminal")
        finally:
            os.close(slave)
        self._read = ""

    @property
    def foreground(self) -> int:
        return os.tcgetpgrp(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def see(self, pattern: str) -> re.Match[str]:
        """Reads until the pattern comes, and forgets all up to its end."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self._read)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} does not come, but {self._read!r}"
            self.look(0.1)
        self._read = self._read[found.end() :]
        return found

    def look(self, seconds: float = 0.0) -> None:
        """Reads what there is, or comes within so many seconds."""
        if select.select([self.master], [], [], seconds)[0]:
            self._read += os.read(self.master, 65536).decode()

    @property
    def unread(self) -> str:
        """What has been read and not looked for yet."""
        return self._read

    def others(self) -> list[psutil.Process]:
        """The processes of the session but for its leader."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.leader.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return [process for process in found if process.pid != self.leader.pid]

    def close(self) -> None:
        """Ends the session: first the jobs, as long as there is a shell to reap them."""
        deadline = time.monotonic() + PATIENCE
        while (others := self.others()) and time.monotonic() < deadline:
            for process in others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.005)
        self.leader.kill()
        self.leader.wait()
        self.hang_up()

    def hang_up(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


class Shell(Session):
    """A session led by an interactive shell."""

    def __init__(self, *command: str) -> None:
        super().__init__(*command)
        self.see(PROMPT)

    def start(self, line: str) -> int:
        """Types a line whose command tells its pid."""
        self.type(line + "\n")
        return int(self.see(r"\bat (\d+)\r\n")[1])

    def prompted(self) -> None:
        """The shell is back, and has the terminal."""
        self.see(PROMPT)
        assert self.foreground == self.leader.pid

    def status(self) -> int:
        """The exit status of the last job."""
        self.type("echo status=$?\n")
        status = int(self.see(r"status=(\d+)\r\n")[1])
        self.prompted()
        return status

    def foreground_job(self, root: int) -> None:
        """Types fg, and waits until the command has the terminal."""
        self.type("fg\n")
        eventually(lambda: self.foreground == root, "the command does not get the terminal")

    def until_job(self, word: str) -> None:
        """Waits until the shell says so of its job."""

        def says() -> bool:
            self.type("jobs\n")
            said = self.see(rf"({STOPPED}|{_RUNNING})[^\n]*\r\n")[1]
            self.prompted()
            return (re.fullmatch(STOPPED, said) is not None) == (word == "Stopped")

        eventually(says, f"the job is never {word}")
