"""``arun``: what ``subprocess.run`` does, for a whole tree, under one deadline, and held up by nobody."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from treeguard import (
    DEVNULL,
    PIPE,
    STDOUT,
    CalledProcessError,
    LocalProcessManager,
    ProgramNotFound,
    RootExit,
    TimeoutExpired,
    Tree,
    arun,
    create_subprocess_exec,
    create_subprocess_shell,
    open_tree,
)
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.judge import look, processes
from ..support.patience import PATIENCE, SLOWNESS

#: Starts an escapee of some kind, says its number, and ends.
ESCAPEES = {
    "holds both": "setsid sleep 1000 & echo $!",
    "holds errors": "setsid sleep 1000 >/dev/null & echo $!",
    "holds none": "setsid sleep 1000 >/dev/null 2>&1 & echo $!",
    "stopped": "setsid sh -c 'kill -STOP $$; sleep 1000' & echo $!",
    "daemon": "sh -c 'cd /; setsid env -i /bin/sleep 1000 & echo $!'",
}
FLOOD = "setsid sh -c 'head -c 100000000 /dev/zero >&2; sleep 1000' & echo $!; sleep 0.1"


def gone(pid: int) -> bool:
    seen = look(pid)
    return seen is None or seen.state == "Z"


@pytest.mark.parametrize("escapee", ESCAPEES)
async def test_an_escapee_holds_up_nobody(mechanism: Mechanism, escapee: str, adoption: Adoption) -> None:
    """What was written is returned, the process that holds the output is named, and it is gone."""
    began = time.monotonic()
    script = f"echo hi; {ESCAPEES[escapee]}; sleep 0.1"
    async with LocalProcessManager(containment=mechanism) as manager:
        done = await arun(["sh", "-c", script], capture_output=True, timeout=PATIENCE, text=True, manager=manager)
        assert time.monotonic() - began < 1.2 * SLOWNESS
        hi, number = done.stdout.split()
        assert (hi, done.stderr, done.returncode, done.exit.code) == ("hi", "", 0, 0)
        # Without a guard, an escapee that holds nothing cannot be told from a stranger.
        if mechanism == "process_group" and escapee == "holds none":
            os.kill(int(number), signal.SIGKILL)
        else:
            assert (int(number), escapee != "holds none") in [(each.pid, each.held_output) for each in done.left]
            assert {each.name for each in done.left} <= {"sh", "sleep", "env", "setsid"}
            assert gone(int(number))
        assert await manager.list_children() == []
    adoption.reap_all()


async def test_a_flood_by_an_escapee_holds_up_nobody(mechanism: Mechanism, adoption: Adoption) -> None:
    """It is killed while it writes; what it had written by then is returned."""
    began = time.monotonic()
    async with LocalProcessManager(containment=mechanism) as manager:
        done = await arun(["sh", "-c", FLOOD], capture_output=True, timeout=PATIENCE, manager=manager)
    assert time.monotonic() - began < 1.2 * SLOWNESS
    assert gone(int(done.stdout))
    assert not done.stderr.strip(b"\0")
    assert done.left
    adoption.reap_all()


WORKER = """
trap 'echo asked; exit' TERM
echo up
echo ready >fifo
i=0
while [ $i -lt 10 ]; do sleep 0.02; i=$((i+1)); done
echo done
"""


@pytest.mark.parametrize("way", ["kill", "terminate", "wait"])
async def test_what_happens_to_the_rest(containing: Mechanism, way: Any, tmp_path: Path, adoption: Adoption) -> None:
    """It is killed, asked to end first, or left to finish; in each case its output is there."""
    (tmp_path / "worker").write_text(WORKER, encoding="utf-8")
    script = "mkfifo fifo; setsid sh worker & read x <fifo"
    async with LocalProcessManager(containment=containing) as manager:
        done = await arun(
            ["sh", "-c", script], stdout=PIPE, cwd=tmp_path, on_root_exit=way, timeout=PATIENCE, manager=manager
        )
    assert done.stdout == {"kill": b"up\n", "terminate": b"up\nasked\n", "wait": b"up\ndone\n"}[way]
    assert "sh" in {each.name for each in done.left}
    adoption.reap_all()


async def test_the_grace_has_an_end(containing: Mechanism, adoption: Adoption) -> None:
    """What does not end when asked is killed after ``grace`` seconds, or at the deadline."""
    script = "setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo $!; sleep 0.1"
    for options in ({"grace": 0.2}, {"timeout": 0.4}):
        began = time.monotonic()
        async with LocalProcessManager(containment=containing) as manager:
            arguments: dict[str, Any] = {"stdout": PIPE, "on_root_exit": "terminate", "manager": manager, **options}
            done = await arun(["sh", "-c", script], **arguments)
        assert 0.15 < time.monotonic() - began < 5 * SLOWNESS
        assert gone(int(done.stdout))
    adoption.reap_all()


# The deadline.


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("echo so far; echo err >&2; setsid sleep 1000 & sleep 1000", None),
        ("echo so far; echo err >&2; setsid sleep 1000 & exit 3", RootExit(3)),
    ],
    ids=["root", "tree"],
)
async def test_the_deadline_bounds_root_and_tree(
    containing: Mechanism, script: str, ended: RootExit | None, adoption: Adoption
) -> None:
    """The error has the output so far, how the root had ended, and what it had left; nothing is left."""
    async with LocalProcessManager(containment=containing) as manager:
        began = time.monotonic()
        with pytest.raises(TimeoutExpired, match=r"timed out after 1 seconds") as raised:
            await arun(
                ["sh", "-c", script], capture_output=True, text=True, timeout=1, on_root_exit="wait", manager=manager
            )
        assert time.monotonic() - began < 2 * SLOWNESS
        assert await manager.list_children() == []
    error = raised.value
    assert isinstance(error, subprocess.TimeoutExpired)
    assert (error.stdout, error.stderr, error.idle) == (b"so far\n", b"err\n", False)
    assert (error.exit and error.exit.code) == (ended and ended.code)
    # It may not have got to its own exec.
    assert {each.name for each in error.left} <= (set() if ended is None else {"sh", "setsid", "sleep"})
    assert len(error.left) == (ended is not None)
    adoption.reap_all()


async def test_the_deadline_bounds_input() -> None:
    """A command that does not read its input is ended like any other."""
    with pytest.raises(TimeoutExpired) as raised:
        await arun(["sleep", "1000"], input=b"x" * 10_000_000, timeout=0.2)
    assert raised.value.output is None


@pytest.mark.parametrize("timeout", [0, 0.000001, 0.001])
async def test_the_deadline_bounds_the_start(containing: Mechanism, timeout: float) -> None:
    """However short it is."""
    async with LocalProcessManager(containment=containing) as manager:
        for _ in range(10):
            with pytest.raises(TimeoutExpired):
                await arun(["sleep", "1000"], timeout=timeout, manager=manager)
            assert await manager.list_children() == []


async def test_silence_has_a_deadline_of_its_own() -> None:
    """It begins again with everything that is written, on either stream."""
    script = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; echo err >&2; sleep 0.1; done; sleep 1000"
    began = time.monotonic()
    with pytest.raises(TimeoutExpired, match="wrote nothing for") as raised:
        await arun(script, shell=True, capture_output=True, idle_timeout=0.4 * SLOWNESS, timeout=PATIENCE)
    assert time.monotonic() - began > 1
    assert raised.value.idle
    assert raised.value.stdout == b"1\n2\n3\n4\n5\n6\n"


# Output.


@pytest.mark.parametrize("keep", ["head", "tail"])
async def test_an_output_is_cut_and_the_command_goes_on(keep: Any) -> None:
    """``max_output`` bytes of each stream are kept; the exit status shows that the command was not disturbed."""
    script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo err >&2; exit 7"
    done = await arun(["sh", "-c", script], capture_output=True, max_output=20, keep=keep)
    whole = b"".join(b"line %d\n" % i for i in range(2000))
    assert done.returncode == 7
    assert done.stdout == (whole[:20] if keep == "head" else whole[-20:])
    assert done.stderr == b"err\n"
    assert done.dropped == (len(whole) - 20, 0)


async def test_much_goes_through() -> None:
    """Input and output that no pipe holds, at the same time."""
    data = os.urandom(1 << 20) * 20
    done = await arun(["sh", "-c", "tee /dev/stderr"], input=data, capture_output=True)
    assert done.stdout == done.stderr == data
    done = await arun(["cat"], input=data, stdout=PIPE, stderr=STDOUT)
    assert done.stdout == data
    assert not done.stderr


async def test_text() -> None:
    """``text``, an encoding or an error handler turn input and output into text. A cut character raises no error."""
    assert (await arun(["cat"], input="ä\n", stdout=PIPE, encoding="utf-8")).stdout == "ä\n"
    assert (await arun(["cat"], input="ä", stdout=PIPE, encoding="latin-1")).stdout == "ä"
    assert (await arun(["printf", r"a\r\nb\rc"], stdout=PIPE, text=True)).stdout == "a\nb\nc"
    assert (await arun(["printf", r"a\344"], stdout=PIPE, encoding="utf-8", errors="ignore")).stdout == "a"
    with pytest.raises(UnicodeDecodeError):
        await arun(["printf", r"a\344"], stdout=PIPE, encoding="utf-8")
    cut = await arun(["printf", r"a\303\244"], stdout=PIPE, encoding="utf-8", max_output=2)
    assert cut.stdout == "a\N{REPLACEMENT CHARACTER}"


async def test_a_failed_check_carries_everything(containing: Mechanism, adoption: Adoption) -> None:
    """A code other than 0, and a signal."""
    async with LocalProcessManager(containment=containing) as manager:
        with pytest.raises(CalledProcessError, match="non-zero exit status 3") as raised:
            await arun(["sh", "-c", "echo out; sleep 1000 & exit 3"], stdout=PIPE, check=True, manager=manager)
        error = raised.value
        assert isinstance(error, subprocess.CalledProcessError)
        assert (error.returncode, error.stdout, error.exit.code) == (3, b"out\n", 3)
        assert [each.name in {"sh", "sleep"} for each in error.left] == [True]
        with pytest.raises(CalledProcessError, match="SIGTERM"):
            await arun("kill -TERM $$", shell=True, check=True, manager=manager)
    adoption.reap_all()


async def test_where_and_with_what(tmp_path: Path) -> None:
    """``cwd``, a whole environment, other streams, a path for the program, several at once."""
    done = await arun(["env"], env={"A": "b", "PATH": os.environ["PATH"]}, stdout=PIPE, cwd=tmp_path)
    assert sorted(done.stdout.split()) == sorted([b"A=b", f"PATH={os.environ['PATH']}".encode()])
    assert (await arun("pwd", cwd=tmp_path, stdout=PIPE)).stdout == f"{tmp_path}\n".encode()
    with (tmp_path / "file").open("wb") as file:
        await arun(["sh", "-c", "echo out; echo err >&2"], stdin=DEVNULL, stdout=file, stderr=file)
    with (tmp_path / "file").open("rb") as file:
        assert (await arun([Path("/bin/cat")], stdin=file, stdout=PIPE)).stdout == b"out\nerr\n"
    assert (await arun(["sh", "-c", 'echo "$0" "$1"', "a", "b"], stdout=PIPE)).stdout == b"a b\n"
    assert (await arun(['echo "$0" "$1"', "a", "b"], shell=True, stdout=PIPE)).stdout == b"a b\n"
    outputs = await asyncio.gather(*(arun(["echo", str(i)], stdout=PIPE, timeout=PATIENCE) for i in range(50)))
    assert [int(each.stdout) for each in outputs] == list(range(50))
    with pytest.raises(ProgramNotFound):
        await arun(["/nonexistent"], capture_output=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"input": b"", "stdin": PIPE}, ValueError, "stdin and input arguments may not both be used"),
        ({"capture_output": True, "stdout": PIPE}, ValueError, "may not be used with capture_output"),
        ({"input": "text"}, TypeError, "input must be bytes, not str"),
        ({"input": 5, "text": True}, TypeError, "input must be a string, not int"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds or None, not '1'"),
        ({"grace": "1"}, TypeError, "grace must be a number of seconds"),
        ({"idle_timeout": 1}, ValueError, "idle_timeout must be None unless stdout or stderr is a pipe"),
        ({"on_root_exit": "stay"}, ValueError, "on_root_exit must be"),
        ({"stdout": PIPE, "max_output": -1}, ValueError, "max_output must be a whole number of at least 0"),
        ({"stdout": PIPE, "keep": "middle"}, ValueError, "keep must be"),
        ({"preexec_fn": print}, ValueError, "preexec_fn must be None: .* use start_new_session=True"),
        ({"encoding": "no such encoding"}, LookupError, "unknown encoding"),
    ],
)
async def test_what_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    """With the reason, and before anything is started."""
    with pytest.raises(error, match=words):
        await arun(["true"], **options)


async def test_a_deadline_may_be_without_end() -> None:
    """As with other waits."""
    done = await arun(["echo", "hi"], capture_output=True, timeout=math.inf, idle_timeout=math.inf)
    assert done.stdout == b"hi\n"


async def test_no_command_is_refused() -> None:
    with pytest.raises(ValueError, match="args must not be empty"):
        await arun([])


def test_under_uvloop(uvloop: Any, adoption: Adoption) -> None:
    """The same on uvloop, with an escapee and with a deadline."""

    async def main() -> None:
        began = time.monotonic()
        script = "cat; setsid sleep 1000 & echo $!"
        done = await arun(["sh", "-c", script], input=b"1\n", capture_output=True, timeout=PATIENCE)
        assert gone(int(done.stdout.split()[1]))
        with pytest.raises(TimeoutExpired) as raised:
            await arun("echo out; sleep 1000", shell=True, stdout=PIPE, timeout=0.2)
        assert raised.value.output == b"out\n"
        assert time.monotonic() - began < 2 * SLOWNESS

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    adoption.reap_all()


@pytest.mark.parametrize("function", [arun, create_subprocess_exec, create_subprocess_shell, open_tree, Tree])
def test_the_examples_work(function: Any) -> None:
    """Those of the docstrings, as a program of their own, without any warning."""
    example = textwrap.dedent((inspect.getdoc(function) or "").partition("::\n\n")[2].partition("\n\nT")[0])
    assert "await treeguard." in example or "async with treeguard." in example
    code = f"import asyncio, treeguard\nasync def main():\n{textwrap.indent(example, '    ')}\nasyncio.run(main())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usr" in done.stdout


def test_an_interrupt_of_the_program_ends_its_commands() -> None:
    """Ctrl-C cancels the main task of ``asyncio.run``, and nothing is left when KeyboardInterrupt is seen."""
    seconds = f"1006.{os.getpid()}"
    code = """
import asyncio, os, signal, subprocess, threading, treeguard
async def main():
    async with treeguard.open_tree("sh", "-c", "setsid sleep 1006 & echo $!; wait", stdout=treeguard.PIPE) as tree:
        print(int(await tree.stdout.readline()), flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        await treeguard.arun(["sh", "-c", "setsid sleep 1006 & sleep 1006"])
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
""".replace("1006", seconds)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    number, word = done.stdout.split()
    assert word == "interrupted"
    assert gone(int(number))
    assert not [seen for seen in processes() if seen.name == "sleep" and seconds.encode() in command_line(seen.pid)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
