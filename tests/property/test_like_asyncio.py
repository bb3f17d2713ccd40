"""The same program, started through asyncio and through treeguard: everything that can be seen is the same."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import treeguard

#: What a generated program does, step by step, as words of the shell.
STEPS = st.one_of(
    st.tuples(st.just("out"), st.text("xyz \n", max_size=20)),
    st.tuples(st.just("err"), st.text("xyz \n", max_size=20)),
    st.tuples(st.just("much"), st.integers(1, 200_000).map(str)),
    st.just(("line", "")),
    st.just(("cat", "")),
    st.just(("close out", "")),
    st.just(("close in", "")),
    st.just(("fds", "")),
    st.just(("env", "")),
)
ENDS = st.one_of(
    st.integers(0, 255).map(lambda code: f"exit {code}"),
    st.sampled_from(["TERM", "KILL", "USR1", "PIPE"]).map(lambda name: f"kill -{name} $$"),
)
STREAMS = st.sampled_from([subprocess.PIPE, subprocess.DEVNULL])
WORDS = {
    "line": "read -r line && echo \"read $line\" || echo 'no line'",
    "cat": "cat",
    "close out": "exec >&-",
    "close in": "exec <&-",
    "fds": "ls /proc/self/fd | tr '\\n' ' '",
    # A C library may have set some for itself, which os.environ does not know.
    "env": r"env | grep -v '^TREEGUARD_\|^_=\|^LINES=\|^COLUMNS=' | sort",
}


class Program(NamedTuple):
    """A script, and how it is started."""

    script: str
    data: bytes | None
    stdout: int
    stderr: int
    env: dict[str, str] | None


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Any of them; what it cannot do, such as writing to what it has closed, is part of what can be seen."""
    steps = draw(st.lists(STEPS, max_size=6))
    script = "\n".join([*(_words(step) for step in steps), draw(ENDS)])
    errors = draw(st.sampled_from([subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT]))
    env = draw(st.sampled_from([None, {"PATH": "/usr/bin:/bin", "A": "b c"}]))
    return Program(script, draw(st.none() | st.binary(max_size=200)), draw(STREAMS), errors, env)


def _words(step: tuple[str, str]) -> str:
    name, text = step
    if name == "much":
        return f"head -c {text} /dev/zero"
    if name in ("out", "err"):
        return f"printf '%s' '{text}'" + (" >&2" if name == "err" else "")
    return WORDS[name]


async def seen(create: Any, program: Program) -> tuple[object, ...]:
    """What the parent sees of a program."""
    process = await create(
        "sh",
        "-c",
        program.script,
        stdin=subprocess.DEVNULL if program.data is None else subprocess.PIPE,
        stdout=program.stdout,
        stderr=program.stderr,
        env=program.env,
    )
    streams = (process.stdin is None, process.stdout is None, process.stderr is None)
    before = process.returncode if program.data is not None and "cat" in program.script else None
    stdout, stderr = await process.communicate(program.data)
    return streams, before, stdout, stderr, process.returncode, await process.wait()


PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@PROPERTY
@given(programs())
def test_processes(program: Program) -> None:
    """Exits and signals, bytes of each stream, streams that are none, descriptors and environment of the child."""

    async def main() -> None:
        theirs = await seen(asyncio.create_subprocess_exec, program)
        ours = await seen(treeguard.create_subprocess_exec, program)
        assert ours == theirs

    asyncio.run(main())


@PROPERTY
@given(programs(), st.booleans(), st.booleans())
def test_results(program: Program, text: bool, check: bool) -> None:
    """``arun`` beside ``subprocess.run``: results and errors, as text too."""
    options: dict[str, Any] = {"stdout": program.stdout, "stderr": program.stderr, "env": program.env}
    if text:
        options |= {"encoding": "latin-1"}
    if program.data is None:
        options["stdin"] = subprocess.DEVNULL
    else:
        options["input"] = program.data.decode("latin-1") if text else program.data
    command: Sequence[str] = ["sh", "-c", program.script]
    theirs = outcome(lambda: subprocess.run(command, check=check, **options))
    ours = outcome(lambda: asyncio.run(treeguard.arun(command, check=check, **options)))
    assert ours == theirs


def outcome(run: Callable[[], Any]) -> tuple[object, ...]:
    """What is returned or raised, and what that carries."""
    try:
        done = run()
    except subprocess.CalledProcessError as error:
        return "error", error.returncode, error.stdout, error.stderr, str(error)
    return "done", done.returncode, done.stdout, done.stderr, ""


@PROPERTY
@given(
    st.sampled_from(["/nonexistent", "nonexistent", "/", "/etc/passwd", "a\0b"]),
    st.sampled_from([{}, {"cwd": "/nonexistent"}, {"cwd": "/etc/passwd"}, {"stdout": 999}, {"env": {"A=B": "c"}}]),
)
def test_failures(program: str, options: dict[str, Any]) -> None:
    """A program that cannot be started raises an error that is also theirs."""

    async def raised(create: Any) -> BaseException:
        with pytest.raises((OSError, ValueError)) as caught:
            await create(program, **options)
        return caught.value

    async def main() -> None:
        ours = await raised(treeguard.create_subprocess_exec)
        theirs = await raised(asyncio.create_subprocess_exec)
        # Of two mistakes another one may be told first.
        assert options or isinstance(ours, type(theirs))

    asyncio.run(main())


@PROPERTY
@given(st.sampled_from([signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 3]))
def test_signals(number: int) -> None:
    """The same return code."""

    async def code(create: Any) -> int:
        process = await create("sleep", "1000")
        process.send_signal(number)
        result: int = await process.wait()
        assert process.returncode == result
        return result

    async def main() -> None:
        assert await code(treeguard.create_subprocess_exec) == await code(asyncio.create_subprocess_exec)

    asyncio.run(main())
