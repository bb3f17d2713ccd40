"""Where a child and its supervisor meet: the seam. Each system has a module with a ``pair`` and a ``Listener``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .._transport import End

if TYPE_CHECKING:
    import asyncio

__all__ = ["Came", "Given", "Meeting"]


class Given(Protocol):
    """The end that a child inherits. Its number is above those of the standard streams."""

    def fileno(self) -> int: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Came(NamedTuple):
    """Somebody who came: the process, and the end that leads to it. None: it is not of the tree."""

    os_pid: int
    end: End | None


class Meeting(ABC):
    """A place that only this user may come to."""

    #: What the child is told.
    place: str

    @abstractmethod
    def listen(self, loop: asyncio.AbstractEventLoop, knock: Callable[[], None]) -> None:
        """Has ``knock``, a bound method, called on the loop as long as somebody waits. Again after a :meth:`pause`."""

    @abstractmethod
    def pause(self) -> None:
        """Has nobody called. The loop may have been closed."""

    @abstractmethod
    def accept(self, belongs: Callable[[int], bool]) -> Came | None:
        """Lets one in for whom ``belongs`` says that it is of the tree. None: it has gone away.

        Raises OSError when something is short; then it still waits.
        """

    @abstractmethod
    def close(self) -> None:
        """Takes the place away. Again is no error."""
