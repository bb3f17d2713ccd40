"""Trees that end as soon as they are started, as most commands do, and whose callers wait for that."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from .._core.native import NativeEngine
from .._core.trees.record import observed

if TYPE_CHECKING:
    from .._core.engine.engine import Engine
    from .._core.native_alone import LoneTree
    from .._core.trees.record import TreeRecord
    from .system import Pump

__all__ = ["ShortLives"]

#: How long a caller waits for its tree by itself, in seconds. Longer lives have the time to be watched like others: for
#: a guard that was stopped, for what else is to be done meanwhile.
_MOMENT = 0.05
#: The pause between two looks whether callers have come back, in seconds.
_PAUSE = 0.001


class ShortLives:
    """The trees of an engine whose callers wait for them by themselves, with no part in the pump.

    That is one call of the C core from the start to the end, without the lock. An exception of a signal handler may
    come before and after it: so whoever gives an order or waits in another way has the tree join the others first.
    """

    def __init__(self, engine: Engine, pump: Pump) -> None:
        self._engine = engine
        self._pump = pump
        #: Those that are waited for.
        self.tags: set[int] = set()
        self._kind: type[LoneTree] | None = None
        if sys.platform == "linux" and isinstance(engine.core, NativeEngine):
            from .._core.native_alone import OVER, SIGNALLED, LoneTree  # noqa: PLC0415 - of Linux

            self._kind, self._over, self._signalled = LoneTree, OVER, SIGNALLED

    def kind(self, record: TreeRecord) -> type[LoneTree] | None:
        """What a tree is started as next, to be waited for by :meth:`wait`. None: like others."""
        if self._kind is None or observed() or self._pump.has_work(record.spawned):
            return None
        self.tags.add(record.tag)
        return self._kind

    def wait(self, record: TreeRecord, until: float | None) -> bool:
        """Waits for a moment whether a tree ends that was started so. Returns whether it has run, and is gone."""
        tag = record.tag
        tree: LoneTree = self._engine.tree(tag)  # type: ignore[assignment]
        last = record.spawned + _MOMENT
        if until is not None:
            last = min(last, until)
        left = _MOMENT if until is None else last - time.monotonic()
        attended = self._signalled
        while left > 0 and (attended := tree.attend(left)) == self._signalled:
            left = last - time.monotonic()
        with self._pump.lock:
            if attended != self._over:
                self.join(tag)
                return False
            self._engine.look(tag)
            self.tags.discard(tag)
            return True

    def join(self, tag: int) -> None:
        """From now on a tree is watched like all others."""
        with self._pump.lock:
            tree: LoneTree | None = self._engine.tree(tag)  # type: ignore[assignment]
            if tree is not None:
                tree.join()
                self._engine.spawned(tag)
                while tree.has_told:
                    self._engine.look(tag)
            self.tags.discard(tag)

    def recall(self, until: float) -> None:
        """Waits until no thread waits so any more, or until a time."""
        while any(map(self._engine.tree, list(self.tags))) and time.monotonic() < until:
            time.sleep(_PAUSE)
