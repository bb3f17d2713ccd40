"""What a child can be given, at each way to start one: its effect is seen in the child, or it is refused by name."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess as standard
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from treeguard import PIPE, ContainmentUnavailable, Limits, LocalProcessManager
from treeguard._core.containment.isolation import try_isolation
from treeguard._core.options import ChildOptions, ManagedOptions
from treeguard.errors import PrivilegeRequired

from ..support import attributes
from ..support.blocking import own_managers
from ..support.documents import sections
from ..support.ways import LIKE_POPEN, MECHANISM, WAYS, out, told

__all__ = ["own_managers"]

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.usefixtures("own_managers")

PRIVILEGED = os.geteuid() == 0


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
    "pty": Given((30, 100), "stty size 2>/dev/null || true", "30 100"),
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
#: What differs from way to way, takes a descriptor, or shows in no child: tested below, and where launchers die.
ELSEWHERE = {"pass_fds", "close_fds", "die_with_parent"}
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
    "isolation": ("walls", "isolation must be None, 'none', 'signals' or 'pid_namespace', not 'walls'"),
    "pipesize": ("big", "pipesize must be a number of bytes, at most 2147483647, or -1, not 'big'"),
    "pty": ("big", "pty must be True, False or a size of (rows, columns), not 'big'"),
    "cwd": (5, "cwd must be a string or a path, not 5"),
    "env": (5, "env must be a mapping, not 5"),
    "stdin": ("x", "stdin must be 'inherit', 'null', 'pipe' or a descriptor, not 'x'"),
    "pass_fds": (["x"], "pass_fds must be a sequence of descriptors' numbers, not "),
    "executable": (5, "executable must be a string or a path, not 5"),
    "argv0": (5, "argv0 must be a string or a path, not 5"),
    "creationflags": ("x", "creationflags must be a whole number from 0 to 4294967295, not 'x'"),
    "show_window": ("x", "show_window must be a whole number from 0 to 65535, not 'x'"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_in_the_same_words(name: str, way: str) -> None:
    """The message names the argument, says what it accepts, and shows what it was given."""
    value, words = WRONG[name]
    if (name, way) == ("executable", "create_subprocess_shell"):
        words = words.replace("executable", "program")  # it is the shell
    with pytest.raises((TypeError, ValueError)) as raised:
        told(way, "echo started >&2", **{name: value})
    assert words in str(raised.value)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_argument_is_a_type_error(way: str) -> None:
    """As any function's, before anything is started."""
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'colour'"):
        told(way, "echo started >&2", colour="red")


@pytest.mark.parametrize("way", ["run", "Popen", "call", "check_call", "check_output"])
@pytest.mark.parametrize("name", [*ManagedOptions.__annotations__, "manager"])
def test_what_takes_an_event_loop_says_so(name: str, way: str) -> None:
    """Before anything is started."""
    with pytest.raises(TypeError, match=f"{name} must not be given to run and Popen: it takes a manager"):
        told(way, "echo started >&2", **{name: None})


def test_every_replacement_of_preexec_fn_is_in_its_error() -> None:
    """Each option that the page names for something is named there too."""
    page = sections(DOCS / "options.md")["No `preexec_fn`"]
    named = {name for name in re.findall(r"`(\w+)=?[^`]*`", page) if name in ChildOptions.__annotations__}
    assert named >= {"user", "umask", "nice", "rlimits", "ignore_signals", "new_session"}
    with pytest.raises(ValueError, match="preexec_fn") as raised:
        told("run", "true", preexec_fn=print)
    said = {*re.findall(r"\w+", str(raised.value))}
    assert named - said == {"new_session"}
    assert "start_new_session" in said
