"""What scripted children do, and which command gets which script."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from .._core import validation
from ..errors import TreeguardError
from ..params import SpawnParams
from ..types import ResourceUsage
from .calls import Call, SpawnCall

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    class ScriptFields(TypedDict, total=False):
        """The fields of :class:`Script`, as keywords."""

        stdout: str | bytes
        stderr: str | bytes
        output: Sequence[Output]
        exit: int | None
        after: float
        start_after: float
        fails: tuple[str, int] | None
        term_after: float | None
        term_exit: int | None
        ignores: Sequence[int]
        ends_with_input: bool
        answer: Answer | None
        leaves: Sequence[Descendant]
        loses_guard_after: float | None
        usage: ResourceUsage


__all__ = [
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "NO_PROCESSES",
    "Answer",
    "Command",
    "Descendant",
    "Output",
    "Script",
    "Scripts",
    "UnscriptedCommand",
]

#: For ``fails``: the program does not exist (:class:`~treeguard.ProgramNotFound`).
NOT_FOUND = ("search", errno.ENOENT)
#: For ``fails``: it may not be executed (:class:`~treeguard.errors.ProgramNotExecutable`).
NOT_EXECUTABLE = ("search", errno.EACCES)
#: For ``fails``: a limit on processes is reached (:class:`~treeguard.errors.ProcessLimitReached`).
NO_PROCESSES = ("clone", errno.EAGAIN)

#: Above every number that a real process can have (4 Mi on Linux): a signal that goes astray hits nobody.
FIRST_PID = 1 << 23

#: Gets a line that was written to a child's standard input, and returns what the child writes to standard output then.
Answer = Callable[[bytes], "str | bytes | None"]

#: Which commands a script is for: a program, the first words of a command, or a function of the parameters.
Command = str | Sequence[str] | Callable[[SpawnParams], bool]


class UnscriptedCommand(TreeguardError, AssertionError):
    """The code under test started a command that has no script. ``argv`` is the command."""

    argv: tuple[str, ...] = ()


class Output(msgspec.Struct, frozen=True):
    """Something that a child writes, ``after`` seconds after what it wrote before."""

    data: str | bytes
    stream: Literal["stdout", "stderr"] = "stdout"
    after: float = 0.0


class Descendant(msgspec.Struct, frozen=True):
    """A process that a scripted root starts at once, and that lives on when the root ends.

    * ``ends_after``: the seconds after which it ends by itself. None: it does not.
    * ``in_group``: whether it stays in the root's process group, and so gets the signals that the group gets.
    * ``holds_output``: whether it keeps the root's standard output and error open.
    * ``term_after``: the seconds that it takes to end after SIGTERM. None: it ignores SIGTERM.
    * ``killable``: False for a process that survives SIGKILL, as one that is stuck in the kernel does.
    """

    name: str = "descendant"
    ends_after: float | None = None
    in_group: bool = True
    holds_output: bool = True
    term_after: float | None = 0.0
    killable: bool = True


class Script(msgspec.Struct, frozen=True):
    """What a scripted child does. Times are in seconds on the event loop's clock.

    It writes ``stdout`` and ``stderr``, then each :class:`Output` of ``output``, waits ``after`` seconds and exits with
    ``exit``: a code, minus the number of a signal that it dies of, or None, which means that it stays. As a real
    process it waits while a pipe is full, and dies of SIGPIPE when nobody can read one any more.

    * ``start_after``: how long its start takes.
    * ``fails``: why it cannot be started, as a step and an errno: see :attr:`treeguard.SpawnError.step`. There are
      constants for common cases: ``NOT_FOUND``, ``NOT_EXECUTABLE``, ``NO_PROCESSES``.
    * ``term_after``: the seconds that it takes to end after SIGTERM. None: it ignores SIGTERM. ``term_exit``: the code
      that it exits with then. None: it dies of the signal.
    * ``ignores``: further signals that it ignores. Each other one has its default effect.
    * ``ends_with_input``: it stays until its standard input ends, and only then do ``after`` seconds begin.
    * ``answer``: is called with each line of its standard input, and returns what it writes to standard output, if
      anything.
    * ``leaves``: its descendants, which outlive it.
    * ``loses_guard_after``: the seconds after which its guard is killed (:class:`~treeguard.GuardLost`).
    * ``usage``: what it used, for :class:`~treeguard.RootExit` and :class:`~treeguard.TreeStats`.
    """

    stdout: str | bytes = b""
    stderr: str | bytes = b""
    output: tuple[Output, ...] = ()
    exit: int | None = 0
    after: float = 0.0
    start_after: float = 0.0
    fails: tuple[str, int] | None = None
    term_after: float | None = 0.0
    term_exit: int | None = None
    ignores: tuple[int, ...] = ()
    ends_with_input: bool = False
    answer: Answer | None = None
    leaves: tuple[Descendant, ...] = ()
    loses_guard_after: float | None = None
    usage: ResourceUsage = ResourceUsage()

    if TYPE_CHECKING:
        # Any sequences are taken.
        def __init__(self, **fields: Unpack[ScriptFields]) -> None: ...

    def __post_init__(self) -> None:
        for name in ("output", "ignores", "leaves"):
            msgspec.structs.force_setattr(self, name, tuple(getattr(self, name)))
        for name in ("after", "start_after"):
            validation.seconds(name, getattr(self, name))
        for name in ("term_after", "loses_guard_after"):
            validation.optional_seconds(name, getattr(self, name))
        for name in ("exit", "term_exit"):
            if getattr(self, name) is not None:
                validation.whole_number(name, getattr(self, name), accepted="a whole number or None")


class _Rule:
    """A script and the commands that it is for, as often as it may be used."""

    def __init__(self, command: Command, script: Script, times: int | None) -> None:
        self.script = script
        self.left = times
        self._command = command

    def matches(self, params: SpawnParams) -> bool:
        if self.left == 0:
            return False
        if isinstance(self._command, str):
            return _is_program(self._command, params)
        if callable(self._command):
            return bool(self._command(params))
        first, *rest = self._command
        return _is_program(first, params) and params.args[: len(rest)] == tuple(rest)


def _is_program(name: str, params: SpawnParams) -> bool:
    program = argv_of(params)[0]
    return name in (program, os.path.basename(program))  # noqa: PTH119 - a string


def argv_of(params: SpawnParams) -> tuple[str, ...]:
    """The command of parameters. Without a program it is this interpreter."""
    return (params.program or sys.executable, *params.args)


class Scripts:
    """The scripts of commands, and the record of what was done with the children that play them.

    A command without a script raises :class:`UnscriptedCommand`, or gets the script ``unknown``. Several managers may
    share one object.
    """

    def __init__(self, *, unknown: Script | None = None) -> None:
        self._unknown = unknown
        self._rules: list[_Rule] = []
        self._calls: list[Call] = []
        self._inputs: dict[int, bytearray] = {}
        #: The numbers of processes, of all managers that share this.
        self.numbers = itertools.count(FIRST_PID)

    def script(
        self,
        command: Command,
        script: Script | None = None,
        *,
        times: int | None = None,
        **fields: Unpack[ScriptFields],
    ) -> None:
        """Sets what a command does from now on: a :class:`Script`, or its fields as keywords.

        ``command`` is a program, by its name or its path, a sequence of the first words of the command, or a function
        that is called with the :class:`~treeguard.SpawnParams` and returns whether they are meant. A later script comes
        before an earlier one. With ``times`` it is used for so many spawns, and then the earlier ones are again::

            scripts.script("git", exit=128, stderr="fatal: not a git repository")
            scripts.script(["git", "status"], stdout="nothing to commit")
            scripts.script("make", exit=0)
            scripts.script("make", exit=2, times=1)     # fails first, then succeeds
        """
        if script is None:
            script = Script(**fields)
        elif fields != {}:
            raise TypeError("a script is given as a Script or by its fields, not both")
        if times is not None:
            validation.whole_number("times", times, least=1, accepted="a positive whole number or None")
        if not isinstance(command, str) and not callable(command) and not command:
            raise ValueError("command must not be empty")
        self._rules.append(_Rule(command, script, times))

    @property
    def calls(self) -> tuple[Call, ...]:
        """What was done with the children, in order."""
        return tuple(self._calls)

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """The commands that were started, or could not be, in order: each a program and its arguments."""
        return tuple(call.argv for call in self._calls if isinstance(call, SpawnCall))

    def input_of(self, os_pid: int) -> bytes:
        """What a child has read from its standard input so far. ``os_pid`` is the number of its root."""
        return bytes(self._inputs.get(os_pid, b""))

    # What the system without processes asks.

    def take(self, params: SpawnParams) -> Script:
        """The script for a command, used once. Raises :class:`UnscriptedCommand` if there is none."""
        for rule in self._matching(params):
            if rule.left is not None:
                rule.left -= 1
            return rule.script
        if self._unknown is None:
            argv = argv_of(params)
            known = ", ".join(sorted({repr(rule._command) for rule in self._rules})) or "none"
            error = UnscriptedCommand(f"no script for the command {list(argv)!r}; there are scripts for: {known}")
            error.argv = argv
            raise error
        return self._unknown

    def _matching(self, params: SpawnParams) -> Iterator[_Rule]:
        return (rule for rule in reversed(self._rules) if rule.matches(params))

    def note(self, call: Call) -> None:
        """Adds to the record."""
        self._calls.append(call)

    def note_input(self, os_pid: int, data: bytes) -> None:
        """Adds to what a child has read."""
        self._inputs.setdefault(os_pid, bytearray()).extend(data)
