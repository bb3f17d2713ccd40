"""The lines of several streams in the order in which they arrived."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Sequence
from typing import Any

from ...errors import line_too_long
from ..outcome import TextMode
from ..validation import whole_number
from .reader import PipeReader

__all__ = ["Lines", "check_lines"]


def check_lines(mode: TextMode | None, max_line: int | None) -> None:
    """Raises ValueError or TypeError for an encoding whose lines cannot be cut, or a limit that makes no sense."""
    if max_line is not None:
        whole_number("max_line", max_line, least=1)
    if mode is not None and "\n".encode(codecs.lookup(mode.encoding).name) != b"\n":
        raise ValueError(f"lines of {mode.encoding} cannot be cut at newlines: decode what read() returns")


class Lines:
    """An asynchronous iterator of ``(name, line)``. It may be gone on with after an error."""

    def __init__(self, readers: Sequence[PipeReader], mode: TextMode | None, max_line: int | None) -> None:
        self._readers = readers
        self._mode = mode
        self._max_line = max_line
        self._of_text_or_limited = mode is not None or max_line is not None
        #: How many of all bytes that were fed hold no newline that has not been taken.
        self._searched = dict.fromkeys(readers, 0)

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> tuple[str, Any]:
        while True:
            first, size = None, 0
            for reader in self._readers:
                end = reader.line_end(self._searched[reader]) or self._cut(reader)
                if end and (first is None or _arrival(reader, end) < _arrival(first, size)):
                    first, size = reader, end
            if first is not None:
                return first.name, self._taken(first, size) if self._of_text_or_limited else first.take(size)
            if all(reader.ended for reader in self._readers):
                self._raise_failure()
                raise StopAsyncIteration
            await self._change()

    def _cut(self, reader: PipeReader) -> int:
        """Where a line that has not arrived as a whole is too long; 0 if it is not."""
        if self._max_line is not None and reader.waiting > self._max_line:
            # The error has its turn after what had arrived before.
            return self._max_line + 1
        self._searched[reader] = reader.fed
        return 0

    def _taken(self, reader: PipeReader, end: int) -> bytes | str:
        if self._max_line is not None and reader.line_length(end) > self._max_line:
            raise line_too_long(reader.name, self._max_line)
        line = reader.take(end)
        if self._mode is None:
            return line
        text = line.decode(self._mode.encoding, self._mode.errors)
        return f"{text[:-2]}\n" if text.endswith("\r\n") else text

    def _raise_failure(self) -> None:
        for reader in self._readers:
            if reader.failure is not None:
                raise reader.failure

    async def _change(self) -> None:
        change = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not change.done():
                change.set_result(None)

        living = [reader for reader in self._readers if not reader.ended]
        if any(reader.listener is not None for reader in living):
            raise RuntimeError("the lines of this tree are being read by another task")
        try:
            for reader in living:
                reader.listener = tell
                reader.read_on()
            await change
        finally:
            for reader in living:
                reader.listener = None


def _arrival(reader: PipeReader, end: int) -> tuple[int, str]:
    return reader.arrival(end), reader.name
