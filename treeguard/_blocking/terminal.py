"""The terminal of a ``Popen``: read and typed at without an event loop, and served while a command is waited for."""

from __future__ import annotations

import contextlib
import select
import time
from asyncio import IncompleteReadError
from collections.abc import Iterator
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from .._core.attributes import checked_size
from .._core.inspection.left import pipe_identity
from .._core.outcome import Capture, TextMode, text_mode
from .._core.processes.system import now, tick
from .._core.terminals import Terminal
from .command import NO_LIMITS, Plan
from .pipes import Pipes

if TYPE_CHECKING:
    from .._core.spec import Additions
    from ..params import SpawnParams
    from .popen import Popen

__all__ = ["BlockingPty", "TerminalPipes", "communicate", "mode_of", "open_terminal"]

#: Pauses, in seconds, between looks at a terminal that no process has open while the root lives.
_SHORTEST, _LONGEST = 0.001, 0.05
#: How much is read at a time before others have their turn, and how much is kept while somebody types.
_READS, _AHEAD = 16, 1 << 20
#: The most that a terminal holds is a part of this.
_REST = 1 << 20


class BlockingPty:
    r"""The pseudo-terminal of a :class:`treeguard.subprocess.Popen`, for one thread at a time.

    Each call waits, for ``timeout`` seconds at most if it is given one, and then raises TimeoutError; what was read by
    then is returned by the next call. A terminal turns ``"\n"`` of what is written into ``"\r\n"``, and echoes what is
    typed, unless its programs have told it otherwise. The end comes when the root has ended and no process has the
    terminal open::

        with subprocess.Popen(["python3", "-q"], pty=True) as process:
            process.pty.readuntil(b">>> ", timeout=10)
            process.pty.write(b"6 * 7\n")
            process.pty.readuntil(b"42\r\n", timeout=10)
    """

    def __init__(self, terminal: Terminal, process: Popen[Any]) -> None:
        self._terminal = terminal
        self._process = process
        self._buffer = bytearray()
        self._ended = False

    # Reading.

    def read(self, size: int = -1, timeout: float | None = None) -> bytes:
        """Some of what was written, at most ``size`` bytes; empty at the end. -1: all of it, up to the end."""
        until = _until(timeout)
        while size and (size < 0 or not self._buffer) and self._fill(until, timeout):
            pass
        return self._taken(len(self._buffer) if size < 0 else size)

    def readline(self, timeout: float | None = None) -> bytes:
        r"""The next line with its ``"\n"``, which the last one may lack; empty at the end."""
        until = _until(timeout)
        while b"\n" not in self._buffer and self._fill(until, timeout):
            pass
        return self._taken(self._buffer.find(b"\n") + 1 or len(self._buffer))

    def readuntil(self, separator: bytes, timeout: float | None = None) -> bytes:
        """All up to the next ``separator``, and that too. At the end it raises :class:`asyncio.IncompleteReadError`.

        That is an EOFError, whose ``partial`` is what there was.
        """
        if not separator:
            raise ValueError("separator must not be empty")
        until = _until(timeout)
        while separator not in self._buffer:
            if not self._fill(until, timeout):
                raise IncompleteReadError(self._taken(len(self._buffer)), None)
        return self._taken(self._buffer.find(separator) + len(separator))

    def __iter__(self) -> Iterator[bytes]:
        """The lines up to the end."""
        return iter(self.readline, b"")

    def _taken(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self, until: float | None, timeout: float | None) -> bool:
        """Waits for more. Returns whether there is more. Raises TimeoutError."""
        pause = _SHORTEST
        self._process._manager.check_owner()
        while not (self._ended or self._terminal.closed):
            data = self._terminal.read()
            if data:
                self._buffer += data
                return True
            if data is not None and self._over():
                self._ended = True
            elif until is not None and time.monotonic() >= until:
                raise TimeoutError(f"nothing more was written to the terminal within {timeout:g} s")
            elif data is None:
                self._poll(select.POLLIN, until)
            else:
                # It may be opened again (/dev/tty) while its session has a leader.
                self._process._manager.wait_root(self._process._tree, _soon(until, pause))
                pause = min(2 * pause, _LONGEST)
        return False

    def _over(self) -> bool:
        record = self._process._tree
        # It is asked, since nobody else may be waiting for the root.
        return self._process._manager.wait_root(record, 0.0)

    def _poll(self, events: int, until: float | None) -> int:
        """Waits for one of these to be possible. Returns what is, 0 if the time is over."""
        poller = select.poll()
        poller.register(self._terminal.fileno(), events)
        left = None if until is None else max(0.0, until - time.monotonic()) * 1000 + 1
        return sum(events for _, events in poller.poll(left))

    # Typing.

    def write(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        r"""Types all of it. A line ends with ``"\n"``; ``b"\x03"`` is Ctrl-C, which ends the command in the foreground.

        What is written to the terminal meanwhile is read, up to 1 MiB, so that it holds up nobody.
        """
        self._process._manager.check_owner()
        if self.closed:
            raise ValueError("write to a terminal that is closed")
        if isinstance(data, str):
            raise TypeError("a terminal takes bytes, not str")
        until = _until(timeout)
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._terminal.write(rest) :]
            if not rest:
                return
            room = len(self._buffer) < _AHEAD
            seen = self._poll(select.POLLOUT | (select.POLLIN if room else 0), until)
            if seen & select.POLLIN:
                self._buffer += self._terminal.read() or b""
            elif seen & select.POLLHUP and self._process._manager.wait_root(self._process._tree, _soon(until)):
                # Nobody has the terminal open, and nobody will.
                return
            elif until is not None and time.monotonic() >= until:
                raise TimeoutError(f"{len(rest)} bytes could not be typed within {timeout:g} s")

    def write_eof(self, typed: bytes | bytearray | memoryview | None = None, timeout: float | None = None) -> None:
        """Types the end of the input (Ctrl-D). ``typed`` is what was typed last, if that may not end a line."""
        self.write(self._terminal.end_of(typed), timeout)

    # The terminal.

    @property
    def device(self) -> str:
        """The path of the terminal, such as ``/dev/pts/3``."""
        return self._terminal.device

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._terminal.size

    def resize(self, rows: int, columns: int) -> None:
        """Changes the size. The group in the terminal's foreground gets SIGWINCH."""
        checked_size("size", (rows, columns))
        self._terminal.resize(rows, columns)

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed. It does not block."""
        return self._terminal.fileno()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._terminal.closed

    def close(self) -> None:
        """Hangs up: SIGHUP to the root and to the group in the foreground, which by default ends them."""
        self._terminal.close()


def _soon(until: float | None, pause: float = _LONGEST) -> float:
    soon = time.monotonic() + pause
    return soon if until is None else min(soon, until)


def _until(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def open_terminal(process: Popen[Any], params: SpawnParams, additions: Additions) -> SpawnParams:
    """Opens the terminal of a process. Returns the parameters with it, and puts what is added to them."""
    terminal = Terminal(params.pty, params.program)
    process.pty = BlockingPty(terminal, process)
    if process._kept is not None and not process._manager.containment.contains_escapees:
        process._since = int(now() / tick())
    return terminal.given(params, additions)


def mode_of(process: Popen[Any]) -> TextMode | None:
    """The conversion of a process's input and output, which have no file at a terminal."""
    given: Any = process
    return text_mode(text=bool(process.text_mode), encoding=given.encoding, errors=given.errors)


class TerminalPipes(Pipes):
    """The terminal of a command, and its pipes."""

    def __init__(self, process: Popen[Any], data: memoryview, plan: Plan, *, typed: bool, captured: bool) -> None:
        """``typed``: there is an input, which is typed unless standard input is a pipe. ``captured``: the output is."""
        at_pipe = process.stdin is not None
        super().__init__(process, data if at_pipe else memoryview(b""), plan)
        assert process.pty is not None
        self._process = process
        self._terminal = terminal = process.pty._terminal
        self._number = number = terminal.fileno()
        self._typed = memoryview(bytes(data) + terminal.end_of(data)) if typed and not at_pipe else memoryview(b"")
        self._pause = _SHORTEST
        self.captures[number] = Capture(plan.max_output, plan.keep) if captured else Capture(0)
        if captured:
            self._captures[process.pty] = self.captures[number]
        self.open[number] = process.pty
        self._register()

    def _register(self) -> None:
        self.poller.register(self._number, select.POLLIN | (select.POLLOUT if self._typed else 0))

    def stop_input(self) -> None:
        """Types and writes nothing more."""
        super().stop_input()
        if self._typed and self._number in self.open:
            self._typed = self._typed[:0]
            self._register()

    @property
    def identities(self) -> frozenset[str]:
        """What ``/proc`` calls those that are read and have not ended."""
        pipes = frozenset(pipe_identity(fd) for fd in self.captures if fd in self.open and fd != self._number)
        return pipes | self._terminal.identities

    def serve(self, fd: int, events: int) -> None:
        if fd != self._number or fd not in self.open:
            super().serve(fd, events)
            return
        if events & select.POLLOUT and self._typed:
            self._typed = self._typed[self._terminal.write(self._typed[:65536]) :]
            self._register()
        for _ in range(_READS):
            if not self._take():
                return

    def _read(self, fd: int, size: int) -> int:
        return self._take() if fd == self._number else super()._read(fd, size)

    def _end(self, fd: int) -> None:
        if fd == self._number and fd in self.open:
            # It may be left alone for the moment.
            with contextlib.suppress(KeyError):
                self.poller.unregister(fd)
            self.open.pop(fd).close()
        elif fd in self.open:
            super()._end(fd)

    def _take(self) -> int:
        """Reads what there is, and returns how many bytes that was. Looks later if no process has the terminal open."""
        data = self._terminal.read()
        if data:
            self._pause, self._last = _SHORTEST, time.monotonic()
            self.captures[self._number].add(data)
            return len(data)
        if data is not None and self._over():
            self._end(self._number)
        elif data is not None:
            # Its descriptor is ready all the time now.
            with contextlib.suppress(KeyError):
                self.poller.unregister(self._number)
            self._process._manager._pump.call_later(self._pause, self._look_again)
            self._pause = min(2 * self._pause, _LONGEST)
        return 0

    def _over(self) -> bool:
        record = self._process._tree
        return record.exit is not None or record.empty or record.lost

    def _look_again(self) -> None:
        """Perhaps in the thread that runs the loop, for the one that waits here."""
        if self._number in self.open:
            self._register()
            self.ring()

    def rest(self) -> None:
        """Nobody waits here for the moment."""
        waker, self._waker = self._waker, None
        if waker is not None:
            self.poller.unregister(waker.fileno())
            waker.close()

    def read_rest(self) -> None:
        """Reads what was written by now, however much is being written meanwhile."""
        left = _REST
        while left > 0 and self._number in self.open and (read := self._take()):
            left -= read
        super().read_rest()


def communicate(process: Popen[Any], data: Any, timeout: float | None) -> tuple[Any, Any]:
    """What :meth:`subprocess.Popen.communicate` does, at a terminal. It may be called again after a timeout."""
    mode, until = mode_of(process), _until(timeout)
    pipes = process._pipes
    if pipes is None:
        if process.pty is None or process.pty.closed:
            raise ValueError("communicate() on a terminal that is closed")
        typed = memoryview(b"" if data is None else mode.encode(data) if mode else data).cast("B")
        captured = process.stdout is None
        pipes = TerminalPipes(process, typed, NO_LIMITS, typed=data is not None, captured=captured)
        process._pipes = pipes
    record = process._tree
    try:
        ended = process._manager.wait(
            lambda: (record.exit is not None or record.empty) and not pipes.reads, until, pipes
        )
    except KeyboardInterrupt:
        process._pass_on()
        raise
    finally:
        pipes.rest()
    streams = (process.stdout or process.pty, process.stderr)
    captures = [pipes.capture(stream) for stream in streams]
    if not ended:
        assert timeout is not None
        so_far = [capture.value or None if capture else None for capture in captures]
        raise TimeoutExpired(process.args, timeout, output=so_far[0], stderr=so_far[1])
    process._ended()
    values = [None if each is None else mode.decode(each.value) if mode else each.value for each in captures]
    return values[0], values[1]
