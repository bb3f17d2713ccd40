"""The process's own managers, closed after each test that may have made some."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Iterator

import pytest

from treeguard import subprocess
from treeguard._blocking import manager as managers
from treeguard.types import ContainmentName

from . import mechanisms
from .judge import carriers

__all__ = ["asleep", "interrupted", "opened_managers", "own_managers", "sleeper"]


@pytest.fixture(autouse=True)
def own_managers() -> Iterator[None]:
    """They are made when they are first used, and would live as long as the process, with descriptors and threads."""
    yield
    managers._close_all()


@pytest.fixture
def opened_managers(own_managers: None) -> None:
    """All of them, before a test that looks at descriptors."""
    names: list[ContainmentName] = ["auto", *mechanisms.EVERY]
    for name in names:
        with subprocess.Popen(["true"], containment=name):
            pass


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
