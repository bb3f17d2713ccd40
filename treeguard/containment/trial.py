"""Finding out by doing whether this host lets trees be ended."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

from .. import _native
from .._native import Event, Fault, NativeEngine, NativeTree, Spec

__all__ = ["try_tree"]

#: A trial takes a millisecond or two, on an emulated or overloaded host a thousand times that. One that is not over by
#: then has failed; in seconds. Less patience would take a slow host for a weak one.
_PATIENCE = 10.0


def try_tree(cgroup: int = -1) -> None:
    """Starts a tree whose root leaves an orphan in a session of its own behind, and ends it.

    Raises :class:`~treeguard._native.Fault`, or OSError with what was not as it should be. Waits as long as that takes:
    milliseconds.
    """
    guard = os.fsencode(_native.GUARD)
    spec = Spec(guard, guard + b"\0trial\0", 2, b"", 0, None, (-1, -1, -1), (), 0, -1)
    engine = NativeEngine()
    try:
        tree = engine.spawn(spec, 0, guard=_native.GUARD, cgroup=cgroup)
        try:
            _orphan_is_ended(engine, tree)
        finally:
            tree.free()
    finally:
        engine.close()


def _orphan_is_ended(engine: NativeEngine, tree: NativeTree) -> None:
    events = _events(engine, tree)
    for event in events:
        if event.kind == _native.FAILED:
            raise Fault(event.step, event.errno)
        if event.kind in (_native.EMPTY, _native.LOST):
            raise OSError(max(event.code, 0), "an orphan did not fall to its guard")
        if event.kind == _native.ENDED:
            break
    tree.kill()
    for event in events:
        if event.kind == _native.EMPTY:
            return


def _events(engine: NativeEngine, tree: NativeTree) -> Iterator[Event]:
    deadline = time.monotonic() + _PATIENCE
    ready = select.poll()
    ready.register(engine, select.POLLIN)
    while time.monotonic() < deadline:
        yield from engine.drain()
        # The guard's own end may come a moment after its last word.
        last = tree.poll()
        if last is not None:
            yield last
        ready.poll(5)
    raise TimeoutError(f"a tree was not ended within {_PATIENCE:g} s")
