"""Input and output of a ``Popen`` on Windows: the pipes are not overlapped, so each has a thread."""

from __future__ import annotations

import errno
import math
import sys
import threading
from typing import TYPE_CHECKING, Any

assert sys.platform == "win32"
from .pump_windows import Event, Traffic  # noqa: E402 - Windows only

if TYPE_CHECKING:
    from .manager import BlockingManager

__all__ = ["Exchange"]

#: How much is read at a time, in bytes.
_CHUNK = 1 << 16


class Exchange(Traffic):
    """The threads of one ``communicate``. They go on after a timeout."""

    def __init__(self, stdin: Any, stdout: Any, stderr: Any, data: Any) -> None:
        self._changed = Event()
        self._writer = None if stdin is None else _Writer(stdin, self._changed, data)
        self._readers = [None if file is None else _Reader(file, self._changed) for file in (stdout, stderr)]
        self._workers: list[_Worker] = [each for each in (self._writer, *self._readers) if each is not None]
        for each in self._workers:
            each.start()

    @property
    def over(self) -> bool:
        """Whether everything was written and read."""
        return all(each.over for each in self._workers)

    def wait(self, manager: BlockingManager, until: float | None) -> bool:
        """Waits until it is over, or until a time. Returns whether it is."""
        return self.over or manager.wait(lambda: self.over, until, self)

    def result(self) -> tuple[Any, Any]:
        """What was read. Raises what has kept a thread from reading or writing."""
        for each in self._workers:
            if each.error is not None:
                raise each.error
        return self._values()

    def so_far(self) -> tuple[bytes | None, bytes | None]:
        """What was read by now, as bytes; None where that is nothing. Of text, whole lines."""
        values = [None if each is None else each.so_far() for each in self._readers]
        return values[0] or None, values[1] or None

    def _values(self) -> tuple[Any, Any]:
        values = [None if each is None else each.value() for each in self._readers]
        return values[0], values[1]

    def left_alone(self) -> tuple[Any, Any, Any]:
        """The files, but for those that a thread still reads or writes: it closes them."""
        files = [None if each is None or not each.over else each.file for each in (self._writer, *self._readers)]
        return files[0], files[1], files[2]

    # How a wait hears of it.

    def until(self) -> float:
        return math.inf

    def events(self) -> list[int] | None:
        return [self._changed.handle]

    def serve(self) -> None:
        self._changed.clear()


class _Worker(threading.Thread):
    """A thread for one file, which it closes at the end."""

    def __init__(self, file: Any, changed: Event) -> None:
        super().__init__(daemon=True)
        self.file = file
        self._changed = changed
        self.over = False
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            try:
                self.work()
            finally:
                self.file.close()
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self._changed.set()

    def work(self) -> None:
        raise NotImplementedError


class _Reader(_Worker):
    def __init__(self, file: Any, changed: Event) -> None:
        super().__init__(file, changed)
        self._parts: list[Any] = []
        self._text = hasattr(file, "encoding")

    def work(self) -> None:
        # Of text whole lines: what the file has decoded and not returned yet is to be had by no other way.
        read = self.file.readline if self._text else getattr(self.file, "read1", self.file.read)
        while part := read(-1 if self._text else _CHUNK):
            self._parts.append(part)

    def value(self) -> Any:
        return ("" if self._text else b"").join(self._parts)

    def so_far(self) -> bytes:
        value = self.value()
        return bytes(value.encode(self.file.encoding, self.file.errors) if self._text else value)


class _Writer(_Worker):
    def __init__(self, file: Any, changed: Event, data: Any) -> None:
        super().__init__(file, changed)
        self._data = data

    def work(self) -> None:
        try:
            if self._data:
                self.file.write(self._data)
            self.file.close()
        except BrokenPipeError:
            pass  # as in the standard library: nobody reads it any more
        except OSError as error:
            # What the C runtime says when the other end was closed.
            if error.errno != errno.EINVAL:
                raise
