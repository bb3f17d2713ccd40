"""``treeguard.subprocess.Popen``: the standard library's, owning a tree."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import subprocess as standard
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from treeguard import GuardLost, TreeguardError, subprocess
from treeguard.errors import NotOwner, SpawnError
from treeguard.subprocess import PIPE, Popen
from treeguard.types import Mechanism

from ..support.apart import ROOT
from ..support.blocking import asleep, interrupted, own_managers, sleeper
from ..support.judge import children, look
from ..support.patience import PATIENCE, wait_until

__all__ = ["own_managers"]


def _gone(command: str) -> None:
    wait_until(lambda: not asleep(command), "it is gone")


def test_it_is_the_standard_librarys(mechanism: Mechanism) -> None:
    """Code that asks what it has been given gets the answer that it knows."""
    with Popen(["sh", "-c", "cat; exit 3"], stdin=PIPE, stdout=PIPE, text=True, containment=mechanism) as process:
        assert isinstance(process, standard.Popen)
        assert process.poll() is None
        assert process.communicate("ö\n")[0] == "ö\n"
        assert (process.wait(), process.returncode, process.poll()) == (3, 3, 3)
    assert process.exit is not None
    assert process.containment.mechanism == mechanism


def test_kill_means_the_tree(mechanism: Mechanism) -> None:
    """Also when the root has ended."""
    sleeping = sleeper()
    with Popen(["sh", "-c", f"{sleeping} & {sleeping}"], containment=mechanism) as process:
        wait_until(lambda: len(asleep(sleeping)) >= 2, "both run")
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
        assert process.wait_empty(PATIENCE)
        assert asleep(sleeping) == []
    with Popen(["sh", "-c", f"{sleeping} & exit 3"], containment=mechanism) as process:
        assert process.wait(PATIENCE) == 3
        assert not process.wait_empty(0)
        process.kill()
        assert process.wait_empty(PATIENCE)
        assert asleep(sleeping) == []


def test_leaving_a_block_ends_what_is_left(mechanism: Mechanism) -> None:
    """After the wait for the root, which is the standard library's."""
    sleeping = sleeper()
    with Popen(["sh", "-c", f"{sleeping} & sleep 0.2; exit 3"], containment=mechanism) as process:
        pass
    assert process.returncode == 3
    assert asleep(sleeping) == []


def test_signals_reach_the_group(mechanism: Mechanism) -> None:
    """terminate() works in the same way. Neither raises an error when the root has ended."""
    sleeping = sleeper()
    with Popen(["sh", "-c", f"{sleeping} & wait"], containment=mechanism) as process:
        wait_until(lambda: len(asleep(sleeping)) >= 2, "both run")
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        _gone(sleeping)
        process.send_signal(signal.SIGINT)
        process.terminate()


@pytest.mark.parametrize("how", ["terminate", "group", "all"])
def test_what_the_root_has_left_hears_signals(mechanism: Mechanism, how: str) -> None:
    """The root's end is not the tree's."""
    sleeping = sleeper()
    prefix = "setsid " if how != "group" and mechanism != "process_group" else ""
    with Popen(["sh", "-c", f"{prefix}{sleeping} & {sleeping} & exit 3"], containment=mechanism) as process:
        assert process.wait(PATIENCE) == 3
        wait_until(lambda: len(asleep(sleeping)) == 2, "both run")
        process.send_signal(signal.SIGTERM, "root")
        assert len(asleep(sleeping)) == 2
        if how == "terminate":
            process.terminate()
        else:
            process.send_signal(signal.SIGTERM, how)  # type: ignore[arg-type]
        assert process.wait_empty(PATIENCE)
        assert process.returncode == 3


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, GeneratorExit])
def test_an_error_out_of_the_block_ends_the_tree(mechanism: Mechanism, error: type[BaseException]) -> None:
    """At once: nobody is left who would."""
    sleeping = sleeper()
    process = Popen(sleeping.split(), stdin=PIPE, containment=mechanism)

    def fail_within() -> None:
        with process:
            assert process.stdin is not None
            process.stdin.write(b"not read")
            raise error

    with pytest.raises(error):
        fail_within()
    assert process.returncode == -signal.SIGKILL
    assert process.stdin is not None
    assert process.stdin.closed
    assert asleep(sleeping) == []


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("how", ["write", "leave", "communicate", "feed"])
def test_ctrl_c_ends_a_block_that_writes_what_nobody_reads(mechanism: Mechanism, how: str, text: bool) -> None:
    """The tree is killed before the streams are closed, which would wait for a reader."""
    sleeping = sleeper()
    options: dict[str, Any] = {} if how == "feed" else {"stdout": PIPE}
    with interrupted(0.3), Popen(sleeping.split(), stdin=PIPE, text=text, containment=mechanism, **options) as process:
        stdin: Any = process.stdin
        os.set_blocking(stdin.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(stdin.fileno(), bytes(4096))
        os.set_blocking(stdin.fileno(), True)
        data: Any = "x" if text else b"x"
        if how == "feed":
            process.communicate(data)
        stdin.write(data * (100_000 if how == "write" else 10))
        if how == "communicate":
            process.communicate()
    assert process.returncode in (-signal.SIGINT, -signal.SIGKILL)
    assert stdin.closed
    assert asleep(sleeping) == []


def test_signals_reach_the_root_alone_or_all(mechanism: Mechanism) -> None:
    """If that is asked for; the members are told too."""
    sleeping = sleeper()
    command = ["sh", "-c", f"trap 'exit 7' USR1; sh -c \"trap 'exit 8' USR1; {sleeping} & wait\" & wait; wait"]
    with Popen(command, containment=mechanism) as process:
        wait_until(lambda: len(asleep(sleeping)) >= 3, "all run")
        assert process.members()[0] == process.pid
        assert len(process.members()) >= 3
        with pytest.raises(ValueError, match="to must be"):
            process.send_signal(signal.SIGUSR1, "everybody")  # type: ignore[arg-type]
        process.send_signal(signal.SIGUSR1, "root")
        assert process.wait(PATIENCE) == 7
        assert len(asleep(sleeping)) >= 2
        process.send_signal(signal.SIGKILL, "all")
        assert process.wait_empty(PATIENCE)
        assert process.members() == ()


def test_wait_is_continued(mechanism: Mechanism, tmp_path: Path) -> None:
    """communicate() and wait() raise TimeoutExpired with the output so far, and lose nothing."""
    command = "echo 1; until [ -e $0 ]; do sleep 0.01; done; cat"
    with Popen(["sh", "-c", command, tmp_path / "go"], stdin=PIPE, stdout=PIPE, containment=mechanism) as process:
        with pytest.raises(standard.TimeoutExpired):
            process.wait(0.01)
        with pytest.raises(standard.TimeoutExpired) as raised:
            process.communicate(bytes(100_000), timeout=0.5)
        assert raised.value.output == b"1\n"
        (tmp_path / "go").touch()
        assert process.communicate(timeout=PATIENCE)[0] == b"1\n" + bytes(100_000)


def test_threads_may_wait_for_one_and_kill_it(mechanism: Mechanism) -> None:
    """All of them hear of the end."""
    with Popen(["sleep", "60"], containment=mechanism) as process:
        heard: list[int] = []
        threads = [threading.Thread(target=lambda: heard.append(process.wait())) for _ in range(5)]
        for thread in threads:
            thread.start()
        process.kill()
        for thread in threads:
            thread.join(PATIENCE)
        assert heard == [-signal.SIGKILL] * 5


def test_the_end_of_the_thread_that_started_it_does_not_end_it(mechanism: Mechanism) -> None:
    """The kernel sends a parent-death signal when a thread ends: another thread starts the root."""
    started: list[Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(Popen(["sleep", "60"], containment=mechanism)))
    thread.start()
    thread.join()
    (process,) = started
    with process:
        with pytest.raises(standard.TimeoutExpired):
            process.wait(0.3)
        process.kill()


def test_a_dropped_one_goes_on(mechanism: Mechanism) -> None:
    """As the standard library's does, with its warning; and it is reaped when it ends, though nobody waits."""
    sleeping = sleeper()
    started = [Popen(sleeping.split(), containment=mechanism)]
    pid = started[0].pid
    with pytest.warns(ResourceWarning, match=f"subprocess {pid} is still running"):
        started.clear()
    # Its exec may still be under way.
    wait_until(lambda: asleep(sleeping) == [pid], "it runs")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: look(pid) is None, "it is reaped")
    wait_until(lambda: not children(), "and so is its guard")


def test_a_guard_that_dies_unseen_is_noticed(containing: Mechanism) -> None:
    """A thread looks after the trees that nobody waits for."""
    sleeping = sleeper()
    process = Popen(["sh", "-c", f"setsid {sleeping} & wait"], containment=containing)
    wait_until(lambda: len(asleep(sleeping)) >= 2, "both run")
    root = look(process.pid)
    assert root is not None
    os.kill(root.parent, signal.SIGKILL)
    _gone(sleeping)
    with pytest.raises(GuardLost):
        process.wait(PATIENCE)
    process.returncode = -signal.SIGKILL


def test_a_root_that_another_part_has_reaped_takes_signals() -> None:
    """They are too late, which is no error; nobody knows how it ended, which is one for those who ask."""
    for _ in range(10):
        process = Popen(["true"], containment="process_group")
        with contextlib.suppress(ChildProcessError):  # this process looks after the trees that nobody waits for
            os.waitpid(process.pid, 0)
        process.send_signal(signal.SIGTERM)
        process.terminate()
        process.kill()
        with contextlib.suppress(GuardLost):
            assert process.wait(PATIENCE) == 0
        process.returncode = 0


@pytest.mark.parametrize(("name", "value"), [("pass_fds", [1 << 20]), ("stdin", 1 << 20), ("stderr", 1 << 20)])
def test_a_descriptor_that_is_closed_is_named(name: str, value: Any) -> None:
    """The standard library says nothing but "Bad file descriptor"."""
    with pytest.raises(SpawnError, match=f"Bad file descriptor .*{name}: {1 << 20}") as caught:
        Popen(["true"], **{name: value})
    assert caught.value.errno == errno.EBADF


def test_a_forked_copy_owns_nothing(mechanism: Mechanism) -> None:
    """It can neither wait, nor kill, nor take what the tree writes, and starts trees of its own."""
    process = Popen(["sh", "-c", "echo hi; sleep 60"], stdout=PIPE, containment=mechanism)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there are threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal_it = partial(process.send_signal, signal.SIGTERM)
            communicate = partial(process.communicate, timeout=PATIENCE)
            for verb in (process.wait, process.kill, signal_it, communicate):
                try:
                    verb()
                except NotOwner:
                    continue
                os._exit(2)
            code = subprocess.run(["sh", "-c", "exit 7"], timeout=PATIENCE, containment=mechanism).returncode
            del process
            gc.collect()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    with process:
        assert process.poll() is None
        process.kill()
        assert process.communicate(timeout=PATIENCE) == (b"hi\n", None)
        assert process.returncode == -signal.SIGKILL


_SUPERVISOR = """
import os, signal, sys, threading
from treeguard.subprocess import Popen
mechanism, how, *command = sys.argv[1:]
def start():
    global process
    process = Popen(["sh", "-c", f"setsid {' '.join(command)} & wait"], containment=mechanism)
    print("started", flush=True)
    sys.stdin.readline()
if how == "thread":
    thread = threading.Thread(target=start); thread.start(); thread.join()
else:
    start()
if how == "abort": os.abort()
if how == "_exit": os._exit(0)
if how == "error": raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["return", "thread", "error", "_exit", "abort"])
def test_no_tree_outlives_its_process(containing: Mechanism, how: str) -> None:
    """However that ends; and an ordinary end has ended them when it is over."""
    sleeping = sleeper()
    command = [sys.executable, "-c", _SUPERVISOR, containing, how, *sleeping.split()]
    with standard.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"started\n"
        wait_until(lambda: len(asleep(sleeping)) >= 3, "all run")
        _, errors = supervisor.communicate(b"\n", PATIENCE)
    if how in ("return", "thread", "error"):
        assert asleep(sleeping) == []
        assert b"Error" not in errors
    _gone(sleeping)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preexec_fn": os.setsid}, "preexec_fn must be None: .* use start_new_session=True"),
        ({"process_group": os.getpgrp()}, "process_group must be 0 or None"),
    ],
)
def test_what_a_tree_cannot_be_started_with_is_refused(options: dict[str, Any], words: str) -> None:
    """With the reason, and what to use instead."""
    with pytest.raises(ValueError, match=words):
        Popen(["true"], stdout=PIPE, **options)


def _error_of(popen: Callable[..., standard.Popen[Any]], options: dict[str, Any]) -> OSError | None:
    try:
        popen(**options).wait()
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("place", ["/nonexistent", "/dev/null/x", "/", "/etc/passwd"])
@pytest.mark.parametrize("argument", ["args", "cwd", "executable"])
def test_errors_are_the_standard_librarys(place: str, argument: str) -> None:
    """Class, errno, words and file name; and they are treeguard's."""
    options: dict[str, Any] = {"args": ["true"], argument: [place] if argument == "args" else place}
    theirs, ours = (_error_of(popen, options) for popen in (standard.Popen, Popen))
    assert isinstance(ours, type(theirs))
    if theirs is not None and ours is not None:
        assert (ours.errno, str(ours), ours.filename) == (theirs.errno, str(theirs), theirs.filename)
        assert isinstance(ours, TreeguardError)


def _known_signals(line: bytes) -> int:
    """A mask of signals without those that belong to the C library, which nobody can ask about."""
    known = sum(1 << (number - 1) for number in signal.valid_signals())
    return int(line.split()[1], 16) & known


def test_ignored_signals_are_inherited() -> None:
    """As with the standard library, Python's own excepted, which are restored."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        for restore in (True, False):
            command = ["grep", "SigIgn", "/proc/self/status"]
            theirs = standard.check_output(command, restore_signals=restore)
            ours = subprocess.check_output(command, restore_signals=restore)
            assert _known_signals(ours) == _known_signals(theirs)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("how", ["wait", "communicate", "leave"])
def test_ctrl_c_is_passed_on(mechanism: Mechanism, how: str) -> None:
    """The terminal has sent it to this process's group alone; and leaving a block by it ends the tree."""
    sleeping = sleeper()
    command = ["sh", "-c", f"trap 'exit 7' INT; {sleeping} & while :; do sleep 0.01; done"]
    with interrupted(0.5), Popen(command, stdout=PIPE, stderr=PIPE, containment=mechanism) as process:
        if how == "leave":
            wait_until(lambda: False, "it is interrupted")
        elif how == "wait":
            process.wait()
        else:
            process.communicate()
    assert process.returncode == 7
    assert asleep(sleeping) == []


def test_a_child_is_given_what_is_asked_for(mechanism: Mechanism) -> None:
    """A name of its own, a mask of modes, and with privileges a user and groups."""
    options: dict[str, Any] = {"executable": "/bin/sh", "umask": 0o27, "containment": mechanism}
    expected = ["0027", "other"]
    if os.geteuid() == 0:
        options |= {"user": 65534, "group": 65534, "extra_groups": [1, 2]}
        expected += ["65534", "65534", "1", "2"]
    script = "umask; echo $0" + ("; id -u; id -G" if os.geteuid() == 0 else "")
    seen = subprocess.check_output(["other", "-c", script, "other"], text=True, **options)
    assert seen.split() == expected


def test_polling_costs_no_thread_and_no_time(mechanism: Mechanism) -> None:
    """A loop that polls sees the end soon."""
    with Popen(["sleep", "0.1"], containment=mechanism) as process:
        began = time.monotonic()
        while process.poll() is None:
            assert time.monotonic() - began < PATIENCE
        assert process.returncode == 0


def test_a_copy_that_is_forked_while_a_thread_holds_the_lock_is_told_that_it_owns_nothing(mechanism: Mechanism) -> None:
    """In the copy nobody would ever let go of it."""
    with Popen(["sleep", "60"], containment=mechanism) as process:
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with process._manager._pump.lock:
                held.set()
                over.wait(PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(PATIENCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there are threads
            copy = os.fork()
        if copy == 0:
            code = 1
            try:
                signal.alarm(int(PATIENCE))
                for call in (process.members, process.kill, lambda: process.send_signal(signal.SIGTERM, to="all")):
                    with contextlib.suppress(NotOwner):
                        call()
                code = 0
            finally:
                os._exit(code)
        over.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
        assert process.poll() is None
        process.kill()
