"""A terminal of a ``Popen``, and commands that are run at one, without an event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import PIPE, SpawnError, TimeoutExpired, run, subprocess
from treeguard._core import terminals
from treeguard._core.native import Descriptor
from treeguard.errors import NotOwner
from treeguard.pty import BlockingPty
from treeguard.testing import scripted
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.blocking import asleep, interrupted, opened_managers, own_managers, sleeper
from ..support.judge import descriptors, look
from ..support.patience import PATIENCE, wait_until
from ..support.terminals import BASH, PROMPT

__all__ = ["opened_managers", "own_managers"]

pytestmark = pytest.mark.usefixtures("opened_managers")


def pty_of(process: subprocess.Popen[Any]) -> BlockingPty:
    assert process.pty is not None
    return process.pty


def bash(mechanism: Mechanism) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PS1": PROMPT.decode(), "TERM": "dumb"}
    process: subprocess.Popen[bytes] = subprocess.Popen(BASH, pty=True, env=env, containment=mechanism)
    pty_of(process).readuntil(PROMPT, PATIENCE)
    return process


def answer(process: subprocess.Popen[bytes], command: str) -> bytes:
    """What the shell writes until its next prompt, without the echo."""
    pty_of(process).write(command.encode() + b"\n", PATIENCE)
    said = pty_of(process).readuntil(PROMPT, PATIENCE)
    return said.removeprefix(command.encode() + b"\r\n").removesuffix(PROMPT)


def gone(pid: int) -> bool:
    seen = look(pid)
    return seen is None or seen.state == "Z"


def test_a_shell_has_job_control(mechanism: Mechanism) -> None:
    """Ctrl-C ends its foreground command and not the shell; the size is seen, and Ctrl-D ends it."""
    with bash(mechanism) as process:
        sleeping = sleeper()
        pty_of(process).write(sleeping.encode() + b"\n")
        wait_until(lambda: asleep(sleeping) and foreground(process) == asleep(sleeping)[0], "it is in the foreground")
        pty_of(process).write(b"\x03")
        pty_of(process).readuntil(PROMPT, PATIENCE)
        assert answer(process, "echo $?") == b"130\r\n"
        assert answer(process, "tty") == pty_of(process).device.encode() + b"\r\n"
        pty_of(process).resize(50, 132)
        assert answer(process, "stty size") == b"50 132\r\n"
        assert pty_of(process).size == (50, 132)
        pty_of(process).write_eof()
        assert process.wait(PATIENCE) == 0
    assert pty_of(process).closed


def foreground(process: subprocess.Popen[bytes]) -> int:
    with suppress(OSError):
        return os.tcgetpgrp(pty_of(process).fileno())
    return 0


def test_what_asks_for_a_password_is_answered(mechanism: Mechanism) -> None:
    """The rest can be read line by line."""
    script = "import getpass; print(len(getpass.getpass('word: '))); print('last')"
    with subprocess.Popen([sys.executable, "-c", script], pty=True, containment=mechanism) as process:
        pty_of(process).readuntil(b"word: ", PATIENCE)
        pty_of(process).write(b"secret\n")
        assert list(pty_of(process)) == [b"\r\n", b"6\r\n", b"last\r\n"]
        assert pty_of(process).read() == b""
        with pytest.raises(asyncio.IncompleteReadError):
            pty_of(process).readuntil(b"more")
        assert process.wait(PATIENCE) == 0


def test_a_read_that_waits_too_long_loses_nothing() -> None:
    """TimeoutError, and the next call has it."""
    with subprocess.Popen(["sh", "-c", "printf some; read -r x"], pty=True) as process:
        pty = pty_of(process)
        with pytest.raises(TimeoutError, match=r"nothing more was written to the terminal within 0.05 s"):
            pty.readuntil(b"more", 0.05)
        with pytest.raises(TimeoutError):
            pty.readline(0.05)
        with pytest.raises(TimeoutError):
            pty.read(-1, 0.05)
        assert pty.read(2) == b"so"
        assert pty.read(10) == b"me"
        with pytest.raises(ValueError, match="separator"):
            pty.readuntil(b"")


def test_typing_is_held_up_by_nobody() -> None:
    """What is written meanwhile is read. A program that does not read holds it up as long as it is told."""
    lines = b"".join(b"%099d\n" % number for number in range(4000))
    # The kernel drops an echo that there is no room for.
    with subprocess.Popen("stty -echo; echo ready; cat", shell=True, pty=True) as process:
        pty_of(process).readuntil(b"ready\r\n", PATIENCE)
        pty_of(process).write(lines, PATIENCE)
        pty_of(process).write_eof(timeout=PATIENCE)
        assert len(pty_of(process).read(timeout=PATIENCE)) == 101 * 4000
    with subprocess.Popen(["sleep", "1000"], pty=True) as process:
        with pytest.raises(TimeoutError, match="could not be typed"):
            pty_of(process).write(lines * 10, 0.05)
        process.kill()
        # What is typed after the end goes nowhere.
        process.wait(PATIENCE)
        pty_of(process).write(lines * 10, PATIENCE)


def test_a_tree_that_is_killed_ends_the_read(mechanism: Mechanism) -> None:
    """From another thread."""
    with subprocess.Popen(["sh", "-c", "echo ready; sleep 1000"], pty=True, containment=mechanism) as process:
        assert pty_of(process).readline(PATIENCE) == b"ready\r\n"
        timer = threading.Timer(0.05, process.kill)
        timer.start()
        assert pty_of(process).read(timeout=PATIENCE) == b""
        timer.join()


def test_a_terminal_that_nobody_has_open_may_be_opened_again(mechanism: Mechanism) -> None:
    """With ``Popen``, and with ``run``, whose wait goes on."""
    script = "exec </dev/null >/dev/null 2>&1; sleep 0.1; echo hi >/dev/tty; sleep 0.1; echo ho >/dev/tty"
    with subprocess.Popen(["sh", "-c", script], pty=True, containment=mechanism) as process:
        assert pty_of(process).read(timeout=PATIENCE) == b"hi\r\nho\r\n"
    done = run(["sh", "-c", script], pty=True, capture_output=True, timeout=PATIENCE, containment=mechanism)
    assert done.stdout == b"hi\r\nho\r\n"


def test_leaving_the_block_hangs_up(mechanism: Mechanism) -> None:
    """A root that waits for what is typed is not waited for in vain."""
    with subprocess.Popen("cat", pty=True, containment=mechanism) as process:
        pass
    assert process.returncode == -signal.SIGHUP


# Communicate.


def test_communicate_types_and_reads(mechanism: Mechanism) -> None:
    """The input and its end; pipes keep their meaning, and text is text."""
    with subprocess.Popen("cat", pty=True, containment=mechanism) as process:
        assert process.communicate(b"line\nrest", timeout=PATIENCE) == (b"line\r\nrestline\r\nrest", None)
        assert process.returncode == 0
    with subprocess.Popen("cat; echo é", shell=True, pty=True, encoding="utf-8") as text:
        assert text.communicate("ü\n") == ("ü\nü\né\n", None)
    script = "cat; test -t 1; echo $? >&2; stty size </dev/tty >/dev/tty"
    with subprocess.Popen(script, shell=True, pty=True, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.communicate(b"piped") == (b"piped", b"1\n")


def test_communicate_goes_on_after_a_timeout() -> None:
    """And loses nothing."""
    with subprocess.Popen("echo so far; sleep 0.3; echo more", shell=True, pty=True) as process:
        with pytest.raises(subprocess.TimeoutExpired) as late:
            process.communicate(timeout=0.1)
        assert late.value.output in (None, b"so far\r\n")
        assert process.communicate(timeout=PATIENCE) == (b"so far\r\nmore\r\n", None)


# Commands.


def test_a_command_runs_at_a_terminal(mechanism: Mechanism) -> None:
    """Its output is what it writes there; text has plain ends of lines. Errors may have a pipe of their own."""
    done = run("tty; echo e >&2", shell=True, pty=True, capture_output=True, text=True, containment=mechanism)
    assert done.stdout.startswith("/dev/pts/")
    assert done.stdout.endswith("\ne\n")
    assert done.stderr is None
    done = run("echo o; echo e >&2", shell=True, pty=True, stdout=PIPE, stderr=PIPE, containment=mechanism)
    assert (done.stdout, done.stderr) == (b"o\r\n", b"e\n")
    done = run("stty size; cat", shell=True, pty=(5, 6), stdout=PIPE, input="word", text=True, containment=mechanism)
    assert done.stdout in ("word5 6\nword", "5 6\nwordword")
    done = run("test -t 0", shell=True, pty=True, stdin=subprocess.DEVNULL, containment=mechanism)
    assert (done.returncode, done.stdout) == (1, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes privileges")
def test_a_root_of_another_user_owns_its_terminal(mechanism: Mechanism) -> None:
    """By name or number."""
    for user in (65534, "nobody"):
        script = 'stat -c %u "$(tty)"; echo again >"$(tty)"'
        done = run(["sh", "-c", script], user=user, group=65534, pty=True, stdout=PIPE, containment=mechanism)
        assert done.stdout == b"65534\r\nagain\r\n"


def test_the_other_functions_have_terminals_too() -> None:
    """What nobody asked for is read and dropped."""
    assert subprocess.call("yes | head -c 300000; exit 3", shell=True, pty=True) == 3
    assert subprocess.check_call(["test", "-t", "0"], pty=True) == 0
    assert subprocess.check_output(["stty", "size"], pty=True) == b"24 80\r\n"


def test_limits_of_a_command_at_a_terminal() -> None:
    """The first or the last bytes, the deadline, and silence."""
    done = run("echo first; yes | head -c 100000", shell=True, pty=True, stdout=PIPE, max_output=5)
    assert (done.stdout, done.dropped[0] > 100000) == (b"first", True)
    done = run("yes | head -n 100000; echo last", shell=True, pty=True, stdout=PIPE, max_output=6, keep="tail")
    assert done.stdout == b"last\r\n"
    with pytest.raises(TimeoutExpired) as late:
        run("echo hi; cat", shell=True, pty=True, capture_output=True, timeout=0.2)
    assert late.value.output == b"hi\r\n"
    with pytest.raises(TimeoutExpired, match="wrote nothing"):
        run("echo hi; cat", shell=True, pty=True, idle_timeout=0.1, timeout=PATIENCE)


def test_a_descendant_that_holds_the_terminal_holds_nobody(mechanism: Mechanism, adoption: Adoption) -> None:
    """It is named, it is gone, and what was written is there. A flood is no different."""
    began = time.monotonic()
    for escapee, name in (("setsid sleep 1000", "sleep"), ("setsid yes", "yes")):
        script = f"echo hi; {escapee} & sleep 0.1"
        done = run(script, shell=True, pty=True, stdout=PIPE, max_output=4, timeout=PATIENCE, containment=mechanism)
        assert done.stdout == b"hi\r\n"
        assert [(left.name, left.held_output) for left in done.left] == [(name, True)]
        wait_until(lambda pid=done.left[0].pid: gone(pid), "it is gone")  # type: ignore[misc]
    assert time.monotonic() - began < PATIENCE


def test_commands_in_several_threads_at_once() -> None:
    """Each has the output of its own terminal."""
    wrong: list[Any] = []

    def several(number: int) -> None:
        for _ in range(5):
            done = run(f"echo {number}; head -c 50000 /dev/zero", shell=True, pty=True, stdout=PIPE, timeout=PATIENCE)
            if done.stdout != b"%d\r\n" % number + bytes(50000):
                wrong.append(done)

    threads = [threading.Thread(target=several, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_ctrl_c_ends_the_tree() -> None:
    """Whether a command waits or a read: nothing is left."""
    sleeping = sleeper()
    with interrupted(0.1):
        run(f"setsid {sleeping} & {sleeping}", shell=True, pty=True, capture_output=True)
    wait_until(lambda: not asleep(sleeping), "it is gone")
    with interrupted(0.1), subprocess.Popen(sleeping.split(), pty=True) as process:
        pty_of(process).read()
    wait_until(lambda: not asleep(sleeping), "it is gone")


# What is refused, and what fails.


@pytest.mark.parametrize(
    ("value", "error"), [((0, 1), ValueError), ("80x24", TypeError), (1, TypeError), (None, TypeError)]
)
def test_a_bad_size_is_refused(value: Any, error: type[Exception]) -> None:
    """Before anything is started, and nothing stays open."""
    before = descriptors()
    for call in (subprocess.Popen, run):
        with pytest.raises(error, match="pty"):
            call(["true"], pty=value, stdout=PIPE)
    assert descriptors() == before


def test_scripted_children_have_no_terminal() -> None:
    """That is refused, in words."""
    with scripted() as scripts:
        scripts.script(["sh"])
        with pytest.raises(SpawnError, match="pty is not to be had of scripted children"):
            treeguard.run(["sh"], pty=True)


def test_what_fails_leaves_nothing(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there, a terminal that cannot be opened, and one that no session can have."""
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        run(["/no/such/program"], pty=True, stderr=PIPE, containment=mechanism)
    with pytest.raises(ValueError, match="may not both be used"):
        run(["cat"], pty=True, input=b"", stdin=PIPE, containment=mechanism)
    failures: dict[int, Callable[[Descriptor, Descriptor], None]] = {errno.EIO: refused, errno.ENOTTY: no_terminal}
    for number, opened in failures.items():
        monkeypatch.setattr(terminals, "open_pty", opened)
        for call in (run, subprocess.Popen):
            with pytest.raises(SpawnError, match="cannot give the child a terminal of its own") as caught:
                call(["true"], pty=True, stderr=PIPE, containment=mechanism)
            assert (caught.value.step, caught.value.errno) == ("pty", number)
    wait_until(lambda: descriptors() == before, "nothing stays open")


def refused(ours: Descriptor, childs: Descriptor) -> None:
    raise OSError(errno.EIO, "as it were")


def no_terminal(ours: Descriptor, childs: Descriptor) -> None:
    ours.open(Path("/dev/ptmx"), os.O_RDWR | os.O_NOCTTY)
    childs.open(Path(os.devnull), os.O_RDWR)


def test_what_is_no_terminal_of_ours_is_nobodys_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds a terminal is looked for while that is open: after that, its number may be that of another's."""
    process = subprocess.Popen(["true"], pty=True)
    with process:
        terminal = pty_of(process)._terminal
        assert terminal.identities == {pty_of(process).device}
    assert terminal.identities == frozenset()
    monkeypatch.setattr(terminals, "open_pty", no_terminal)
    assert made_up().identities == frozenset()


def made_up() -> terminals.Terminal:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminals, "_set_size", lambda *_: None)
        return terminals.Terminal(True, None)


def test_a_fork_of_this_process_does_not_hold_the_terminal() -> None:
    """A copy that goes on has no copy of it, so that a tree is hung up when it is closed here."""
    with subprocess.Popen(["sleep", "1000"], pty=True) as process:
        number, pid = pty_of(process).fileno(), os.fork()
        if not pid:
            refused = 0
            with suppress(OSError):
                os.fstat(number)
                os._exit(1)
            try:
                for call in (pty_of(process).read, partial(pty_of(process).write, b"x"), process.communicate):
                    # Nothing is said of an end that it does not know of.
                    try:
                        call()
                    except NotOwner:
                        refused += 1
            finally:
                os._exit(0 if refused == 3 else 2)
        assert os.waitpid(pid, 0)[1] == 0


def test_the_end_is_read_in_no_time() -> None:
    """A program that looks now and then, and does not wait, sees that there will be no more."""
    with subprocess.Popen(["echo", "hi"], pty=True) as process:
        process.wait(PATIENCE)
        pty = pty_of(process)
        assert pty.read(timeout=0) == b"hi\r\n"
        assert pty.readline(timeout=0) == pty.read(100, timeout=0) == b""
        with pytest.raises(asyncio.IncompleteReadError):
            pty.readuntil(b"x", timeout=0)


def test_a_terminal_that_is_closed_is_not_communicated_with() -> None:
    """The error says so."""
    with subprocess.Popen(["cat"], pty=True) as process:
        pty_of(process).close()
        with pytest.raises(ValueError, match="a terminal that is closed"):
            process.communicate()
