"""The interface for connecting child and supervisor. Each system's module has a ``pair`` and a ``Listener``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .._transport import End

if TYPE_CHECKING:
    import asyncio

__all__ = ["Accepted", "BaseListener", "InheritedEnd"]


class InheritedEnd(Protocol):
    """The end that a child inherits. Its number is above those of the standard streams."""

    def fileno(self) -> int: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Accepted(NamedTuple):
    """A process that has connected, and the end that leads to it. The end is None for a process outside the tree."""

    os_pid: int
    end: End | None


class BaseListener(ABC):
    """A place that only this user can connect to."""

    #: The address that the child connects to.
    address: str

    @abstractmethod
    def listen(self, loop: asyncio.AbstractEventLoop, on_connection: Callable[[], None]) -> None:
        """Calls ``on_connection``, a bound method, on the loop while one waits. Resumes after :meth:`pause`."""

    @abstractmethod
    def pause(self) -> None:
        """Stops calling ``on_connection``. The loop may already be closed."""

    @abstractmethod
    def accept(self, belongs: Callable[[int], bool]) -> Accepted | None:
        """Accepts a process that is of the tree according to ``belongs``. Returns None if it is gone.

        Raises OSError if resources are short. The process is still waiting then.
        """

    @abstractmethod
    def close(self) -> None:
        """Removes the place. Calling it again has no effect."""
