"""The interface of a control connection to the system: ordered bytes both ways, on an event loop or for threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from .credentials import Sender

__all__ = ["Line", "Transport"]


class Transport(ABC):
    """One end of a connection, on an event loop. It owns its end. No method blocks."""

    #: Called with the sender of what is read. Data that it refuses is dropped. It is not called where the system does
    #: not report the sender.
    vet: Callable[[Sender], bool] | None = None

    def be_wary(self) -> None:  # noqa: B027 - most systems can send only bytes
        """Treats the other side as untrusted. Anything it sends besides bytes is refused, or costs the loop no time."""

    @abstractmethod
    def watch_reading(self, ready: Callable[[], None] | None) -> None:
        """Calls ``ready`` on the loop while there is data, or the end, to read. None stops the calls.

        The loop may already be closed.
        """

    @abstractmethod
    def watch_writing(self, ready: Callable[[], None] | None) -> None:
        """Calls ``ready`` on the loop while there is room to write. None stops the calls."""

    @abstractmethod
    def read(self) -> bytes | None:
        """Returns some of the arrived data, or empty bytes at the end. None: no data yet, or ``vet`` refused it.

        Raises OSError. If the error is a shortage (:data:`~treeguard.errors.SHORTAGES`), nothing has been read, and the
        call can be repeated.
        """

    @abstractmethod
    def write(self, data: bytearray) -> int:
        """Returns how many bytes were accepted, or 0 if there is no room. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Closes the end. Accepted data still arrives as far as the system has taken it over."""

    def forget(self) -> None:
        """Closes the end of a forked copy of this process, without an effect on the other side."""
        self.close()


class Line(ABC):
    """One end of a connection, for threads. It owns its end."""

    @abstractmethod
    def wait(self, seconds: float | None) -> bool:
        """Waits for data or the end. Returns whether there is any. Only one thread may wait at a time."""

    @abstractmethod
    def read(self) -> bytes | None:
        """Returns some of the arrived data, or empty bytes at the end. None: there was no data. Raises OSError."""

    @abstractmethod
    def write(self, data: bytearray) -> int:
        """Returns how many bytes were written. Blocks until some are. Raises OSError."""

    @abstractmethod
    def hang_up(self) -> None:
        """Ends the wait of another thread. The line must still be closed."""

    @abstractmethod
    def close(self) -> None:
        """Closes the end."""
