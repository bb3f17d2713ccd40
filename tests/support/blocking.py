"""The process's own managers, opened before a test and closed after the tests of a module."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Iterator

import pytest

from treeguard import subprocess
from treeguard._blocking import manager as managers
from treeguard.types import ContainmentName

from . import mechanisms
from .judge import carriers

__all__ = ["asleep", "interrupted", "own_managers", "sleeper"]


@pytest.fixture(scope="module", autouse=True)
def own_managers() -> Iterator[None]:
    """They live as long as the process, with descriptors and threads: they come before what a test looks at."""
    asked: list[ContainmentName] = [*mechanisms.EVERY, "auto"]
    for containment in asked:
        subprocess.Popen(["true"], containment=containment).wait()
    # A manager starts this one when it is first used in another thread than the main one.
    thread = threading.Thread(target=lambda: subprocess.run(["true"], containment="process_group"))
    thread.start()
    thread.join()
    yield
    managers._close_all()


@contextlib.contextmanager
def interrupted(after: float) -> Iterator[None]:
    """Raises KeyboardInterrupt in the block after so many seconds, as Ctrl-C does, and takes it at its end."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def sleeper() -> str:
    """A command that sleeps for a minute, and that nobody else runs."""
    return f"sleep 60.{random.randrange(10**9):09}"


def asleep(command: str) -> list[int]:
    """The processes that run such a command, or have it in their command line."""
    return carriers(command.split()[1])
