"""The same request, put to the standard library and to treeguard: what can be seen of each answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

import treeguard
import treeguard.subprocess

from ..support.judge import descriptors

__all__ = ["OURS", "THEIRS", "Request", "answer", "errors_of", "requests"]

#: What a script shows of the process that runs it.
SHOWN = {
    "arguments": "tr '\\0' ' ' </proc/$$/cmdline",
    "directory": "pwd",
    "umask": "umask",
    # A root leads a group of its own, which asks for another answer only where a session is not asked for.
    "session": '[ "$(cut -d " " -f 6 /proc/$$/stat)" = $$ ]; echo $?',
    # Without the two that the C library keeps for itself, which Python does not know.
    "ignored": 'printf "%x\\n" $((0x$(grep SigIgn /proc/$$/status | cut -f 2) & ~0x180000000))',
    # What standard input is depends on the version: asyncio's was a socket.
    "descriptors": 'for fd in /proc/$$/fd/[1-9]*; do at=$(readlink $fd); echo "${fd##*/} ${at%%[*}"; done',
    "limits": "ulimit -a",
    "variables": r"env | grep -v '^TREEGUARD_\|^_=\|^LINES=\|^COLUMNS=' | sort",
    "input": "cat",
    "a line": 'read -r line; echo "$? $line"',
    "turns": "for n in 1 2 3; do echo out $n; echo err $n >&2; done",
    "much": "head -c 70000 /dev/zero",
    "to the passed one": "echo passed >&60",
    "closing": "exec >&-; echo lost",
}
ENDS = [
    *(f"exit {code}" for code in (0, 1, 77, 255)),
    *(f"kill -{number} $$" for number in (1, 2, 9, 10, 13, 15, 34, 64)),
]
#: What a stream of the child can be, besides what only one of them can be.
OUTPUTS = ["pipe", "null", "file", "text file", "appended", "descriptor", "inherited one"]
TEXT: list[dict[str, Any]] = [
    *({}, {}, {"text": True}, {"universal_newlines": True}, {"encoding": "latin-1"}),
    *({"encoding": "ascii", "errors": "backslashreplace"}, {"encoding": "utf-16-le"}, {"errors": "surrogateescape"}),
]
#: The sizes of an input: those around the capacity of a pipe, and what nobody can write at once.
SIZES = [0, 1, 4096, 65535, 65536, 65537, 300_000]
#: The number that a descriptor has which is passed on.
PASSED = 60


class Request(NamedTuple):
    """A script, and how it is started. ``data`` is given to it if its input is ``"data"``."""

    script: str
    stdin: str
    stdout: str
    stderr: str
    data: bytes
    text: Mapping[str, Any]
    options: Mapping[str, Any]
    passed: bool
    ignored: tuple[int, ...]


@st.composite
def requests(draw: st.DrawFn, *, text: bool) -> Request:
    """Any of them, with text only where it is asked for; what a script cannot do is part of what can be seen."""
    script = [SHOWN[name] for name in draw(st.lists(st.sampled_from(sorted(SHOWN)), max_size=5))]
    options: dict[str, Any] = {
        "cwd": draw(st.sampled_from([None, "/", b"/tmp", Path("/usr")])),
        "env": draw(
            st.sampled_from([None, {"PATH": "/usr/bin:/bin", "A": "b c"}, {b"PATH": b"/bin", b"\xff": b"\xfe"}])
        ),
        "start_new_session": draw(st.booleans()),
        "restore_signals": draw(st.booleans()),
        "umask": draw(st.sampled_from([-1, 0, 0o27])),
    }
    size = draw(st.sampled_from(SIZES))
    return Request(
        "\n".join([*script, draw(st.sampled_from(ENDS))]),
        draw(st.sampled_from(["null", "data", "data", "file", "descriptor"])),
        draw(st.sampled_from(OUTPUTS)),
        draw(st.sampled_from([*OUTPUTS, "stdout"])),
        (draw(st.sampled_from([b"a\r\nb\rc\n", b"\xc3\xa9\n", b"xyz"])) * size)[:size],
        draw(st.sampled_from(TEXT)) if text else {},
        {name: value for name, value in options.items() if value is not None},
        draw(st.booleans()),
        draw(st.sampled_from([(), (signal.SIGHUP, signal.SIGUSR1)])),
    )


# The ways.


def _by_run(run: Callable[..., Any], command: list[str], data: Any, options: Any) -> tuple[object, ...]:
    if data is not None:
        options = {**options, "input": data}
        del options["stdin"]
    done = run(command, **options)
    return done.args, done.returncode, done.stdout, done.stderr


def _by_popen(popen: Callable[..., Any], command: list[str], data: Any, options: Any) -> tuple[object, ...]:
    with popen(command, **options) as process:
        outputs = process.communicate(data)
        streams = [stream is None or stream.closed for stream in (process.stdin, process.stdout, process.stderr)]
        modes = process.text_mode, process.encoding, process.errors
        return process.args, process.returncode, outputs, streams, modes, process.wait(), process.poll()


def _by_asyncio(create: Callable[..., Any], command: list[str], data: Any, options: Any) -> tuple[object, ...]:
    async def main() -> tuple[object, ...]:
        process = await create(*command, **options)
        streams = [stream is None for stream in (process.stdin, process.stdout, process.stderr)]
        outputs = await process.communicate(data)
        return process.returncode, outputs, streams, await process.wait()

    return asyncio.run(main())


def _arun(*args: Any, **options: Any) -> Any:
    return asyncio.run(treeguard.arun(*args, **options))


Way = Callable[[list[str], Any, Any], tuple[object, ...]]
THEIRS: dict[str, Way] = {
    "run": lambda *given: _by_run(subprocess.run, *given),
    "Popen": lambda *given: _by_popen(subprocess.Popen, *given),
    "create_subprocess_exec": lambda *given: _by_asyncio(asyncio.create_subprocess_exec, *given),
    "arun": lambda *given: _by_run(subprocess.run, *given),
}
OURS: dict[str, Way] = {
    "run": lambda *given: _by_run(treeguard.subprocess.run, *given),
    "Popen": lambda *given: _by_popen(treeguard.subprocess.Popen, *given),
    "create_subprocess_exec": lambda *given: _by_asyncio(treeguard.create_subprocess_exec, *given),
    "arun": lambda *given: _by_run(_arun, *given),
}


def answer(way: Way, request: Request, directory: Path) -> tuple[object, ...]:
    """What the parent sees: results or an error, the files with their positions, and descriptors that stay open."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        given = _streams(request, directory, stack)
        options = {**given, **request.text, **request.options}
        if request.passed:
            options["pass_fds"] = (_passed(directory / "passed", stack),)
        data: Any = None
        if request.stdin == "data":
            data = request.data.decode("latin-1") if request.text else request.data
        stack.enter_context(_ignoring(request.ignored))
        before = descriptors()
        try:
            result = way(["sh", "-c", request.script, "name", "a b", ""], data, options)
        except (UnicodeError, subprocess.SubprocessError) as error:
            result = type(error), str(error)
        # A manager keeps some for later, which are the null device as long as they are not needed.
        opened = {fd: what for fd, what in descriptors().items() if fd not in before and what != "/dev/null"}
        numbers = {stream if isinstance(stream, int) else stream.fileno() for stream in given.values()}
        positions = [os.lseek(fd, 0, os.SEEK_CUR) for fd in sorted(numbers) if fd > 2]
        files = [(path.name, path.read_bytes()) for path in sorted(directory.iterdir())]
    return result, opened, positions, files


def _streams(request: Request, directory: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    source = directory / "source"
    source.write_bytes(request.data)
    opened: Any = stack.enter_context(source.open("rb"))
    inputs = {"null": subprocess.DEVNULL, "data": subprocess.PIPE, "file": opened, "descriptor": opened.fileno()}
    given = {"stdin": inputs[request.stdin]}
    for name, kind in (("stdout", request.stdout), ("stderr", request.stderr)):
        given[name] = _output(kind, directory / name, stack)
    return given


def _output(kind: str, path: Path, stack: contextlib.ExitStack) -> Any:
    fixed = {"pipe": subprocess.PIPE, "null": subprocess.DEVNULL, "stdout": subprocess.STDOUT}
    if kind in fixed:
        return fixed[kind]
    path.write_bytes(b"before\n" * 20)
    mode = {"text file": "r+", "appended": "ab"}.get(kind, "r+b")
    file = stack.enter_context(path.open(mode))
    file.seek(3)
    if kind == "inherited one":
        os.set_inheritable(file.fileno(), True)
    return file.fileno() if kind == "descriptor" else file


def _passed(path: Path, stack: contextlib.ExitStack) -> int:
    with path.open("wb") as file:
        os.dup2(file.fileno(), PASSED, inheritable=False)
    stack.callback(os.close, PASSED)
    return PASSED


@contextlib.contextmanager
def _ignoring(numbers: tuple[int, ...]) -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def errors_of(way: Way, command: list[Any], options: Mapping[str, Any]) -> BaseException | None:
    """The error of a request that cannot be met, None if it can."""
    try:
        way(command, None, {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **options})
    except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        return error
    return None
