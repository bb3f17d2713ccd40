"""The same program, started through the standard library and through treeguard: all that can be seen is the same."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess as theirs
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treeguard import subprocess as ours
from treeguard.types import Mechanism

from ..support import mechanisms
from ..support.blocking import opened_managers, own_managers
from ..support.judge import descriptors
from .test_like_asyncio import PROPERTY, Program, programs

__all__ = ["opened_managers", "own_managers"]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the programs are of the shell"),
    pytest.mark.usefixtures("opened_managers"),
]

MECHANISMS = st.sampled_from(mechanisms.EVERY)
#: How streams are made text.
TEXT = st.sampled_from(
    [
        {},
        {"text": True},
        {"universal_newlines": True},
        {"encoding": "latin-1"},
        {"encoding": "utf-8", "errors": "replace"},
        {"encoding": "ascii", "errors": "surrogateescape"},
        {"encoding": "ascii"},
        {"encoding": "utf-16-le"},
    ]
)
#: What is said on a stream: ends of line of all kinds, bytes of all kinds.
SAID = st.one_of(st.binary(max_size=60), st.text("a\r\nö\N{SNOWMAN}", max_size=20).map(str.encode))


def outcome(work: Callable[[], Any]) -> tuple[object, ...]:
    """What is returned or raised, and what that carries."""
    before = descriptors()
    try:
        result: tuple[object, ...] = ("returned", work())
    except theirs.CalledProcessError as error:
        result = "failed", error.returncode, error.stdout, error.stderr, str(error)
    except (UnicodeError, theirs.SubprocessError) as error:
        result = type(error), str(error)
    except ValueError:
        # Treeguard's is an OSError too, with words of its own.
        result = ("wrong",)
    except (OSError, TypeError, AttributeError) as error:
        result = next(each for each in type(error).__mro__ if each.__module__ == "builtins"), error.args[:1]
    # A manager keeps some for later, which are the null device as long as they are not needed.
    opened = {fd for fd, what in descriptors().items() if what != "/dev/null"}
    return *result, opened - before.keys()


def parts(done: theirs.CompletedProcess[Any]) -> tuple[object, ...]:
    """What is known of a command that has ended."""
    return done.args, done.returncode, done.stdout, done.stderr


def options_of(program: Program, text: dict[str, Any]) -> dict[str, Any]:
    """How it is run."""
    options: dict[str, Any] = {"stdout": program.stdout, "stderr": program.stderr, "env": program.env, **text}
    if program.data is None:
        return {**options, "stdin": theirs.DEVNULL}
    return {**options, "input": program.data.decode("latin-1") if text else program.data}


@PROPERTY
@given(programs(), TEXT, st.booleans(), MECHANISMS)
def test_commands(program: Program, text: dict[str, Any], check: bool, mechanism: Mechanism) -> None:
    """Exits, signals, bytes and text of each stream, errors, the descriptors of the child, and those of the parent."""
    options = options_of(program, text)
    command = ["sh", "-c", program.script]
    expected = outcome(lambda: parts(theirs.run(command, check=check, **options)))
    assert outcome(lambda: parts(ours.run(command, check=check, containment=mechanism, **options))) == expected


@PROPERTY
@given(st.lists(SAID, max_size=4), TEXT, st.sampled_from([-1, 0, 1, 7]), MECHANISMS)
def test_conversations(said: list[bytes], text: dict[str, Any], bufsize: int, mechanism: Mechanism) -> None:
    """A Popen that is written to and read from step by step."""
    if bufsize == 1 and not text:
        bufsize = -1  # Python warns

    def converse(popen: Any, **more: Any) -> list[object]:
        heard: list[object] = []
        process = popen(["cat"], stdin=theirs.PIPE, stdout=theirs.PIPE, bufsize=bufsize, **text, **more)
        with process:
            with contextlib.suppress(UnicodeError):
                for each in said:
                    process.stdin.write(each.decode("latin-1") if text else each)
                    process.stdin.flush()
                    heard.append(process.poll())
            process.stdin.close()
            try:
                heard += process.stdout.readlines()
            except UnicodeError as error:
                heard.append(str(error))
            heard.append((process.wait(), process.returncode, process.poll()))
        return [*heard, process.stdin.closed, process.stdout.closed]

    assert outcome(lambda: converse(ours.Popen, containment=mechanism)) == outcome(lambda: converse(theirs.Popen))


#: Arguments and environments as they may come: text, bytes, paths, undecodable, and wrong.
WORD = st.one_of(st.text(max_size=8), st.binary(max_size=8), st.just("\udcff"), st.just("a\0b"))
NAME = st.sampled_from(["A", b"B", "\udce9", "a=b", "", "PATH", b"A"])


def _known(environ: dict[Any, Any]) -> bool:
    """Treeguard refuses a variable without a name, which nothing can look up; a name twice is anybody's guess."""
    names = [os.fsencode(name) for name in environ]
    return b"" not in names and len(names) == len(set(names))


@PROPERTY
@given(
    st.lists(WORD, max_size=4),
    st.none() | st.dictionaries(NAME, WORD, max_size=4).filter(_known),
    st.booleans(),
    MECHANISMS,
)
def test_arguments(words: list[Any], environ: dict[Any, Any] | None, renamed: bool, mechanism: Mechanism) -> None:
    """What the program gets of its arguments, of its name, and of its environment."""
    command: list[Any] = [
        *(["other"] if renamed else [sys.executable]),
        *("-S", "-c", "import os, sys; print(([*map(os.fsencode, sys.argv)], sorted(os.environb.items())))"),
    ]
    options: dict[str, Any] = {"capture_output": True, "env": environ}
    if renamed:
        options["executable"] = sys.executable

    def shown(run: Any, **more: Any) -> tuple[object, ...]:
        done = run([*command, *words], check=False, **options, **more)
        arguments, variables = ast.literal_eval(done.stdout.decode()) if done.stdout else ((), ())
        if environ is None:
            # A tree has a mark in it, by which it is found if its guard is killed. A C library may have set some for
            # itself, which os.environ does not know.
            variables = [(name, value) for name, value in variables if name in os.environb]
        return done.returncode, arguments, variables

    assert outcome(lambda: shown(ours.run, containment=mechanism)) == outcome(lambda: shown(theirs.run))


@PROPERTY
@given(
    st.sampled_from(["true", "/bin/true", "/nonexistent", "nonexistent", "/", "/etc/passwd", "a\0b", b"true"]),
    st.sampled_from(
        [
            {},
            {"cwd": "/nonexistent"},
            {"cwd": "/etc/passwd"},
            {"cwd": b"/"},
            {"stdout": 999},
            {"executable": "/nonexistent"},
            {"env": {"PATH": ""}},
            {"env": {"PATH": "/nonexistent:/bin"}},
            {"bufsize": "1"},
            {"text": True, "universal_newlines": False},
            {"pass_fds": (0,)},
            {"start_new_session": True},
        ]
    ),
    MECHANISMS,
)
def test_starts(program: Any, options: dict[str, Any], mechanism: Mechanism) -> None:
    """Whether it can be started, and the error if it cannot."""
    if program not in ("true", "/bin/true", b"true"):
        options = {}  # of two mistakes, another one may be told first
    expected = outcome(lambda: parts(theirs.run([program], check=False, **options)))
    assert outcome(lambda: parts(ours.run([program], containment=mechanism, **options))) == expected


#: What Python ignores, and gives back to children. They inherit what this process ignores besides, as under nohup.
_RESTORED = {signal.SIGPIPE, signal.SIGXFSZ}
_IGNORED = {each for each in signal.valid_signals() if signal.getsignal(each) is signal.SIG_IGN} - _RESTORED
#: Those that end a process that does nothing about them.
ENDING = sorted(
    set(signal.valid_signals())
    - _IGNORED
    - {getattr(signal, f"SIG{name}", None) for name in ("CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH")}
)


@settings(PROPERTY, max_examples=70)
@given(st.sampled_from(ENDING), MECHANISMS)
def test_signals(number: int, mechanism: Mechanism) -> None:
    """The same return code, and no error for one that has ended."""

    def code(popen: Any, **more: Any) -> tuple[int, int]:
        with popen(["sleep", "1000"], **more) as process:
            process.send_signal(number)
            result: int = process.wait()
            process.send_signal(number)
            process.kill()
            process.terminate()
            return result, process.returncode

    assert code(ours.Popen, containment=mechanism) == code(theirs.Popen)


@settings(PROPERTY, max_examples=8)
@given(st.sampled_from([{}, {"text": True}, {"encoding": "latin-1"}]), st.none() | st.just(b"sent\r\n"), MECHANISMS)
def test_timeouts(text: dict[str, Any], data: bytes | None, mechanism: Mechanism) -> None:
    """The error, the output so far, and what a conversation gets after it."""
    given_: Any = data if data is None or not text else data.decode()
    pipes = {"stdout": theirs.PIPE, "stderr": theirs.PIPE, **text}

    def late(work: Callable[[], Any]) -> tuple[object, ...]:
        with pytest.raises(theirs.TimeoutExpired) as caught:
            work()
        error = caught.value
        return error.args, error.cmd, error.timeout, error.output, error.stderr, str(error)

    def talk(popen: Any, **more: Any) -> tuple[object, ...]:
        script = "echo out; echo err >&2; cat; exec sleep 1000"
        with popen(["sh", "-c", script], stdin=theirs.PIPE, **pipes, **more) as process:
            first = late(lambda: process.communicate(given_, timeout=0.3))
            process.kill()
            return first, process.communicate(), process.returncode

    command = ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"]
    works: list[Callable[..., tuple[object, ...]]] = [
        lambda module, **more: late(lambda: module.run(command, input=given_, timeout=0.3, **pipes, **more)),
        lambda module, **more: late(lambda: module.check_output(command, timeout=0.3, stderr=-1, **text, **more)),
        lambda module, **more: talk(module.Popen, **more),
    ]
    for work in works:
        assert work(ours, containment=mechanism) == work(theirs)


@PROPERTY
@given(
    st.sampled_from(["echo a; echo b >&2; exit 3", "true", "kill -TERM $$", "nonexistent", "printf 'a\\n\\n'", "\xff"])
)
def test_functions(command: str) -> None:
    """The others are made of these."""
    for name in ("getoutput", "getstatusoutput"):
        assert getattr(ours, name)(command) == getattr(theirs, name)(command)
    for name in ("call", "check_call", "check_output"):
        options = {"shell": True, "stderr": theirs.DEVNULL}
        expected, seen = (outcome(partial(getattr(module, name), command, **options)) for module in (theirs, ours))
        assert seen == expected
