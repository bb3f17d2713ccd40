"""Running a command as a tree to its end: its input, its output, and one deadline for all of it."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .._core import validation
from .._core.handlers import SystemErrors
from .._core.inspection.holders import end_holders
from .._core.inspection.left import left_of
from .._core.outcome import (
    Capture,
    CompletedTree,
    Keep,
    Left,
    OnRootExit,
    TextMode,
    TimeoutExpired,
    check_cap,
    check_capture,
    check_idle,
    check_input,
    check_on_root_exit,
    check_timeout,
    checked,
    dropped_by,
)
from ..errors import TreeNotEmpty
from .owner import END_TIMEOUT
from .plain import PlainCommand, is_plain
from .popen import Popen
from .system import Pipes

__all__ = ["NO_LIMITS", "Plan", "run_in"]

PIPE = -1
#: How long the root has to end after Ctrl-C, in seconds; the standard library's value.
_AFTER_INTERRUPT = 0.25
#: How long, in seconds, processes that have left their group may hold the output after they were found and killed, and
#: the pause between looks for them.
_HOLDERS_TIMEOUT, _PAUSE = 1.0, 0.01


class Plan(NamedTuple):
    """How a command is run: see :func:`treeguard.subprocess.run`."""

    timeout: float | None
    on_root_exit: OnRootExit
    grace: float
    max_output: int | None
    keep: Keep
    idle_timeout: float | None

    def check(self) -> None:
        """Raises ValueError or TypeError that names what makes no sense."""
        if self.timeout is not None:
            check_timeout(self.timeout)
        if self[1:] == _USUAL:
            return
        check_capture(self.max_output, self.keep)
        check_on_root_exit(self.on_root_exit)
        validation.optional_seconds("idle_timeout", self.idle_timeout)
        validation.seconds("grace", self.grace)


#: What most commands are run with, but for their timeouts.
NO_LIMITS = Plan(None, "kill", 10.0, None, "head", None)
_USUAL = NO_LIMITS[1:]
#: It has all that is asked of a ``Popen`` here.
_PLAIN: Any = PlainCommand


class _Command:
    """One command on its way to its end."""

    def __init__(self, popen: Callable[..., Popen[Any]], plan: Plan, *, at_terminal: bool = False) -> None:
        """``at_terminal``: what is written to its terminal is its output."""
        self._popen = popen
        self._at_terminal = at_terminal
        self._plan = plan
        self._until = None if plan.timeout is None else time.monotonic() + plan.timeout
        #: The command, noted before it is started.
        self._kept: list[Popen[Any]] = []
        self._pipes: Pipes | None = None
        self._left: tuple[Left, ...] = ()

    def run(self, popenargs: Sequence[Any], kwargs: Mapping[str, Any], data: Any) -> CompletedTree[Any]:
        try:
            try:
                process = self._popen(*popenargs, _start_by=self._until, _kept=self._kept, **kwargs)
            except subprocess.TimeoutExpired as error:
                assert self._plan.timeout is not None
                raise TimeoutExpired(error.cmd, self._plan.timeout) from None
            self._pipes = self._opened(process, data)
            self._complete(process)
            returncode = process._ended()
        except BaseException as error:
            try:
                self._abort(error)
            finally:
                # Again: an exception of a signal handler may have kept that from being begun.
                for process in self._kept:
                    process._end()
            raise
        finally:
            if self._pipes is not None:
                self._pipes.close()
            for process in self._kept:
                if process.pty is not None or not process.stdin is process.stdout is process.stderr is None:
                    _close(process)
            # Each refers to this list. On Windows their locks are handles, which would be kept until a collection.
            self._kept.clear()
        if self._pipes is None:
            return CompletedTree(process.args, returncode, exit=process._tree.exit, left=self._left)
        return self._result(process, returncode)

    def _opened(self, process: Popen[Any], data: Any) -> Pipes | None:
        """What serves the pipes and the terminal of a process; None if it has neither."""
        if sys.platform == "win32" or process.pty is None:
            has_none = process.stdin is process.stdout is process.stderr is None
            return None if has_none else Pipes(process, _encoded(process, data), self._plan)
        from .terminal import TerminalPipes, mode_of  # noqa: PLC0415 - few commands have one

        mode, typed = mode_of(process), data is not None
        text = memoryview(b"" if data is None else mode.encode(data) if mode else data).cast("B")
        return TerminalPipes(process, text, self._plan, typed=typed, captured=self._at_terminal)

    def _abort(self, error: BaseException) -> None:
        """Ends everything, because of an error."""
        for process in self._kept:
            try:
                if isinstance(error, KeyboardInterrupt):
                    self._ask(process)
            finally:
                process._end()
            # A signal handler may have forked: the copy kills nothing.
            if process._held and process._manager.owned:
                self._end_escapees(process)

    def _complete(self, process: Popen[Any]) -> None:
        record = process._tree
        if not process._manager.wait_root(record, self._until, self._pipes):
            raise self._late(process)
        if not record.left:
            self._left = self._look(process)
            if self._plan.on_root_exit == "wait" and not self._wait(process, lambda: record.left, self._until):
                raise self._late(process)
            if self._plan.on_root_exit == "terminate":
                # What cannot be asked is killed.
                with SystemErrors():
                    process._manager.terminate(record)
                last = time.monotonic() + self._plan.grace
                self._wait(process, lambda: record.left, last if self._until is None else min(last, self._until))
            self._end(process)
        if self._pipes is not None:
            self._finish_output(process, self._pipes)

    def _wait(self, process: Popen[Any], done: Callable[[], bool], until: float | None) -> bool:
        return process._manager.wait(done, until, self._pipes)

    def _look(self, process: Popen[Any]) -> tuple[Left, ...]:
        """What lives of the tree."""
        inspection = process._manager.inspection(process._tree)
        if inspection is None:
            return ()
        pipes = frozenset() if self._pipes is None else self._pipes.identities
        # Where nothing can be seen, nothing is told.
        with SystemErrors():
            return left_of(inspection.members, pipes)
        return ()

    def _end(self, process: Popen[Any]) -> None:
        """Kills what is left of the tree, and reads on until it is gone."""
        record = process._tree
        if record.left:
            return
        with SystemErrors():
            process._manager.kill(record)
        last = time.monotonic() + END_TIMEOUT
        # A silence that was long enough ends a wait as well.
        while not self._wait(process, lambda: record.left, last):
            if time.monotonic() >= last:
                left = self._survivors(process)
                raise TreeNotEmpty(f"{process.args!r} is not empty {END_TIMEOUT:g} s after it was killed{left}")

    @staticmethod
    def _survivors(process: Popen[Any]) -> str:
        """What is left of the tree, to be added to a message; empty if that cannot be seen."""
        with SystemErrors(), contextlib.suppress(ImportError):  # too few descriptors
            from .._core.inspection.survivors import described  # noqa: PLC0415 - seldom needed

            if inspection := process._manager.inspection(process._tree):
                return f": {described(inspection.members)}"
        return ""

    def _finish_output(self, process: Popen[Any], pipes: Pipes) -> None:
        """Reads what the tree has written. A process outside of it that holds the output is not waited for."""
        pipes.read_rest()
        if not pipes.reads:
            return
        if self._plan.on_root_exit == "wait":
            if not self._wait(process, lambda: not pipes.reads, self._until):
                raise self._late(process)
            return
        self._left += self._end_holders(process, pipes)

    def _end_holders(self, process: Popen[Any], pipes: Pipes) -> tuple[Left, ...]:
        """Ends the processes that hold the output of a tree that is empty. Returns what it found.

        A tree that contains escapees is empty, so these are strangers to it: they are named, and live on.
        """
        identities = pipes.identities
        if process._held:
            found = self._end_escapees(process)
        else:
            found = end_holders(identities, math.inf) if identities else ()
        pipes.read_rest()
        return found

    def _end_escapees(self, process: Popen[Any]) -> tuple[Left, ...]:
        """Ends processes that have left the root's group, look by look: one may be forking while it is looked at."""
        found: dict[int, Left] = {}
        last = time.monotonic() + _HOLDERS_TIMEOUT
        while (seen := end_holders(process._held, process._since)) and time.monotonic() < last:
            found.update((each.pid, each) for each in seen)
            self._wait(process, lambda: False, time.monotonic() + _PAUSE)
        return tuple(found.values())

    def _late(self, process: Popen[Any]) -> TimeoutExpired:
        """Ends everything, and returns the error with what was written by then."""
        plan, exit_ = self._plan, process._tree.exit
        idle = self._pipes is not None and self._pipes.idle and (self._until is None or time.monotonic() < self._until)
        if self._pipes is not None:
            self._pipes.stop_input()
        self._end(process)
        if self._pipes is not None:
            self._pipes.read_rest()
            if self._pipes.reads:
                self._left += self._end_holders(process, self._pipes)
        after = (plan.idle_timeout if idle else plan.timeout) or 0.0
        captures = [self._capture(each) for each in self._streams(process)]
        output, errors = [capture and (capture.value or None) for capture in captures]
        return TimeoutExpired(
            *(process.args, after),
            output=output,
            stderr=errors,
            idle=idle,
            exit=exit_,
            left=self._left,
            dropped=dropped_by(captures),
        )

    def _ask(self, process: Popen[Any]) -> None:
        """Ctrl-C reached this process alone: the tree has a process group of its own. So the signal is passed on."""
        record = process._record
        if record is None:  # the signal came before the tree was made
            return
        process._pass_on()
        self._wait(process, lambda: record.exit is not None or record.empty, time.monotonic() + _AFTER_INTERRUPT)

    def _streams(self, process: Popen[Any]) -> tuple[Any, Any]:
        return process.pty if self._at_terminal else process.stdout, process.stderr

    def _capture(self, stream: Any) -> Capture | None:
        return None if self._pipes is None else self._pipes.capture(stream)

    def _result(self, process: Popen[Any], returncode: int) -> CompletedTree[Any]:
        outputs, captures = [], []
        stream: Any
        for stream in self._streams(process):
            capture = self._capture(stream)
            value: Any = None if capture is None else capture.value
            if capture is not None and process.text_mode:
                value = _mode(process, stream).decode(value, cut=capture.dropped > 0)
            outputs.append(value)
            captures.append(capture)
        return CompletedTree(
            process.args, returncode, *outputs, exit=process.exit, left=self._left, dropped=dropped_by(captures)
        )


def _mode(process: Popen[Any], stream: Any) -> TextMode:
    if stream is not process.pty:
        return TextMode(stream.encoding, stream.errors)
    from .terminal import mode_of  # noqa: PLC0415 - few commands have one

    mode = mode_of(process)
    assert mode is not None
    return mode


def _close(process: Popen[Any]) -> None:
    stream: Any
    for stream in (process.stdin, process.stdout, process.stderr, process.pty):
        if stream is not None and not stream.closed:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _encoded(process: Popen[Any], data: Any) -> memoryview:
    if not data:  # nothing at all, also where an encoding begins with a mark
        return memoryview(b"")
    stdin: Any = process.stdin
    if process.text_mode:
        data = TextMode(stdin.encoding, stdin.errors).encode(data)
    return memoryview(data).cast("B")


def run_in(
    popen: Callable[..., Popen[Any]],
    popenargs: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    data: Any,
    capture_output: bool,
    check: bool,
    plan: Plan,
) -> CompletedTree[Any]:
    """Runs a command to its end: see :func:`treeguard.subprocess.run`."""
    plan.check()
    if data is None and not capture_output and popen is Popen and plan[1:] == _USUAL and is_plain(popenargs, kwargs):
        popen = _PLAIN
    if data is not None:
        if kwargs.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        if data:
            check_input(data, text=any(map(kwargs.get, ("text", "encoding", "errors", "universal_newlines"))))
        kwargs["stdin"] = PIPE if not kwargs.get("pty") else None
    if capture_output:
        if kwargs.get("stdout") is not None or kwargs.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        kwargs["stdout"] = kwargs["stderr"] = PIPE
    if plan.idle_timeout is not None or plan.max_output is not None:
        # Popen's fifth and sixth arguments.
        outputs = (kwargs.get("stdout"), kwargs.get("stderr"), *popenargs[4:6])
        has_pipe = any(each in (PIPE, "pipe") for each in outputs)
        if plan.idle_timeout is not None:
            check_idle(has_pipe or bool(kwargs.get("pty")))
        if plan.max_output is not None:
            check_cap(has_pipe)
    at_terminal = False
    if kwargs.get("pty"):
        from .._core.terminals import streams_at_terminal  # noqa: PLC0415 - few commands have one

        streams = (kwargs.get("stdout"), kwargs.get("stderr"))
        (kwargs["stdout"], kwargs["stderr"]), at_terminal = streams_at_terminal(*streams, capture_output=capture_output)
    done = _Command(popen, plan, at_terminal=at_terminal).run(popenargs, kwargs, data)
    return checked(done) if check else done
