"""What a child can be given, at each way to start one: its effect is seen in the child, or it is refused by name."""

from __future__ import annotations

import asyncio
import inspect
import os
import shlex
import signal
import subprocess as standard
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

import treeguard
from treeguard import PIPE, ContainmentUnavailable, Limits, LocalProcessManager, subprocess
from treeguard._core.containment.isolation import try_isolation
from treeguard._core.options import ChildOptions
from treeguard.errors import PrivilegeRequired

from ..support import attributes
from ..support.blocking import own_managers

__all__ = ["own_managers"]

pytestmark = pytest.mark.usefixtures("own_managers")

#: It keeps what it promises everywhere, and a limit of the memory by a limit of each process.
MECHANISM: Any = "subreaper"
PRIVILEGED = os.geteuid() == 0


# The ways to start a tree. Each returns what a script of the shell writes to standard output.


def _run(command: list[str], options: dict[str, Any]) -> Any:
    return subprocess.run(command, stdout=PIPE, containment=MECHANISM, **options).stdout


def _check_output(command: list[str], options: dict[str, Any]) -> Any:
    return subprocess.check_output(command, containment=MECHANISM, **options)


def _popen(command: list[str], options: dict[str, Any]) -> Any:
    with subprocess.Popen(command, stdout=PIPE, containment=MECHANISM, **options) as process:
        return process.communicate()[0]


def _called(call: Callable[..., int]) -> Callable[[list[str], dict[str, Any]], bytes]:
    def run(command: list[str], options: dict[str, Any]) -> bytes:
        with tempfile.TemporaryFile() as file:
            assert call(command, stdout=file, containment=MECHANISM, **options) == 0
            file.seek(0)
            return file.read()

    return run


async def _arun(command: list[str], options: dict[str, Any]) -> Any:
    return (await treeguard.arun(command, stdout=PIPE, containment=MECHANISM, **options)).stdout


async def _open_tree(command: list[str], options: dict[str, Any]) -> Any:
    async with treeguard.open_tree(*command, stdout=PIPE, containment=MECHANISM, **options) as tree:
        return (await tree.communicate())[0]


async def _spawn(command: list[str], options: dict[str, Any]) -> Any:
    async with LocalProcessManager(containment=MECHANISM) as manager:
        return (await (await manager.spawn(*command, stdout=PIPE, **options)).communicate())[0]


async def _exec(command: list[str], options: dict[str, Any]) -> Any:
    tree = await treeguard.create_subprocess_exec(*command, stdout=PIPE, containment=MECHANISM, **options)
    return (await tree.communicate())[0]


async def _shell(command: list[str], options: dict[str, Any]) -> Any:
    """The same command, with the shell as the root."""
    tree = await treeguard.create_subprocess_shell(command[2], stdout=PIPE, containment=MECHANISM, **options)
    return (await tree.communicate())[0]


Way = Callable[[list[str], dict[str, Any]], bytes | Awaitable[bytes]]
WAYS: dict[str, Way] = {
    "run": _run,
    "Popen": _popen,
    "call": _called(subprocess.call),
    "check_call": _called(subprocess.check_call),
    "check_output": _check_output,
    "arun": _arun,
    "create_subprocess_exec": _exec,
    "create_subprocess_shell": _shell,
    "open_tree": _open_tree,
    "spawn": _spawn,
}
#: Those that have the standard library's meaning of ``env``, of ``None`` as a stream, and of ignored signals.
LIKE_POPEN = [name for name in WAYS if name not in ("open_tree", "spawn")]


def out(name: str, command: list[str], options: dict[str, Any]) -> bytes:
    """What one of these returns."""
    result = WAYS[name](command, options)
    if isinstance(result, bytes):
        return result

    async def main() -> bytes:
        return await result

    return asyncio.run(main())


def told(name: str, script: str, **options: Any) -> str:
    """What a script writes."""
    return out(name, ["/bin/sh", "-c", script], options).decode().strip()


# What a child can be given.


class Given(NamedTuple):
    """An option: its value, what tells of it in the child, and what that tells."""

    value: Any
    script: str
    expected: str
    #: Of the shell that is the root of ``create_subprocess_shell``.
    of_shell: str | None = None


def _status(field: str) -> str:
    return f"sed -n 's/^{field}:[[:space:]]*//p' /proc/$$/status"


def _no_isolation() -> str | None:
    return try_isolation(LocalProcessManager(containment=MECHANISM).containment)


def _pipe_size() -> str:
    return f"exec {shlex.quote(sys.executable)} -Sc 'import fcntl; print(fcntl.fcntl(1, {_F_GETPIPE_SZ}))'"


_F_GETPIPE_SZ = 1032
_OWN = "sed 's/.*) //' /proc/$$/stat | { read state parent group session rest; [ $%s != $$ ] || echo own; }"
ATTRIBUTES = dict(zip(attributes.NAMES, attributes.expected(), strict=True))
SCRIPTS = dict(zip(attributes.NAMES, attributes.REPORT.replace("\n", ";").split(";"), strict=True))
GIVEN: dict[str, Given] = {
    **{name: Given(value, SCRIPTS[name], ATTRIBUTES[name]) for name, value in attributes.given().items()},
    "cwd": Given("/", "pwd", "/"),
    "user": Given(61_007, _status("Uid"), "\t".join(["61007"] * 4)),
    "group": Given(61_008, _status("Gid"), "\t".join(["61008"] * 4)),
    "extra_groups": Given([61_009, 61_010], _status("Groups"), "61009 61010"),
    "ignore_signals": Given([signal.SIGHUP], f"{_status('SigIgn')} | tail -c 2", "1"),
    "new_session": Given(True, _OWN % "session", "own"),
    "start_new_session": Given(True, _OWN % "session", "own"),
    "process_group": Given(0, _OWN % "group", "own"),
    "limits": Given(Limits(memory=1 << 30), "ulimit -v", str(1 << 20)),
    "pipesize": Given(8192, _pipe_size(), "8192"),
    "restore_signals": Given(False, f"{_status('SigIgn')} | tail -c 5", "1000"),
    "executable": Given("/bin/sh", "echo $0", "told", of_shell="/bin/sh"),
    "isolation": Given("signals", _status("NoNewPrivs"), "1"),
}
#: What is refused here, and why.
REFUSED: dict[str, tuple[Any, str]] = {
    "creationflags": (0x80, "creationflags is to be had on Windows only"),
    "show_window": (0, "show_window is to be had on Windows only"),
    "startupinfo": (object(), "startupinfo is to be had on Windows only"),
    "preexec_fn": (print, "preexec_fn must be None: it would run Python .* use start_new_session=True"),
    "terminal": (0, "terminal"),  # see below
    "process_group": (7, "process_group must be 0 or None, not 7: each tree has a process group of its own"),
}
#: What differs from way to way, or takes a descriptor: tested below.
ELSEWHERE = {"pass_fds", "close_fds"}
PRIVILEGES = ("user", "group", "extra_groups")


def test_every_option_is_in_the_tables() -> None:
    """None that type checkers and help() know is left out."""
    assert {*GIVEN, *REFUSED, *ELSEWHERE} == {*ChildOptions.__annotations__}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GIVEN)
def test_the_child_has_what_it_was_given(name: str, way: str) -> None:
    """And the same child has it not where it is not given, but for its group, which each has."""
    given = GIVEN[name]
    if name == "pipesize" and way in ("call", "check_call"):
        pytest.skip("it has no pipe")
    script, expected = given.script, given.expected
    words = ["/bin/sh", "-c", script]
    if name == "executable":
        words[0] = "told"
    if way == "create_subprocess_shell" and given.of_shell is not None:
        expected = given.of_shell
    if name in PRIVILEGES and not PRIVILEGED:
        with pytest.raises(PrivilegeRequired):
            out(way, words, {name: given.value})
        return
    if name == "isolation" and _no_isolation() is not None:
        with pytest.raises(ContainmentUnavailable, match="isolation"):
            out(way, words, {name: given.value})
        return
    seen = out(way, words, {name: given.value})
    assert seen.decode().strip() == expected
    if name not in ("executable", "process_group"):
        assert told(way, script) != expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [name for name in REFUSED if name != "terminal"])
def test_what_is_refused_is_named(name: str, way: str) -> None:
    """In the same words everywhere, and before anything is started."""
    value, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        told(way, "echo started >&2", **{name: value})


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_must_be_one_of_the_childs(way: str) -> None:
    """A descriptor that the child does not have cannot be its terminal."""
    read, write = os.pipe()
    try:
        with pytest.raises(ValueError, match="terminal must be a standard stream of the child, or one of pass_fds"):
            told(way, "echo started >&2", terminal=read)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("way", WAYS)
def test_descriptors_are_passed_on(way: str) -> None:
    """By number, or all that are inheritable."""
    read, write = os.pipe()
    see = f"[ -e /proc/$$/fd/{read} ] && echo there; [ -e /proc/$$/fd/{write} ] && echo both; true"
    try:
        assert told(way, see) == ""
        assert told(way, see, pass_fds=[read]) == "there"
        os.set_inheritable(read, True)
        assert told(way, see) == ""
        assert told(way, see, close_fds=False) == "there"
        with pytest.warns(RuntimeWarning, match="pass_fds overriding close_fds"):
            assert told(way, see, close_fds=False, pass_fds=[write]) == "both"
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("way", WAYS)
def test_the_environment_is_whole_or_added(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``env`` is all of it where the names are the standard library's; ``clear_env`` says otherwise."""
    monkeypatch.setenv("TREEGUARD_TEST_INHERITED", "inherited")
    see = "echo $GIVEN $TREEGUARD_TEST_INHERITED"
    assert told(way, see) == "inherited"
    assert told(way, see, env={"GIVEN": "given"}) == ("given" if way in LIKE_POPEN else "given inherited")
    assert told(way, see, env={"GIVEN": "given"}, clear_env=True) == "given"
    assert told(way, see, env={"GIVEN": "given"}, clear_env=False) == "given inherited"
    assert told(way, see, clear_env=True) == ""


@pytest.mark.parametrize("way", WAYS)
def test_ignored_signals_are_inherited_as_by_the_standard_librarys_children(way: str) -> None:
    """What this program ignores, but what Python ignores; a child of a manager is given its signals by name."""
    see = f"{_status('SigIgn')} | tail -c 5"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        theirs = standard.run(["/bin/sh", "-c", see], stdout=PIPE, check=True).stdout.decode().strip()
        assert theirs == "0001"
        assert told(way, see) == (theirs if way in LIKE_POPEN else "0000")
        assert told(way, see, restore_signals=False) == "1001"
        assert told(way, see, ignore_signals=[signal.SIGINT]) == ("0003" if way in LIKE_POPEN else "0002")
    finally:
        signal.signal(signal.SIGHUP, before)


#: A value of the wrong type or range for each, and how the message begins and ends.
WRONG: dict[str, tuple[Any, str]] = {
    "user": (
        "nobody-of-this-name",
        "user must be the name of a user of this system, or a number, not 'nobody-of-this-name'",
    ),
    "group": ("none-of-it", "group must be the name of a group of this system, or a number, not 'none-of-it'"),
    "extra_groups": (
        ["none-of-it"],
        "extra_groups[0] must be the name of a group of this system, or a number, not 'none-of-it'",
    ),
    "umask": ("027", "umask must be a mask of permissions, from 0 to 0o777, not '027'"),
    "nice": (100, "nice must be a whole number from -39 to 39, not 100"),
    "rlimits": ([1], "rlimits must be a mapping of resources to limits, not [1]"),
    "oom_score_adj": (5000, "oom_score_adj must be a whole number from -1000 to 1000, not 5000"),
    "cpu_affinity": (3, "cpu_affinity must be a collection of CPUs' numbers, not 3"),
    "ignore_signals": (3, "ignore_signals must be a sequence, such as a tuple or a list, not 3"),
    "new_session": ("yes", "new_session must be True, False or None, not 'yes'"),
    "limits": (5, "limits must be Limits or None, not 5"),
    "isolation": ("walls", "isolation must be None, 'none' or 'signals', not 'walls'"),
    "pipesize": ("big", "pipesize must be a number of bytes, at most 2147483647, or -1, not 'big'"),
    "argv0": (5, "argv0 must be a string or a path, not 5"),
    "creationflags": ("x", "creationflags must be a whole number from 0 to 4294967295, not 'x'"),
    "show_window": ("x", "show_window must be a whole number from 0 to 65535, not 'x'"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_in_the_same_words(name: str, way: str) -> None:
    """The message names the argument, says what it accepts, and shows what it was given."""
    value, words = WRONG[name]
    with pytest.raises((TypeError, ValueError)) as raised:
        told(way, "echo started >&2", **{name: value})
    assert words in str(raised.value)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_argument_is_a_type_error(way: str) -> None:
    """As any function's, before anything is started."""
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'colour'"):
        told(way, "echo started >&2", colour="red")


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
