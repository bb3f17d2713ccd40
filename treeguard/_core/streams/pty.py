"""The terminal of a tree on an event loop: what it has written is read as a stream, and what is typed is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..attributes import checked_size
from ..terminals import Terminal
from .reader import Arrivals, PipeReader, ReaderProtocol

if TYPE_CHECKING:
    from .terminal import TerminalTransport

__all__ = ["Pty"]


class Pty(PipeReader):
    r"""The pseudo-terminal of a tree: an :class:`asyncio.StreamReader` of what the tree writes to it, and its keyboard.

    A terminal turns ``"\n"`` of what is written into ``"\r\n"``, and echoes what is typed, unless its programs have
    told it otherwise. The end comes when the root has ended and no process has the terminal open. Lines may be of any
    length; a program that reads lines from the terminal is given 4,095 bytes of each at most::

        async with treeguard.open_tree("python3", "-q", pty=True) as tree:
            await tree.pty.readuntil(b">>> ")
            tree.pty.write(b"6 * 7\n")
            await tree.pty.readuntil(b"42\r\n")

    After its end, what is typed goes nowhere, and a new size is no error.
    """

    def __init__(self, terminal: Terminal, arrivals: Arrivals, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("pty", arrivals, loop)
        self._terminal = terminal
        self._writer: asyncio.StreamWriter | None = None

    def _connect(self, transport: TerminalTransport, protocol: ReaderProtocol) -> None:
        self._writer = asyncio.StreamWriter(transport, protocol, None, self._loop)
        transport.begin(protocol)

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

    def write(self, data: bytes | bytearray | memoryview) -> None:
        r"""Types. A line ends with ``"\n"``; ``b"\x03"`` is Ctrl-C, which ends the command in the foreground.

        What there is no room for is kept, and written later: wait for that with :meth:`drain`.
        """
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    def write_eof(self, typed: bytes | bytearray | memoryview | None = None) -> None:
        """Types the end of the input (Ctrl-D). ``typed`` is what was typed last, if that may not end a line.

        A program that reads characters instead of lines, such as an editor, gets it as a character.
        """
        self.write(self._terminal.end_of(typed))

    async def drain(self) -> None:
        """Waits until there is room for more, as :meth:`asyncio.StreamWriter.drain` does."""
        if self._writer is not None:
            await self._writer.drain()

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed: for its attributes (:mod:`termios`), not for reading and writing."""
        return self._terminal.fileno()

    def close(self) -> None:
        """Hangs up: SIGHUP to the root and to the group in the foreground, which by default ends them."""
        if self._writer is not None:
            self._writer.close()
