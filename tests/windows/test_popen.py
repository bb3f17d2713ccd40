"""``treeguard.subprocess`` on Windows: the standard library's names, where each ``Popen`` owns a tree."""

from __future__ import annotations

import gc
import os
import signal
import subprocess as standard
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from treeguard import subprocess
from treeguard.errors import RequestNotDelivered
from treeguard.subprocess import DEVNULL, PIPE, Popen

from ..support.patience import PATIENCE, SLOWNESS, wait_until
from ..support.programs import Programs
from .blocking import LEAVES, PYTHON, handles, interrupted, own_managers
from .judge import alive, named
from .marks import UNDER_WINE, real_windows
from .test_jobs import ACCOUNT, told_by_subprocess

__all__ = ["own_managers"]

ECHO = "import sys; d = sys.stdin.read(); print(d); print('err', file=sys.stderr)"
PARTS = "import sys, time\nfor n in range(3): print(n, flush=True)\nsys.stdin.read(); print('end')"


def python(code: str, **options: Any) -> Popen[Any]:
    """Starts a program of Python's."""
    return Popen([*PYTHON, code], **options)


def test_a_life(programs: Programs) -> None:
    """Start, poll, kill and wait, and nothing is left."""
    process = Popen([programs.tiny])
    assert isinstance(process, standard.Popen)
    assert process.poll() is None
    assert process.members() == (process.pid,)
    assert process.containment.mechanism == "job_object"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)
    assert process.exit is None
    process.kill()
    assert process.wait(timeout=PATIENCE) == 1
    assert process.wait_empty(PATIENCE)
    assert process.exit is not None
    assert process.exit.code == 1
    assert not alive(process.pid)
    process.kill()
    process.send_signal(signal.SIGTERM)
    assert process.poll() == 1


def test_the_end_is_noticed_without_a_wait() -> None:
    """By the thread that looks after trees."""
    process = python("import sys; sys.exit(7)")
    wait_until(lambda: process.exit is not None, "its end is known")
    assert process.poll() == 7


def test_a_poll_knows_what_has_happened_by_then(programs: Programs) -> None:
    """Whoever sees a process gone by other means finds it gone here too."""
    for _ in range(10):
        process = Popen([programs.tiny, "end"])
        wait_until(lambda process=process: not alive(process.pid), "it has ended")  # type: ignore[misc]
        wait_until(lambda process=process: process.poll() == 0, "it is known", 0.5 * SLOWNESS)  # type: ignore[misc]


def test_streams() -> None:
    """They are files, to be read and written as with the standard library."""
    with python(PARTS, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.stdin.write("x\n")
        process.stdin.close()
        assert process.stdout.read() == "1\n2\nend\n"
    assert process.returncode == 0


def test_pipelines() -> None:
    """The output of one is the input of the next."""
    first = python("print('one\\ntwo')", stdout=PIPE)
    second = python("import sys; print(len(sys.stdin.read().split()))", stdin=first.stdout, stdout=PIPE)
    assert first.stdout is not None
    first.stdout.close()
    assert second.communicate(timeout=PATIENCE)[0].strip() == b"2"
    assert first.wait(PATIENCE) == 0


@pytest.mark.parametrize("text", [False, True])
def test_communicate(text: bool) -> None:
    """Everything at once, more than a pipe holds."""
    data: Any = "line\n" * 50_000 if text else b"line\r\n" * 50_000
    with python(ECHO, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=text) as process:
        output, errors = process.communicate(data, timeout=PATIENCE)
    end: Any = "\n" if text else b"\r\n"
    assert (output == data + end, errors.strip()) == (True, "err" if text else b"err")
    assert process.returncode == 0


@pytest.mark.parametrize("text", [False, True])
def test_communicate_goes_on_after_a_timeout(text: bool) -> None:
    """The error has the output so far, and the rest of the input is sent."""
    wait = f"import time; time.sleep({3 * SLOWNESS}); "
    with python(
        f"print('so far', flush=True); {wait}{ECHO}", stdin=PIPE, stdout=PIPE, stderr=PIPE, text=text
    ) as process:
        assert process.stdout is not None
        data: Any = "x" * 100_000 if text else b"x" * 100_000
        with pytest.raises(subprocess.TimeoutExpired) as raised:
            process.communicate(data, timeout=1.5 * SLOWNESS)
        assert raised.value.output == (b"so far\n" if text else b"so far\r\n")
        with pytest.raises(ValueError, match="Cannot send input"):
            process.communicate(data)
        output, _ = process.communicate(timeout=PATIENCE)
    assert len(output.strip()) == len("so far") + (1 if text else 2) + 100_000


def test_a_line_that_was_read_before_stays_read() -> None:
    """And what the file has read ahead is not lost."""
    with python("print('one\\ntwo')", stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        assert process.communicate(timeout=PATIENCE) == ("two\n", None)


def test_a_holder_does_not_outlast_the_block() -> None:
    """Leaving the block waits for the root, and kills the rest, whoever reads."""
    began = time.monotonic()
    with python(LEAVES, stdout=PIPE) as process, pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=3 * SLOWNESS)
    assert time.monotonic() - began < PATIENCE
    assert process.wait_empty(0)
    assert process.returncode == 0


@pytest.mark.parametrize("how", ["wait", "communicate", "sole stream", "block"])
def test_ctrl_c(programs: Programs, how: str) -> None:
    """It ends every wait at once, and with the block the tree."""
    began = time.monotonic()
    with interrupted(0.5), Popen([programs.tiny], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        if how == "wait":
            process.wait()
        elif how == "communicate":
            process.communicate(bytes(1 << 20))
        elif how == "sole stream":
            process.stdin, process.stderr = process.stdin.close(), process.stderr.close()  # type: ignore[union-attr]
            process.communicate()
        else:
            while True:
                time.sleep(0.01)
    assert time.monotonic() - began < PATIENCE / 2
    assert process.wait_empty(0)
    assert not named(Path(programs.tiny).name)


def test_signals(programs: Programs) -> None:
    """CTRL_BREAK asks; others do not exist."""
    with Popen([programs.tiny]) as process:
        with pytest.raises(ValueError, match="nsupported signal"):
            process.send_signal(signal.SIGINT)
        for ask in (process.terminate, lambda: process.send_signal(signal.CTRL_BREAK_EVENT)):
            try:
                ask()
            except RequestNotDelivered:
                assert UNDER_WINE
        with pytest.raises(RequestNotDelivered):
            process.send_signal(signal.SIGTERM, to="root")
        process.kill()


@real_windows
def test_terminate_is_ctrl_break() -> None:
    """The root can take it for what it likes."""
    code = (
        "import signal, sys, time; signal.signal(signal.SIGBREAK, lambda *_: sys.exit(9)); print(flush=True)\n"
        "while True: time.sleep(0.1)"
    )
    with python(code, stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(PATIENCE) == 9


def test_the_functions() -> None:
    """call, check_call, check_output, getoutput and getstatusoutput."""
    assert subprocess.call("exit 3", shell=True) == 3
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.check_call("exit 3", shell=True)
    assert subprocess.check_output([*PYTHON, "print(input())"], input="x\n", text=True) == "x\n"
    assert subprocess.getoutput("echo out& echo err 1>&2").split() == ["out", "err"]
    assert subprocess.getstatusoutput("echo out& exit 3") == (3, "out")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.call([*PYTHON, "import time; time.sleep(1000)"], timeout=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"creationflags": standard.BELOW_NORMAL_PRIORITY_CLASS | standard.CREATE_NO_WINDOW},
        {"show_window": 7},
        {"argv0": "another"},
    ],
)
def test_flags_and_windows(options: dict[str, Any]) -> None:
    """As far as they go with a job, they are the standard library's."""
    given: dict[str, Any] = {"creationflags": options.get("creationflags", 0)}
    if "show_window" in options:
        given["startupinfo"] = subprocess.STARTUPINFO(
            dwFlags=subprocess.STARTF_USESHOWWINDOW, wShowWindow=options["show_window"]
        )
    args = [sys.executable, "-c", ACCOUNT]
    if "argv0" in options:
        given["executable"], args[0] = sys.executable, options["argv0"]
    with Popen(args, stdout=PIPE, text=True, **given) as process:
        assert process.stdout is not None
        name, _, told = process.stdout.read().strip().partition(" ")
    assert told == told_by_subprocess(options)
    assert (name == "another") == ("argv0" in options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"creationflags": standard.CREATE_BREAKAWAY_FROM_JOB}, "creationflags"),
        ({"startupinfo": standard.STARTUPINFO(dwFlags=standard.STARTF_USESTDHANDLES)}, "must hold no handles"),
        ({"startupinfo": standard.STARTUPINFO(lpAttributeList={"handle_list": [4]})}, "pass_fds"),
        ({"preexec_fn": print}, "preexec_fn"),
    ],
)
def test_what_does_not_go_with_a_job_is_refused(options: dict[str, Any], words: str) -> None:
    """With the reason, and nothing stays open."""
    with pytest.raises(ValueError, match=words):
        Popen([*PYTHON, ""], stdin=PIPE, stdout=PIPE, **options)


@pytest.mark.parametrize("close_fds", [True, False])
def test_descriptors(close_fds: bool) -> None:
    """A child gets those that are named; with ``close_fds=False`` those that are inheritable."""
    read, write = os.pipe()
    options: dict[str, Any] = {"pass_fds": (write,)} if close_fds else {"close_fds": False}
    os.set_inheritable(write, not close_fds)
    try:
        with python(f"import os; os.write({write}, b'hi')", **options) as process:
            assert process.wait(PATIENCE) == 0
        os.close(write)
        write = -1
        assert os.read(read, 100) == b"hi"
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)


def test_others_do_not_inherit_a_pipe(programs: Programs) -> None:
    """A program that inherits whatever it can does not keep a child's input open, or its output."""
    with python("import sys; sys.stdin.read()", stdin=PIPE, stdout=PIPE) as process:
        stranger = standard.Popen([programs.tiny], close_fds=False)
        try:
            assert process.communicate(timeout=PATIENCE) == (b"", None)
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


def test_no_handle_is_left(programs: Programs) -> None:
    """However a process ends, or does not begin."""

    def each_way() -> None:
        with python(ECHO, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
            process.communicate(b"x")
        with Popen([programs.tiny], stdin=PIPE, stdout=DEVNULL, pipesize=4096) as process:
            process.kill()
        with pytest.raises(FileNotFoundError):
            Popen(["there-is-none"], stdin=PIPE, stdout=PIPE, stderr=standard.STDOUT)
        with pytest.raises(TypeError):
            Popen(b"bytes", shell=True, stdin=PIPE, stdout=DEVNULL)
        gc.collect()

    each_way()
    before = handles()
    for _ in range(4):
        each_way()
    wait_until(lambda: handles() <= before + 2, "no handle is left")


def test_a_process_that_is_forgotten_is_told_of(programs: Programs) -> None:
    """And its tree goes on, until this process ends."""
    process = Popen([programs.tiny])
    pid = process.pid
    left = [process]
    del process
    with pytest.warns(ResourceWarning, match="still running"):
        left.clear()
    assert alive(pid)


def test_no_tree_outlives_the_program(programs: Programs) -> None:
    """However that ends: by an exit that forgets it, or by force."""
    name = Path(programs.tiny).name
    for end in ("", "import os; os._exit(0)"):
        code = f"from treeguard import subprocess; p = subprocess.Popen([{programs.tiny!r}]); {end}"
        standard.run([*PYTHON, code], check=True, timeout=PATIENCE, capture_output=True)
        wait_until(lambda: not named(name), "it has ended")


def test_many_threads_wait(programs: Programs) -> None:
    """For the same process and for others."""
    ends: list[tuple[int, int]] = []

    def wait(number: int, process: Popen[Any]) -> None:
        ends.append((number, process.wait(PATIENCE)))

    processes = [Popen([programs.tiny]) for _ in range(5)]
    threads = [threading.Thread(target=wait, args=each) for each in enumerate(processes * 2)]
    for thread in threads:
        thread.start()
    for process in processes:
        process.kill()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(ends) == [(number, 1) for number in range(10)]
