"""What runs a command: what its errors have, what its signature shows, and what type checkers know of it."""

from __future__ import annotations

import asyncio
import inspect
import subprocess as standard
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import treeguard
from treeguard import PIPE, CompletedTree, Limits, subprocess
from treeguard._core.options import ChildOptions
from treeguard.tree import Tree
from treeguard.types import Mechanism

from ..support.blocking import own_managers
from ..support.patience import PATIENCE
from ..support.ways import WAYS, told

if TYPE_CHECKING:
    from typing_extensions import assert_type

__all__ = ["own_managers"]

pytestmark = pytest.mark.usefixtures("own_managers")


@pytest.mark.parametrize("way", ["run", "arun"])
def test_a_timeout_has_bytes_also_in_text_mode(way: str) -> None:
    """As from the standard library: a character may be cut. None: nothing was written, or captured."""

    def late(script: str, **options: Any) -> treeguard.TimeoutExpired:
        command, options = ["/bin/sh", "-c", script], {"text": True, "encoding": "utf-8", "timeout": 0.3, **options}
        ways: dict[str, Any] = {
            "run": subprocess.run,
            "arun": lambda *args, **more: asyncio.run(treeguard.arun(*args, **more)),
        }
        with pytest.raises(treeguard.TimeoutExpired) as raised:
            ways[way](command, **options)
        return raised.value

    error = late(r"printf '\303'; sleep 60", capture_output=True)
    assert (error.output, error.stdout, error.stderr) == (b"\xc3", b"\xc3", None)
    assert late("sleep 60").output is None


@pytest.mark.parametrize("options", [{}, {"stdout": standard.DEVNULL}, {"input": b"x"}])
def test_silence_is_seen_at_a_pipe_alone(options: dict[str, Any]) -> None:
    """Of an output that is not read here nobody knows when it was written to."""
    words = "idle_timeout must be None unless stdout or stderr is a pipe"
    with pytest.raises(ValueError, match=words):
        subprocess.run(["true"], idle_timeout=5, **options)
    with pytest.raises(ValueError, match=words):
        asyncio.run(treeguard.arun(["true"], idle_timeout=5, **options))
    assert subprocess.run(["true"], -1, None, None, PIPE, idle_timeout=5).returncode == 0


@pytest.mark.parametrize("options", [{}, {"stdout": standard.DEVNULL}, {"input": b"x"}, {"pty": True}])
def test_a_cap_takes_an_output_that_is_captured(options: dict[str, Any]) -> None:
    """It would cap nothing."""
    words = "max_output must be None unless stdout or stderr is a pipe"
    with pytest.raises(ValueError, match=words):
        subprocess.run(["true"], max_output=5, **options)
    with pytest.raises(ValueError, match=words):
        asyncio.run(treeguard.arun(["true"], max_output=5, **options))
    assert subprocess.run(["echo", "12"], -1, None, None, PIPE, max_output=1).stdout == b"1"


@pytest.mark.parametrize("way", ["run", "arun"])
@pytest.mark.parametrize("error", [treeguard.TimeoutExpired, treeguard.CalledProcessError])
def test_errors_tell_what_a_cap_left_out(way: str, error: Any) -> None:
    """As a result does: of standard output, and of standard error."""
    options: dict[str, Any] = {"shell": True, "capture_output": True, "max_output": 2, "check": True, "timeout": 0.5}
    command = "printf 12345; printf 123 >&2; " + ("sleep 60" if error is treeguard.TimeoutExpired else "exit 3")
    with pytest.raises(error) as raised:
        subprocess.run(command, **options) if way == "run" else asyncio.run(treeguard.arun(command, **options))
    assert (raised.value.stdout, raised.value.stderr, raised.value.dropped) == (b"12", b"12", (3, 1))


@pytest.mark.parametrize("options", [{}, {"executable": "/bin/true"}])
def test_no_command_is_refused_in_the_same_words(options: dict[str, Any]) -> None:
    """Before anything is started."""
    for call in (subprocess.run, subprocess.Popen, subprocess.check_output):
        with pytest.raises(ValueError, match="args must not be empty"):
            call([], **options)
    with pytest.raises(ValueError, match="args must not be empty"):
        asyncio.run(treeguard.arun([], **options))


def test_an_unknown_argument_is_told_with_the_name_of_what_was_called() -> None:
    """As Python tells it."""

    async def opened() -> None:
        unknown: dict[str, Any] = {"timeout": 5}
        async with treeguard.open_tree("true", **unknown):
            pass

    with pytest.raises(TypeError, match=r"^open_tree\(\) got an unexpected keyword argument 'timeout'"):
        asyncio.run(opened())


@pytest.mark.parametrize("way", ["Popen", "open_tree"])
def test_a_terminal_takes_bytes(way: str) -> None:
    """Also where streams are text."""

    async def on_a_loop() -> None:
        async with treeguard.open_tree("cat", pty=True) as tree:
            assert tree.pty is not None
            tree.pty.write(text)

    def without_one() -> None:
        with subprocess.Popen(["cat"], pty=True, text=True) as process:
            assert process.pty is not None
            process.pty.write(text)

    text: Any = "x"
    with pytest.raises(TypeError, match=r"^a terminal takes bytes, not str"):
        without_one() if way == "Popen" else asyncio.run(on_a_loop())


@pytest.mark.parametrize("way", ["run", "Popen", "arun"])
def test_a_guard_that_is_killed_during_a_start_is_told_as_any(containing: Mechanism, way: str) -> None:
    """Whether it had told of the start by then, or not. Nobody warns that the root is still running."""

    def popen() -> None:
        with subprocess.Popen(command, containment=containing) as process:
            process.wait(PATIENCE)

    command: Any = ["sh", "-c", "kill -9 $PPID"]
    ways: dict[str, Callable[[], Any]] = {
        "run": lambda: subprocess.run(command, containment=containing),
        "Popen": popen,
        "arun": lambda: asyncio.run(treeguard.arun(command, containment=containing)),
    }
    for _ in range(15):
        with pytest.raises(treeguard.GuardLost):
            ways[way]()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": "text"}, "input must be bytes, not str"),
        ({"input": 5}, "input must be bytes, not int"),
        ({"input": b"bytes", "text": True}, "input must be a string, not bytes"),
        ({"timeout": "5"}, "timeout must be a number of seconds or None, not '5'"),
    ],
)
def test_wrong_inputs_are_refused_in_the_same_words(options: dict[str, Any], words: str) -> None:
    """Before anything is started."""
    script = ["/bin/sh", "-c", "echo started >&2"]
    with pytest.raises(TypeError, match=words):
        subprocess.run(script, **options)
    with pytest.raises(TypeError, match=words):
        asyncio.run(treeguard.arun(script, **options))


def test_streams_have_their_words_everywhere() -> None:
    """Those of ``SpawnParams``, beside the standard library's numbers."""
    script = ["/bin/sh", "-c", "cat; echo out; echo err >&2"]
    streams: dict[str, Any] = {"stdin": "null", "stdout": "pipe", "stderr": "stdout"}
    assert subprocess.run(script, idle_timeout=60, **streams).stdout == b"out\nerr\n"
    assert asyncio.run(treeguard.arun(script, bufsize=0, **streams)).stdout == b"out\nerr\n"


# What help() shows.


@pytest.mark.parametrize(
    "function",
    [
        *(subprocess.run, subprocess.Popen, subprocess.call, subprocess.check_call, subprocess.check_output),
        *(treeguard.arun, treeguard.open_tree, treeguard.create_subprocess_exec, treeguard.create_subprocess_shell),
    ],
)
def test_signatures_name_every_keyword(function: Any) -> None:
    """help() and completion show what is accepted, with its default, and nothing that is not."""
    parameters = inspect.signature(function).parameters
    assert not [each for each in parameters.values() if each.kind is each.VAR_KEYWORD]
    assert {*ChildOptions.__annotations__, "env", "clear_env", "containment"} <= {*parameters}
    # Each that the standard library's function has of that name, in its order.
    if function is not treeguard.open_tree:
        theirs = getattr(standard, function.__name__, None)
        wanted = ["args", *inspect.signature(standard.Popen).parameters] if theirs is not None else []
        left_out = {"stdout"} if function is subprocess.check_output else set()
        assert {*wanted} - {*parameters} == left_out


@pytest.mark.parametrize("way", WAYS)
def test_every_keyword_that_is_shown_is_taken(way: str) -> None:
    """With its default, each alone."""
    function: Any = getattr(subprocess, way, None) or getattr(treeguard, way, None)
    if function is None:
        return
    shown = inspect.signature(function).parameters.values()
    skipped = {"args", "program", "cmd", "stdout", "containment"}
    if way in ("call", "check_call", "check_output", "run", "arun"):
        skipped |= {"input"}
    for each in shown:
        if each.name not in skipped and each.kind is not each.VAR_POSITIONAL:
            assert told(way, "echo fine", **{each.name: each.default}) == "fine", each.name


def test_a_star_import_has_all_names_of_the_standard_librarys() -> None:
    """Also those that it has on another system, or in a later version."""
    assert {*subprocess.__all__} == {*standard.__all__}
    code = """
import subprocess
subprocess.__all__.append("LATER")
subprocess.LATER = 5
from treeguard.subprocess import *
assert LATER == 5 and run is not subprocess.run
"""
    assert standard.run([sys.executable, "-c", code], check=True).returncode == 0


if TYPE_CHECKING:

    async def what_type_checkers_know(flag: bool) -> None:
        """Mypy checks this."""
        assert_type(subprocess.run(["true"], text=True, nice=1), CompletedTree[str])
        assert_type(subprocess.run(["true"], capture_output=True, timeout=5), CompletedTree[bytes])
        assert_type(subprocess.run("true", shell=True, encoding="utf-8", rlimits={7: 64}), CompletedTree[str])
        assert_type(subprocess.run([Path("true"), b"x"], text=flag), CompletedTree[Any])
        assert_type(subprocess.check_output(["true"], stderr=PIPE), bytes)
        assert_type(subprocess.check_output(["true"], text=True, max_output=5), str)
        assert_type(subprocess.Popen(["true"], universal_newlines=True, umask=0o22), subprocess.Popen[str])
        assert_type(subprocess.Popen(["true"], 0, env={b"A": "b"}), subprocess.Popen[bytes])
        assert_type(subprocess.call(["true"], timeout=5, user="nobody"), int)
        assert_type(await treeguard.arun(["true"], errors="replace", containment="cgroup"), CompletedTree[str])
        assert_type(await treeguard.arun(["true"], limits=Limits(memory=1 << 20)), CompletedTree[bytes])
        assert_type(await treeguard.create_subprocess_exec("true", start_new_session=True, pty=(5, 5)), Tree)
        assert_type(await treeguard.create_subprocess_shell("true", PIPE, cwd=Path("/"), argv0="x"), Tree)
        subprocess.run(["true"], nonsense=1)  # type: ignore[call-overload]
        subprocess.run(["true"], nice="1")  # type: ignore[call-overload]
        subprocess.Popen(["true"], text=True, control=True)  # type: ignore[call-overload]
        treeguard.open_tree("true", nonsense=1)  # type: ignore[call-arg]
        await treeguard.create_subprocess_exec("true", preexec_fn=print)  # type: ignore[arg-type]
