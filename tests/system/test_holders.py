"""Who holds a pipe, as ``/proc`` shows it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from treeguard._core.inspection.holders import end_holders
from treeguard._core.inspection.left import holds, pipe_identity

from ..support.judge import look
from ..support.patience import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def name_of(pid: int) -> str:
    seen = look(pid)
    return "" if seen is None else seen.name


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_process_that_is_being_started_is_no_holder(pipe: tuple[int, int]) -> None:
    """Before its exec it has copies of all that its parent has open. One that was given the pipe keeps it, and is."""
    identity = {pipe_identity(pipe[0])}
    newborn = os.fork()
    if newborn == 0:
        try:
            os.setsid()
            signal.alarm(60)
            signal.pause()
        finally:
            os._exit(0)
    with subprocess.Popen(["sleep", "1000"], stdout=pipe[1], start_new_session=True) as holder:
        try:
            wait_until(lambda: (seen := look(newborn)) is not None and seen.session == newborn, "it has a session")
            wait_until(
                lambda: (seen := look(holder.pid)) is not None and seen.name == "sleep", "it has got to its exec"
            )
            assert (holds(newborn, identity), holds(holder.pid, identity)) == (True, True)
            assert (holds(newborn, identity, for_good=True), holds(holder.pid, identity, for_good=True)) == (
                False,
                True,
            )
            assert [(each.pid, each.name) for each in end_holders(identity, 0)] == [(holder.pid, "sleep")]
            assert holder.wait(20) == -signal.SIGKILL
            seen = look(newborn)
            assert seen is not None
            assert seen.state != "Z"
        finally:
            holder.kill()
            os.kill(newborn, signal.SIGKILL)
            os.waitpid(newborn, 0)


def test_a_server_that_was_handed_the_pipe_lives_on(pipe: tuple[int, int]) -> None:
    """It began before the tree did. It is named all the same."""
    with subprocess.Popen(["sleep", "1000"], stdout=pipe[1], start_new_session=True) as server:
        try:
            wait_until(
                lambda: (seen := look(server.pid)) is not None and seen.name == "sleep", "it has got to its exec"
            )
            seen = look(server.pid)
            assert seen is not None
            assert [each.pid for each in end_holders({pipe_identity(pipe[0])}, seen.started + 1)] == [server.pid]
            assert server.poll() is None
        finally:
            server.kill()
