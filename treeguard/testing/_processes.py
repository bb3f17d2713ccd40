"""Processes that exist in memory alone: one that hears signals, and one that plays a script."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ._stage import Stage, Timer
from ._streams import ChildStreams

if TYPE_CHECKING:
    from .scripts import Descendant, Script

__all__ = ["SIGKILL", "MemoryProcess", "ScriptedDescendant", "ScriptedProcess", "ScriptedRoot"]

#: Its number on every system; Windows has no name for it.
SIGKILL = 9


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(int(getattr(signal, name)) for name in names if hasattr(signal, name))


_CONTINUES = _numbers("SIGCONT")
_STOPS = _numbers("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU")
_NOT_HEARD = _numbers("SIGCHLD", "SIGURG", "SIGWINCH")


class MemoryProcess:
    """One of a tree: it lives until it hears a signal, which it does not while it is stopped or frozen."""

    #: Its name, as ``ps`` shows it, and whether it survives SIGKILL.
    name = ""
    killable = True
    holds_output = False

    def __init__(self, pid: int, *, in_group: bool = True, stopped: bool = False) -> None:
        self.pid = pid
        self.in_group = in_group
        self.alive = True
        self.stopped = stopped
        self.frozen = self.frozen_by_cgroup = False
        #: How it ended: a code, or minus a signal's number. None: it lives, or nobody knows.
        self.status: int | None = None
        self._held: list[Callable[[], None]] = []

    def end(self, status: int | None = None) -> None:
        """It has ended."""
        if self.alive:
            self.alive = False
            self.status = status
            self._held.clear()

    def when_running(self, action: Callable[[], None]) -> None:
        """Does it now, or when it goes on; never when it ends before."""
        if not self.alive:
            return
        if self.stopped or self.frozen:
            self._held.append(action)
        else:
            action()

    def _go_on(self) -> None:
        while self._held and self.alive and not (self.stopped or self.frozen):
            self._held.pop(0)()

    def hear(self, number: int) -> None:
        """A signal was sent to it."""
        if not self.alive:
            return
        if number == SIGKILL:
            if self.killable:
                self.end(-SIGKILL)
        elif number in _CONTINUES:
            self.stopped = False
            self._go_on()
        elif self.frozen and self.frozen_by_cgroup and not self.stopped and self.dies_of(number):
            # The kernel makes a fatal signal SIGKILL, which a frozen cgroup does not hold up.
            self.end(-number)
        elif number not in _STOPS:
            self.when_running(lambda: self.react(number))
        elif self.stops_at(number):
            self.stopped = True

    def stops_at(self, number: int) -> bool:
        """Whether a signal stops it."""
        return True

    def dies_of(self, number: int) -> bool:
        """Whether a signal has its default effect, which is death."""
        return False

    def react(self, number: int) -> None:
        """What a signal does to it while it runs."""
        self.end(-number)

    def thaw(self) -> None:
        """Lets it go on that was frozen."""
        self.frozen = False
        self._go_on()


class ScriptedProcess(MemoryProcess):
    """One whose end is planned."""

    term_after: float | None = 0.0
    term_exit: int | None = None
    ignores: frozenset[int] = frozenset()

    def __init__(self, pid: int, stage: Stage, changed: Callable[[], None], *, in_group: bool = True) -> None:
        super().__init__(pid, in_group=in_group)
        self._stage = stage
        self._changed = changed
        self._timers: list[Timer] = []

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Does something after so many seconds, if it lives then, and not before it runs."""
        if delay:
            self._timers.append(self._stage.later(delay, lambda: self.when_running(action)))
        else:
            self.when_running(action)

    def end(self, status: int | None = None) -> None:
        if not self.alive:
            return
        super().end(status)
        for timer in self._timers:
            timer.cancel()
        self._changed()

    def stops_at(self, number: int) -> bool:
        return number not in self.ignores or number == getattr(signal, "SIGSTOP", 0)

    def dies_of(self, number: int) -> bool:
        if number == signal.SIGTERM and (self.term_after != 0 or self.term_exit is not None):
            return False
        return number not in _NOT_HEARD | self.ignores

    def react(self, number: int) -> None:
        if number in _NOT_HEARD or number in self.ignores:
            return
        if number != signal.SIGTERM:
            self.end(-number)
        elif self.term_after is not None:
            status = -number if self.term_exit is None else self.term_exit
            self.later(self.term_after, lambda: self.end(status))


class ScriptedDescendant(ScriptedProcess):
    """A process that a root has started."""

    def __init__(
        self, pid: int, stage: Stage, changed: Callable[[], None], plan: Descendant, *, ignored: Collection[int]
    ) -> None:
        """``ignored`` are the signals that the tree was started with ignored."""
        super().__init__(pid, stage, changed, in_group=plan.in_group)
        self.name = plan.name
        self.ignores = frozenset(ignored)
        self.killable = plan.killable
        self.holds_output = plan.holds_output
        self.term_after = plan.term_after
        if plan.ends_after is not None:
            self.later(plan.ends_after, lambda: self.end(0))


class ScriptedRoot(ScriptedProcess):
    """A root, which plays its script once it has been started."""

    holds_output = True

    def __init__(
        self,
        pid: int,
        stage: Stage,
        changed: Callable[[], None],
        script: Script,
        *,
        name: str,
        streams: ChildStreams,
        note_input: Callable[[bytes], None],
        ignored: Collection[int],
    ) -> None:
        """``ignored`` are the signals that the tree was started with ignored."""
        super().__init__(pid, stage, changed)
        self.name = name
        self.term_after, self.term_exit = script.term_after, script.term_exit
        handled = () if script.term_exit is None else (signal.SIGTERM,)
        self.ignores = frozenset((*script.ignores, *ignored)).difference(handled)
        self._script = script
        self._streams = streams
        self._note_input = note_input
        self._line = b""
        self._left = [("stdout", script.stdout, 0.0), ("stderr", script.stderr, 0.0)]
        self._left += [(each.stream, each.data, each.after) for each in script.output]
        self._waits_for_input = script.ends_with_input
        #: Whether everything is written that does not depend on input.
        self._written = False

    def play(self) -> None:
        """Begins."""
        script, streams = self._script, self._streams
        if streams.has_input or script.ends_with_input or script.answer is not None:
            streams.read(self._take)
        self._next()

    def _next(self) -> None:
        if not self.alive:
            return
        if self._left:
            name, data, after = self._left.pop(0)
            self.later(after, lambda: self._write(name, data, self._next))
            return
        self._written = True
        if not self._waits_for_input:
            self._finish()

    def _write(self, name: str, data: str | bytes, done: Callable[[], None]) -> None:
        number = 2 if name == "stderr" else 1
        self._streams.write(number, data.encode() if isinstance(data, str) else data, done, self._break)

    def _break(self) -> None:
        """As the kernel ends a process that writes where nobody reads."""
        self.end(-int(getattr(signal, "SIGPIPE", signal.SIGTERM)))

    def _finish(self) -> None:
        code = self._script.exit
        if code is not None:
            self.later(self._script.after, lambda: self.end(code))

    def _take(self, data: bytes) -> None:
        """Something was written to its standard input, or its end has come."""
        if data:
            self._note_input(data)
        if self._script.answer is not None:
            *lines, self._line = (self._line + data).split(b"\n")
            for line in lines:
                self._answer(line + b"\n")
            if not data and self._line:
                self._answer(self._line)
        if not data and self._waits_for_input:
            self._waits_for_input = False
            if self._written:
                # After its answers, which may have to wait for a reader.
                self.when_running(lambda: self._write("stdout", b"", self._finish))

    def _answer(self, line: bytes) -> None:
        answer = self._script.answer
        assert answer is not None

        def say() -> None:
            said = answer(line)
            if said:
                self._write("stdout", said, lambda: None)

        self.when_running(say)
