"""What a control connection asks of the system: bytes both ways, in order, on an event loop or for threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from .credentials import Sender

__all__ = ["Line", "Transport"]


class Transport(ABC):
    """One end of a connection, on an event loop. Nothing here waits. Owns its end."""

    #: Asked about who sent what is read; what it refuses is dropped. Where the system does not tell, it is not asked.
    vet: Callable[[Sender], bool] | None = None

    def be_wary(self) -> None:  # noqa: B027 - most systems can send nothing else
        """The other side is not trusted: what it sends beside bytes is refused, or costs the loop no time."""

    @abstractmethod
    def watch_reading(self, ready: Callable[[], None] | None) -> None:
        """Has ``ready`` called on the loop as long as there is something to read, or the end. None: no longer.

        The loop may have been closed.
        """

    @abstractmethod
    def watch_writing(self, ready: Callable[[], None] | None) -> None:
        """The same as long as there is room to write."""

    @abstractmethod
    def read(self) -> bytes | None:
        """Some of what has arrived; empty at the end. None: nothing, yet, or nothing that may be heard.

        Raises OSError; where that is for something that is short (:data:`~treeguard.errors.SHORTAGES`), nothing has
        been taken, and it can be tried again.
        """

    @abstractmethod
    def write(self, data: bytearray) -> int:
        """How many bytes were taken on; 0: there is no room. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """Gives the end up. What was taken on before still arrives, as far as the system has taken it."""

    def forget(self) -> None:
        """In a forked copy of the process: closes the copy's end, and lets nobody notice."""
        self.close()


class Line(ABC):
    """One end of a connection, for threads. Owns its end."""

    @abstractmethod
    def wait(self, seconds: float | None) -> bool:
        """Waits until there is something to read, or the end. Whether there is. For one thread at a time."""

    @abstractmethod
    def read(self) -> bytes | None:
        """Some of what has arrived; empty at the end. None: there was nothing after all. Raises OSError."""

    @abstractmethod
    def write(self, data: bytearray) -> int:
        """How many bytes were written. Waits until some are. Raises OSError."""

    @abstractmethod
    def hang_up(self) -> None:
        """Ends the wait of another thread; the line is still to be closed."""

    @abstractmethod
    def close(self) -> None:
        """Gives the end up."""
