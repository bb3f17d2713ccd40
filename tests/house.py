"""The numbers of the house, printed and checked: ``python -m tests.house``.

What a plain spawn imports, what one spawn and one end of a tree run through, which imports point the wrong way, and
which files and functions are too long. The exit status is 1 if a number is above its limit.
"""

from __future__ import annotations

import ast
import asyncio
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import treeguard
from treeguard import LocalProcessManager, SpawnParams

from .unit.test_layers import SOURCES, inner_imports, problem, unit_of

__all__ = [
    "MOST_CODE",
    "MOST_CROSSINGS",
    "MOST_LINES",
    "MOST_MODULES",
    "code_of",
    "crossings",
    "functions_of",
    "imported",
    "lines_of_code",
    "long_files",
    "long_functions",
    "ways",
]

PACKAGE = Path(treeguard.__file__).parent
CSRC = PACKAGE.parent / "csrc"
#: Lines of a file, and of a function.
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
#: Lines that one spawn and one wait import, and their modules.
MOST_LINES, MOST_MODULES = 5560, 45
#: Loaded besides where another manager's cgroup is beside one's own: does its owner live? Tests run in parallel.
NEIGHBOURS = ("treeguard._core.cgroup.leftovers", "treeguard._core.processes.process")
#: Those of them that are code: docstrings, comments and empty lines do not count.
MOST_CODE = 4500
_NO_CODE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
)
#: Calls of one spawn, and of one end, out of one file into another.
MOST_CROSSINGS = {"spawn": 18, "end": 8}

_LIVES = 3
_LIFE = """
import asyncio, json, sys, treeguard
async def live():
    async with treeguard.LocalProcessManager() as manager:
        child = await manager.spawn_child(treeguard.SpawnParams(sys.executable, ("-c", "")))
        await manager.wait_for_exit(child.pid)
asyncio.run(live())
print(json.dumps({name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}))
"""


def imported() -> tuple[dict[str, str], int]:
    """The modules that a process imports for one spawn and one wait, with their files, and this package's lines.

    The least of some lives: a manager that finds cgroups of a dead one beside its own loads what sweeps them.
    """
    return min((_imported() for _ in range(_LIVES)), key=lambda found: found[1])


def _imported() -> tuple[dict[str, str], int]:
    done = subprocess.run([sys.executable, "-c", _LIFE], capture_output=True, text=True, check=True)
    loaded: dict[str, str] = json.loads(done.stdout)
    files = {name: file for name, file in loaded.items() if name not in NEIGHBOURS}
    return files, sum(file.read_text("utf-8").count("\n") for file in _own(files))


def _own(files: dict[str, str]) -> list[Path]:
    """The files of this package's modules."""
    own = (file for name, file in files.items() if name.partition(".")[0] == "treeguard")
    return [Path(file) for file in own if file.endswith(".py")]


def code_of(files: dict[str, str]) -> int:
    """The lines of code of this package's modules among those."""
    return sum(map(lines_of_code, _own(files)))


def lines_of_code(file: Path) -> int:
    """The lines of a file of Python that are neither empty, nor a comment, nor of a docstring."""
    text = file.read_text("utf-8")
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(found)


class Way(NamedTuple):
    """What is called of this package's Python between two moments."""

    calls: int
    crossings: int
    files: int


class _Recorder:
    """Records calls of this package's functions. A coroutine that goes on after a wait is not called again.

    Frames are kept, so that such a coroutine is known, also where an ``earlier`` recorder has seen its call.
    """

    def __init__(self, earlier: _Recorder | None = None) -> None:
        self._seen: dict[FrameType, str | None] = {}
        self._earlier = {} if earlier is None else earlier._seen

    @contextmanager
    def recording(self) -> Iterator[None]:
        sys.setprofile(self._record)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _record(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or _file_of(frame) is None or frame in self._earlier:
            return
        caller = frame.f_back
        while caller is not None and _file_of(caller) is None:
            caller = caller.f_back
        self._seen.setdefault(frame, None if caller is None else _file_of(caller))

    def way(self) -> Way:
        called = [(_file_of(frame), caller) for frame, caller in self._seen.items()]
        return Way(
            len(called),
            sum(caller is not None and caller != file for file, caller in called),
            len({file for file, _ in called}),
        )


def _file_of(frame: FrameType) -> str | None:
    name = frame.f_code.co_filename
    return name if name.startswith(f"{PACKAGE}{os.sep}") else None


async def _recorded(manager: LocalProcessManager) -> tuple[Way, Way]:
    spawn, wait = _Recorder(), _Recorder()
    end = _Recorder(wait)
    ours, theirs = os.pipe()
    params = SpawnParams("cat", stdin=ours, stdout="null")
    with spawn.recording():
        child = await manager.spawn_child(params)
    os.close(ours)
    with wait.recording():
        waiting = asyncio.ensure_future(manager.wait_for_exit(child.pid))
        await asyncio.sleep(0)
    with end.recording():
        os.close(theirs)
        await waiting
    return spawn.way(), end.way()


async def _shortest() -> dict[str, Way]:
    """The shortest of some lives. The first does more, and an end may take a turn of the loop for the guard's own."""
    async with LocalProcessManager(containment="subreaper") as manager:
        lives = [await _recorded(manager) for _ in range(30)]
    return {"spawn": min(spawn for spawn, _ in lives), "end": min(end for _, end in lives)}


def ways() -> dict[str, Way]:
    """From the call of a spawn to its return, and from the end of a root to the return of a call that waits for it."""
    return asyncio.run(_shortest())


def crossings() -> dict[str, int]:
    """How many calls of those ways lead from one file to another."""
    return {what: way.crossings for what, way in ways().items()}


def long_files() -> list[str]:
    """Files of Python and C that are too long."""
    return [
        f"{path.relative_to(PACKAGE.parent)} ({lines})"
        for path in (*SOURCES, *_c_sources())
        if (lines := path.read_text("utf-8").count("\n")) > LONGEST_FILE
    ]


def _c_sources() -> list[Path]:
    return sorted([*CSRC.rglob("*.c"), *CSRC.rglob("*.h")])


def long_functions() -> list[str]:
    """Functions of Python and C that are too long."""
    return [
        f"{path.name}: {name} ({lines})"
        for path in (*SOURCES, *_c_sources())
        for name, lines in functions_of(path)
        if lines >= LONGEST_FUNCTION
    ]


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file of Python or C, and how many lines follow the first of each."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or 0) - node.lineno
        return
    # Each begins on a line without indentation, and its braces stand alone in the first column.
    for found in re.finditer(r"^(?=\w)[^\n;={]*?(\w+)\([^;{}]*\)\n\{\n(.*?)^\}", path.read_text("utf-8"), re.M | re.S):
        yield found[1], found[0].count("\n")


def _wrong_arrows() -> list[str]:
    return [
        f"{path.relative_to(PACKAGE)}:{line}: {words}"
        for path in SOURCES
        for line, module in inner_imports(path)
        if (words := problem(unit_of(path), module))
    ]


def _say(what: str, found: str, right: bool) -> bool:
    print(f"{what}: {found}{'' if right else '  <- too many'}")
    return right


def main() -> int:
    """Prints and checks all of it."""
    files, lines = imported()
    modules = sum(name.partition(".")[0] == "treeguard" for name in files)
    code = code_of(files)
    right = [
        _say("modules that a spawn and a wait import", f"{modules} of {MOST_MODULES}", modules <= MOST_MODULES),
        _say("their lines", f"{lines} of {MOST_LINES}", lines <= MOST_LINES),
        _say("of code", f"{code} of {MOST_CODE}", code <= MOST_CODE),
    ]
    for what, way in ways().items():
        most = MOST_CROSSINGS[what]
        words = f"{way.calls} calls in {way.files} files, {way.crossings} of {most} from one file to another"
        right.append(_say(f"one {what}", words, way.crossings <= most))
    lists: dict[str, Callable[[], list[str]]] = {
        "imports against the direction": _wrong_arrows,
        f"files over {LONGEST_FILE} lines": long_files,
        f"functions of {LONGEST_FUNCTION} lines and more": long_functions,
    }
    for what, find in lists.items():
        found = find()
        right.append(_say(what, "; ".join(found) or "none", not found))
    return int(not all(right))


if __name__ == "__main__":
    sys.exit(main())
