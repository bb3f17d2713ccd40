"""``treeguard.run``: a whole tree, without an event loop, within one deadline."""

from __future__ import annotations

import asyncio
import doctest
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import treeguard.subprocess
from treeguard import RootExit, TreeguardError, run
from treeguard.types import Mechanism

from ..support.blocking import asleep, interrupted, own_managers, sleeper
from ..support.patience import PATIENCE, SLOWNESS, wait_until

__all__ = ["own_managers"]

#: What an escapee may do with the output that it holds.
_HOLDERS = {
    "both": "setsid {} &",
    "stderr alone": "setsid {} >/dev/null &",
    "stdout alone": "setsid {} 2>/dev/null &",
    "stopped": "setsid sh -c 'kill -STOP $$; {}' &",
    "100 MB": "setsid sh -c 'head -c 100000000 /dev/zero; {}' &",
    "without end": "setsid sh -c 'yes {}' &",
}


def _out(*command: str, **options: Any) -> Any:
    return run(["sh", "-c", *command], capture_output=True, **options)


@pytest.mark.parametrize("holder", _HOLDERS.values(), ids=list(_HOLDERS))
def test_a_descendant_that_holds_the_output_does_not_hold_the_caller(mechanism: Mechanism, holder: str) -> None:
    """What was written is returned, the holder is named, and nothing is left."""
    sleeping = sleeper()
    began = time.monotonic()
    done = _out(f"echo hi; {holder.format(sleeping)} sleep 0.1", timeout=1, containment=mechanism)
    assert time.monotonic() - began < 1.2 * SLOWNESS
    assert done.stdout.startswith(b"hi\n")
    assert (done.returncode, done.exit.code) == (0, 0)
    assert [left for left in done.left if left.held_output]
    assert asleep(sleeping) == []


def test_control_the_standard_librarys_caller_is_held() -> None:
    """Control: the same holds the standard library's caller until its time is over, and lives on."""
    sleeping = sleeper()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sh", "-c", f"setsid {sleeping} &"], capture_output=True, timeout=0.3, check=False)
        assert asleep(sleeping)
    finally:
        for pid in asleep(sleeping):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not asleep(sleeping), "it is gone")


def test_a_timeout_ends_the_whole_tree(mechanism: Mechanism) -> None:
    """The error has the output so far."""
    sleeping = sleeper()
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        _out(f"echo so far; {sleeping} & {sleeping}", timeout=1.0, containment=mechanism)
    assert isinstance(raised.value, TreeguardError)
    assert (raised.value.stdout, raised.value.stderr, raised.value.timeout) == (b"so far\n", None, 1.0)
    assert asleep(sleeping) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the size of a pipe")
@pytest.mark.parametrize(
    ("size", "options", "least", "most"),
    [(1 << 20, {}, 1 << 19, 1 << 19), (1000, {}, 0, 1 << 16), (1 << 20, {"pipesize": 4096}, 0, 4096)],
    ids=["long", "short", "size asked for"],
)
def test_a_long_input_goes_through_a_larger_pipe(size: int, options: dict[str, Any], least: int, most: int) -> None:
    """The thread that writes wakes up less often then. Controls: a short input, and a size that the caller asks for."""
    script = "import sys, fcntl; sys.stdin.buffer.read(); print(fcntl.fcntl(0, 1032))"
    done = run([sys.executable, "-c", script], input=bytes(size), stdout=subprocess.PIPE, **options)
    assert least <= int(done.stdout) <= most


def test_the_deadline_bounds_an_input_that_nobody_reads(mechanism: Mechanism) -> None:
    """A megabyte does not fit into a pipe."""
    sleeping = sleeper()
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", sleeping], input=bytes(1 << 20), timeout=0.3, containment=mechanism)
    assert asleep(sleeping) == []


def test_what_the_root_left_may_finish(mechanism: Mechanism) -> None:
    """With "wait" its output is part of the result."""
    done = _out("(sleep 0.2; echo late) & echo early", on_root_exit="wait", timeout=PATIENCE, containment=mechanism)
    assert done.stdout == b"early\nlate\n"
    assert done.left
    sleeping = sleeper()
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        _out(f"{sleeping} & exit 3", on_root_exit="wait", timeout=0.3, containment=mechanism)
    assert raised.value.exit == RootExit(3, usage=raised.value.exit.usage)  # type: ignore[attr-defined]
    assert asleep(sleeping) == []


def test_what_the_root_left_is_asked_first(mechanism: Mechanism) -> None:
    """With "terminate" it hears SIGTERM, and is killed if it does not end in time."""
    polite = "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.01; done"
    done = _out(f"({polite}) & sleep 0.2", on_root_exit="terminate", timeout=PATIENCE, containment=mechanism)
    assert done.stdout == b"ready\nasked\n"
    sleeping = sleeper()
    began = time.monotonic()
    done = _out(
        f"trap '' TERM; {sleeping} &", on_root_exit="terminate", grace=0.2, timeout=PATIENCE, containment=mechanism
    )
    assert 0.2 <= time.monotonic() - began < PATIENCE
    assert asleep(sleeping) == []


def test_an_output_is_bounded(mechanism: Mechanism) -> None:
    """The command goes on; what is not kept is counted."""
    count = "i=0; while [ $i -lt 10000 ]; do echo $i; i=$((i+1)); done; echo $i >&2; exit 3"
    head = _out(count, max_output=4, containment=mechanism)
    assert (head.stdout, head.stderr, head.returncode) == (b"0\n1\n", b"1000", 3)
    tail = _out(count, max_output=5, keep="tail", text=True, containment=mechanism)
    assert (tail.stdout, tail.stderr) == ("9999\n", "0000\n")
    assert tail.dropped == (48890 - 5, 1)


def test_silence_is_a_timeout(mechanism: Mechanism) -> None:
    """Output puts it off."""
    talk = "for i in 1 2 3 4; do echo $i; sleep 0.2; done"
    assert _out(talk, idle_timeout=5.0, containment=mechanism).stdout == b"1\n2\n3\n4\n"
    sleeping = sleeper()
    with pytest.raises(subprocess.TimeoutExpired, match=r"wrote nothing for 0\.3 seconds") as raised:
        _out(f"echo 1; sleep 0.1; echo 2; {sleeping}", idle_timeout=0.3, timeout=PATIENCE, containment=mechanism)
    assert raised.value.output == b"1\n2\n"
    assert asleep(sleeping) == []


def test_much_both_ways(mechanism: Mechanism) -> None:
    """Input and output are served together, whatever the order."""
    data = bytes(range(256)) * 20_000
    done = run(["sh", "-c", "tee /dev/stderr"], input=data, capture_output=True, containment=mechanism)
    assert (done.stdout == data, done.stderr == data) == (True, True)
    assert run(["true"], input=data, containment=mechanism).returncode == 0


def test_many_at_once(mechanism: Mechanism) -> None:
    """From any thread; one that waits does not hold another."""
    results: dict[tuple[int, int], Any] = {}

    def work(number: int) -> None:
        for turn in range(3):
            done = _out(f"echo {number}; sleep 0.0{number % 7}; exit {turn}", timeout=PATIENCE, containment=mechanism)
            results[number, turn] = (done.stdout, done.returncode)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == {(n, turn): (b"%d\n" % n, turn) for n in range(20) for turn in range(3)}


async def test_on_the_thread_of_an_event_loop(mechanism: Mechanism) -> None:
    """It blocks the loop, as the standard library's does, and does not mind it."""
    assert _out("echo hi", containment=mechanism).stdout == b"hi\n"
    done = await asyncio.to_thread(_out, "echo there", containment=mechanism)
    assert done.stdout == b"there\n"


def test_ctrl_c_ends_the_tree(mechanism: Mechanism) -> None:
    """The tree hears of it, and has a quarter of a second."""
    sleeping = sleeper()
    began = time.monotonic()
    with interrupted(0.3):
        _out(f"setsid {sleeping} & trap '' INT; {sleeping}", containment=mechanism)
    assert 0.5 < time.monotonic() - began < PATIENCE
    assert asleep(sleeping) == []


def test_a_handler_may_run_commands_too(mechanism: Mechanism) -> None:
    """Within the wait of its thread."""
    heard = []

    def handle(*_: object) -> None:
        heard.append(_out("echo inner", containment=mechanism).stdout)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        done = _out("echo outer; sleep 0.5; echo end", containment=mechanism)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (done.stdout, heard) == (b"outer\nend\n", [b"inner\n"])


def test_a_failed_check_is_the_standard_librarys_error(mechanism: Mechanism) -> None:
    """With all of the result."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        _out("echo out; echo err >&2; exit 3", check=True, text=True, containment=mechanism)
    assert (raised.value.returncode, raised.value.stdout, raised.value.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_output": -1}, "max_output"),
        ({"keep": "middle"}, "keep"),
        ({"on_root_exit": "stay"}, "on_root_exit"),
        ({"grace": -1}, "grace"),
        ({"idle_timeout": float("nan")}, "idle_timeout"),
        ({"input": b"", "stdin": subprocess.PIPE}, "stdin"),
        ({"capture_output": True, "stdout": subprocess.PIPE}, "stdout"),
        ({"containment": "chains"}, "chains"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], words: str) -> None:
    """Before anything is started."""
    with pytest.raises(ValueError, match=words):
        run(["true"], **options)


def test_nothing_is_started_that_cannot_be_found() -> None:
    """The error is the standard library's, with treeguard's step."""
    with pytest.raises(FileNotFoundError) as raised:
        run(["/nonexistent/program"])
    assert str(raised.value) == "[Errno 2] No such file or directory: '/nonexistent/program'"
    assert (raised.value.filename, raised.value.step) == ("/nonexistent/program", "exec")  # type: ignore[attr-defined]


def test_it_is_over_when_it_returns(mechanism: Mechanism) -> None:
    """Zombies included: its guard and its root are reaped."""
    for _ in range(20):
        run(["true"], containment=mechanism)
    sleeping = sleeper()
    _out(f"{sleeping} &", containment=mechanism)
    assert asleep(sleeping) == []


def test_the_examples_work() -> None:
    """Those of the docstrings."""
    outcome = doctest.testmod(treeguard.subprocess)
    assert outcome.attempted >= 3
    assert outcome.failed == 0
