"""A tree that its caller waits for by itself. Only callers without an event loop have such trees, on Linux."""

from __future__ import annotations

from typing import Any

from .native import _TREE, Event, NativeTree, _event, _ffi, _lib

__all__ = ["OVER", "SIGNALLED", "LoneTree"]

SIGNALLED: int = _lib.TG_ATTENDED_SIGNAL
OVER: int = _lib.TG_ATTENDED_OVER

_TWO_EVENTS = _ffi.typeof("struct tg_event[2]")


class LoneTree(NativeTree):
    """A tree that the engine does not report until :meth:`join` has been called.

    Until then its caller alone may use it, but for orders: calls of the C core for other trees may go on in other
    threads, and none of them is held up.
    """

    __slots__ = ("alone",)

    def __init__(self) -> None:
        self._cell = _ffi.new(_TREE)
        self.alone = True
        #: STARTED, and what comes after it.
        self._told: Any = _ffi.new(_TWO_EVENTS)

    def attend(self, seconds: float) -> int:
        """Waits for more than the start, for so long at most.

        Returns :data:`SIGNALLED` if a signal has ended the wait, and :data:`OVER` if the root has run its program and
        the tree is empty. The end is then the next event, and the start is not reported.
        """
        attended: int = _lib.tg_tree_attend_kept(self._cell[0], int(seconds * 1000) + 1, self._told)
        return attended

    def join(self) -> None:
        """From now on the engine reports this tree like any other, after what :meth:`poll` returns."""
        if self._cell[0]:
            _lib.tg_tree_join(self._cell[0], self._told)
        self.alone = False

    def poll(self) -> Event | None:
        told = self._told
        if not (told[0].kind or told[1].kind) and self._cell[0]:
            _lib.tg_tree_poll_kept(self._cell[0], told + 1)
        number = 0 if told[0].kind else 1
        return _event(_ffi.buffer(told), number) if told[number].kind else None

    def heard(self) -> None:
        self._told[0 if self._told[0].kind else 1].kind = 0

    @property
    def polled(self) -> bool:
        tree = self._cell[0]
        return not self.alone and bool(tree and (_lib.tg_tree_polled(tree) or self.has_told))

    @property
    def has_told(self) -> bool:
        """Whether :meth:`poll` returns an event that is known by now."""
        return bool(self._told[0].kind or self._told[1].kind)
