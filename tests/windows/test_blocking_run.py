"""``treeguard.run`` on Windows: a whole tree, without an event loop, within one deadline."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from treeguard import CalledProcessError, ContainmentUnavailable, RootExit, TimeoutExpired, TreeguardError, run

from ..support.patience import PATIENCE, SLOWNESS, wait_until
from ..support.programs import Programs
from .adversary import Adversary
from .blocking import LEAVES, PYTHON, handles, interrupted, own_managers
from .judge import named, put_down

__all__ = ["own_managers"]

MEGABYTE = 1 << 20
#: Copies its input to both outputs.
COPY = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stderr.buffer.write(d[:3])"
#: Prints, then sleeps.
SO_FAR = "import sys, time; print('so far', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(1000)"


def python(code: str, **options: Any) -> Any:
    """Runs a program of Python's, with its output, unless something else is asked for."""
    if "stdout" not in options:
        options.setdefault("capture_output", True)
    return run([*PYTHON, code], timeout=options.pop("timeout", PATIENCE), **options)


def test_output_and_exit() -> None:
    """As the standard library tells them, and besides how the root ended."""
    done = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert (done.exit.code, done.exit.signal, done.left) == (3, None, ())
    assert python("print('ä', end='')", env={**os.environ, "PYTHONUTF8": "1"}).stdout == "ä".encode()
    with pytest.raises(CalledProcessError) as raised:
        python("import sys; print('out'); sys.exit(-1)", check=True)
    assert (raised.value.returncode, raised.value.stdout) == (0xFFFFFFFF, b"out\r\n")


def test_much_both_ways() -> None:
    """Input and output are served together, whatever the order, and an input that nobody reads is no error."""
    data = bytes(range(256)) * (MEGABYTE // 256)
    done = python(COPY, input=data)
    assert (done.stdout == data, done.stderr) == (True, data[:3])
    assert run([*PYTHON, ""], input=data, timeout=PATIENCE).returncode == 0
    assert python(COPY, input="a\nb\n", text=True).stdout == "a\nb\n"
    assert python(COPY, input=b"").stdout == b""


def test_errors_go_where_output_goes(tmp_path: Path) -> None:
    """And to files, descriptors and the null device."""
    done = python(COPY, input=b"in!", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.stdout, done.stderr) == (b"in!in!", None)
    place = tmp_path / "output"
    with place.open("wb") as file:
        done = python("print('to a file')", stdout=file, stderr=subprocess.DEVNULL)
    assert (done.stdout, place.read_bytes()) == (None, b"to a file\r\n")
    with place.open("rb") as file:
        assert python(COPY, stdin=file.fileno()).stdout == b"to a file\r\n"


def test_a_descendant_that_holds_the_output_does_not_hold_the_caller() -> None:
    """What was written is returned, what was left is told of, and nothing of it goes on."""
    began = time.monotonic()
    done = python(LEAVES)
    assert time.monotonic() - began < 10 * SLOWNESS
    assert done.stdout == b"hi\r\n"
    assert len(done.left) >= 1


def test_control_the_standard_librarys_caller_is_held(programs: Programs) -> None:
    """Control: it waits for the end of the output, until its time is over, and what holds it lives on."""
    code = f"import subprocess; subprocess.Popen([{programs.tiny!r}], close_fds=False)"
    name = Path(programs.tiny).name
    with subprocess.Popen([*PYTHON, code], stdout=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=4 * SLOWNESS)
        assert named(name)
        put_down(name)


def test_a_timeout_ends_the_whole_tree(programs: Programs) -> None:
    """The error has the output so far."""
    code = f"import subprocess; subprocess.Popen([{programs.tiny!r}]); {SO_FAR}"
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        python(code, timeout=3 * SLOWNESS, text=True)
    assert isinstance(raised.value, TreeguardError)
    assert (raised.value.stdout, raised.value.stderr) == (b"so far\r\n", b"err\r\n")
    assert raised.value.timeout == 3 * SLOWNESS
    assert not named(Path(programs.tiny).name)


def test_the_deadline_bounds_an_input_that_nobody_reads(programs: Programs) -> None:
    """A megabyte does not fit into a pipe."""
    began = time.monotonic()
    with pytest.raises(TimeoutExpired):
        run([programs.tiny], input=bytes(MEGABYTE), timeout=0.5)
    assert time.monotonic() - began < PATIENCE
    assert not named(Path(programs.tiny).name)


def test_what_the_root_left_may_finish() -> None:
    """With "wait" its output is part of the result, and the deadline bounds that."""
    late = "import time; time.sleep(0.5); print('late', flush=True)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {late!r}]); print('early', flush=True)"
    done = python(code, on_root_exit="wait")
    assert done.stdout == b"early\r\nlate\r\n"
    assert done.left
    with pytest.raises(TimeoutExpired) as raised:
        python(LEAVES, on_root_exit="wait", timeout=4 * SLOWNESS)
    assert raised.value.exit == RootExit(0, usage=raised.value.exit.usage)  # type: ignore[union-attr]
    assert raised.value.stdout == b"hi\r\n"


def test_what_the_root_left_has_some_time() -> None:
    """With "terminate" it is killed after that."""
    began = time.monotonic()
    done = python(LEAVES, on_root_exit="terminate", grace=0.5)
    assert time.monotonic() - began >= 0.5
    assert (done.returncode, done.stdout) == (0, b"hi\r\n")
    assert done.left


def test_an_output_is_bounded() -> None:
    """The command goes on; what is not kept is counted."""
    code = "import sys; sys.stdout.buffer.write(b'0123456789' * 100_000); sys.exit(3)"
    head = python(code, max_output=4)
    assert (head.stdout, head.returncode, head.dropped) == (b"0123", 3, (999_996, 0))
    tail = python(code, max_output=4, keep="tail")
    assert (tail.stdout, tail.dropped) == (b"6789", (999_996, 0))


def test_silence_is_a_timeout() -> None:
    """Output puts it off."""
    talk = "import time\nfor n in range(4): print(n, flush=True); time.sleep(0.3)"
    assert python(talk, idle_timeout=5 * SLOWNESS).stdout == b"0\r\n1\r\n2\r\n3\r\n"
    with pytest.raises(TimeoutExpired, match="wrote nothing for") as raised:
        python(SO_FAR, idle_timeout=3 * SLOWNESS)
    assert raised.value.idle
    assert raised.value.stdout == b"so far\r\n"


@pytest.mark.timeout(300)
def test_an_agents_tool_calls(programs: Programs) -> None:
    """Fifty at once, from threads, each with a timeout and a cap: one that waits does not hold another."""
    calls = [
        *[("echo answer& echo note 1>&2", PATIENCE)] * 20,
        *[(f'"{sys.executable}" -c "print(\'x\' * 99 * 99)"', PATIENCE)] * 10,
        *[("echo no such table 1>&2& exit 3", PATIENCE)] * 10,
        *[(f'start /b {programs.tiny}& "{programs.tiny}"', 1.0)] * 10,
    ]
    results: list[tuple[str, int, int]] = []

    def call(command: str, timeout: float) -> None:
        try:
            done = run(
                command,
                shell=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                max_output=1000,
            )
        except TimeoutExpired as late:
            results.append(("timed out", len(late.stdout or b""), len(late.stderr or b"")))
        except OSError as error:  # told by the comparison below
            results.append((str(error), 0, 0))
        else:
            results.append((f"exit code {done.returncode}", len(done.stdout), len(done.stderr)))

    threads = [threading.Thread(target=call, args=each) for each in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(8 * PATIENCE)
    assert Counter(results) == {
        ("exit code 0", 7, 6): 20,
        ("exit code 0", 1000, 0): 10,
        ("exit code 3", 0, 15): 10,
        ("timed out", 0, 0): 10,
    }
    assert not named(Path(programs.tiny).name)


@pytest.mark.parametrize("options", [{"capture_output": True}, {"input": bytes(MEGABYTE)}, {}])
def test_ctrl_c_ends_the_tree(programs: Programs, options: dict[str, Any]) -> None:
    """At once, whatever is waited for."""
    began = time.monotonic()
    with interrupted(0.5):
        run([programs.tiny], **options)
    assert time.monotonic() - began < PATIENCE / 2
    assert not named(Path(programs.tiny).name)


def test_commands_of_the_shell() -> None:
    """They reach it as they were written, as in the standard library."""
    for command in ('echo "a b" c', "echo a^&b& exit 4", 'cd "\\"& cd'):
        done = run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE)
        theirs = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.args) == (theirs.returncode, theirs.stdout, command)


def test_command_lines(tmp_path: Path) -> None:
    """A string is a command line, which a program cuts as it likes."""
    tell = (
        "import ctypes; k = ctypes.windll.kernel32; k.GetCommandLineW.restype = ctypes.c_wchar_p; "
        "print(k.GetCommandLineW())"
    )
    (tmp_path / "tell.py").write_text(tell)
    line = f'"{sys.executable}" {tmp_path / "tell.py"}  odd "spacing  "   "" \\"'
    assert run(line, capture_output=True, text=True, timeout=PATIENCE).stdout == line + "\n"
    other = run("another name", executable=sys.executable, input=tell, capture_output=True, text=True, timeout=PATIENCE)
    assert (other.returncode, other.stdout) == (2, "")
    script = tmp_path / "script.cmd"
    script.write_text("@echo %1 %2\n@exit 5\n")
    done = run(f'"{script}" one "two three"', capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (5, 'one "two three"\n')


def test_what_cannot_be_started() -> None:
    """The error is the standard library's, with treeguard's step, and nothing stays open."""
    for command in (["there-is-none"], "there-is-none at all"):
        with pytest.raises(FileNotFoundError) as raised:
            run(command, capture_output=True)
        assert raised.value.step == "search"  # type: ignore[attr-defined]
    with pytest.raises(ContainmentUnavailable):
        run([*PYTHON, ""], containment="cgroup")
    with pytest.raises(NotADirectoryError):
        run([*PYTHON, ""], cwd=sys.executable)


@pytest.mark.parametrize("adversary", ["wide", "fled", "detached", "hydra"], indirect=True)
def test_nothing_is_left_of_what_flees(adversary: Adversary) -> None:
    """By the end of the root, or by the timeout."""
    with contextlib.suppress(TimeoutExpired):
        run([str(adversary.program), adversary.name], capture_output=True, timeout=2 * SLOWNESS)
    adversary.spawned()
    wait_until(lambda: not adversary.traces, "nothing is left")


def test_no_handle_is_left() -> None:
    """However a command ends."""

    def each_way() -> None:
        python("print('hi')", input=b"x")
        with contextlib.suppress(TimeoutExpired):
            python(SO_FAR, input=bytes(MEGABYTE), timeout=0.3)
        with contextlib.suppress(FileNotFoundError):
            run(["there-is-none"], capture_output=True, input=b"x")
        run("exit 1", shell=True)

    each_way()
    before = handles()
    for _ in range(4):
        each_way()
    assert handles() <= before + 2


def test_others_do_not_inherit_the_pipes(programs: Programs) -> None:
    """A program that inherits whatever it can holds neither the input nor the output of a command."""
    strangers: list[subprocess.Popen[bytes]] = []

    def start_stranger() -> None:
        strangers.append(subprocess.Popen([programs.tiny], close_fds=False))

    timer = threading.Timer(1.0, start_stranger)
    timer.start()
    try:
        # The input waits in this process when the stranger starts.
        code = "import sys, time; time.sleep(3); sys.stdin.read(); print('end of input')"
        assert python(code, input=bytes(MEGABYTE)).stdout == b"end of input\r\n"
        timer.join()
        assert strangers[0].poll() is None
    finally:
        timer.join()
        for stranger in strangers:
            stranger.kill()
            stranger.wait()
