"""What each object has that owns one tree, without an event loop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ..errors import GuardLost

if TYPE_CHECKING:
    from .._core.trees.record import TreeRecord
    from ..errors import TreeguardError
    from .manager import BlockingManager

__all__ = ["END_TIMEOUT", "TreeOwner"]

#: How long, in seconds, a tree that was killed has to be gone.
END_TIMEOUT = 10.0


class TreeOwner:
    """The owner of a tree. ``returncode`` is the root's."""

    args: Any
    returncode: int | None
    _manager: BlockingManager
    _record: TreeRecord | None = None
    _passed_on = False

    def _pass_on(self) -> None:
        """Passes Ctrl-C on, once: the tree has a process group of its own, so the terminal has sent it nothing.

        The standard library's code then gives the root a quarter of a second.
        """
        if not self._passed_on and self.returncode is None and self._record is not None:
            self._passed_on = True
            self._manager.interrupt(self._record)

    def _ended(self) -> int:
        """The return code, once the root has ended. It is kept."""
        exit = None if self._record is None else self._record.exit  # noqa: A001 - the name of the attribute
        code = None if exit is None else exit.code if exit.signal is None else -exit.signal
        if code is None and (released := self._released) is not None:
            raise released
        if code is None:
            lost = self._record is not None and self._record.lost
            cause = "its guard died" if lost else "another part of this program reaped it"
            raise GuardLost(f"the root of {self.args!r} has ended, and it is not known how: {cause}")
        self.returncode = code
        return code

    @property
    def _released(self) -> TreeguardError | None:
        """What is raised for a tree that was released."""
        record = self._record
        return None if record is None or record.lost or not record.unverified else record.error

    @property
    def _tree(self) -> TreeRecord:
        """What is known of the tree, once it is made."""
        assert self._record is not None
        return self._record

    def _end(self) -> None:
        """Kills what is left of the tree, and waits until it is gone. Nothing was started: that is no error."""
        if self._record is not None:
            self._manager.end(self._record, END_TIMEOUT)
            with contextlib.suppress(GuardLost):
                self._ended()
