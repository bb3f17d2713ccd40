"""Finding out by a trial whether trees can be ended on this host."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .. import native
from ..native import CoreError, Event, NativeEngine, NativeTree, Spec
from .executable import is_whole

__all__ = ["ANSWER", "Probe", "probe_tree"]

#: How many seconds a trial may take before it counts as failed. It usually takes 1-2 ms, and a thousand times that on
#: an emulated or overloaded host. Less patience would take a slow host for a weak one. The orphan stays longer
#: (trial.c).
_PATIENCE = 10.0
#: How many seconds to wait for the end of a tree whose trial has failed.
_LEAVE_PATIENCE = 1.0
_PAUSE_MS = 5
_DAMAGED = ("guard", errno.ENOEXEC)
#: ``struct tg_trial_answer``: the orphan's process id, or 0 when it leaves by itself; and its parent's process id.
ANSWER = struct.Struct("=ii")


def _order(tree: NativeTree) -> bool:
    tree.kill()
    return True


def probe_tree(
    cgroup: int = -1, tag: int = 0, *, kill: Callable[[NativeTree], bool] = _order, made: type[Probe] | None = None
) -> None:
    """Starts a tree whose root leaves an orphan in its own session, and ends the tree.

    When the root has ended, the orphan reports its parent, which must be the guard. It stays until it is killed, and
    sends a message if it ends in any other way. When the tree is reported empty, the orphan must be gone without that
    message, and must have been reaped.

    ``kill`` ends the tree and is called until it returns True. ``made`` is another kind of trial. Raises
    :class:`~treeguard._core.native.CoreError`, or OSError with the problem. Blocks for a trial's time: milliseconds.
    """
    _check_guard()
    kind = made or Probe
    engine = NativeEngine()
    try:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                tree = _started(engine, theirs.fileno(), cgroup, tag, kind.isolated)
            probe = kind(engine, tree, ours)
            try:
                probe.run(kill)
            finally:
                ours.close()
                probe.let_go()
    finally:
        engine.close()


def _check_guard() -> None:
    """Raises an error if the guard's file is truncated. Such a guard may pass the trial and fail in other work."""
    with contextlib.suppress(OSError):  # its exec gives a better reason why it cannot be opened
        if not is_whole(Path(native.GUARD)):
            raise CoreError(*_DAMAGED)


def _started(engine: NativeEngine, conversation: int, cgroup: int, tag: int, isolated: int) -> NativeTree:
    guard, streams = os.fsencode(native.GUARD), (conversation,) * 3
    args = guard + b"\0trial\0"
    spec = Spec(guard, args, 2, b"", 0, None, streams, (), 0, -1, guard=guard, cgroup=cgroup, isolated=isolated)
    return engine.spawn(spec, tag)


class Probe:
    """A tree on trial. Its orphan listens to ``ours`` and leaves when that is closed."""

    isolated = 0

    def __init__(self, engine: NativeEngine, tree: NativeTree, ours: socket.socket) -> None:
        self._engine = engine
        self._tree = tree
        self._ours = ours
        self._over = self._heard = False

    def run(self, kill: Callable[[NativeTree], bool]) -> None:
        events = self._events(_PATIENCE)
        for event in events:
            _raise_if_over(event, "an orphan did not fall to its guard")
            if event is not None and event.kind == native.ENDED:
                break
        orphan = self._adopted()
        killed = kill(self._tree)
        for event in events:
            if event is not None and event.kind == native.EMPTY:
                break
            _raise_if_over(event, "the guard died")
            killed = killed or kill(self._tree)
        self._check_killed(orphan)

    def _adopted(self) -> int:
        """The process id of the orphan, which the guard must have adopted, since the root has been reaped."""
        self._ours.sendall(b"?")
        ready = select.poll()
        ready.register(self._ours, select.POLLIN)
        if not ready.poll(_PATIENCE * 1000):
            raise TimeoutError(f"an orphan did not answer within {_PATIENCE:g} s")
        orphan, parent = self._answer()
        if not orphan:
            raise CoreError(*_DAMAGED)
        if parent != self._tree.pid:
            raise OSError(f"an orphan fell to process {parent}, and not to its guard")
        return orphan

    def _answer(self) -> tuple[int, int]:
        """The orphan's process id and its parent's process id, as the orphan reports them."""
        words = self._ours.recv(ANSWER.size)
        orphan, parent = ANSWER.unpack(words) if len(words) == ANSWER.size else (0, 0)
        return orphan, parent

    def _check_killed(self, orphan: int) -> None:
        """Checks that SIGKILL ended the orphan, once the tree is reported empty: otherwise it says that it leaves."""
        self._ours.setblocking(False)
        # A process that was forked in the meantime may hold the other end, so there may be no end of file.
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            if self._ours.recv(ANSWER.size):
                raise OSError("an orphan was not killed, but left by itself")
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, 0)
            raise OSError("a tree was told empty while an orphan of it was left")

    def _events(self, patience: float) -> Iterator[Event | None]:
        """Yields each event, and None now and then. Raises TimeoutError after that many seconds."""
        deadline = time.monotonic() + patience
        ready = select.poll()
        ready.register(self._engine, select.POLLIN)
        while time.monotonic() < deadline:
            # The guard itself may end a moment after its last message.
            batch = (*self._engine.drain(), self._tree.poll())
            self._heard = self._heard or any(event is not None for event in batch)
            self._over = self._over or any(event is not None and event.kind in native.OVER for event in batch)
            yield from batch
            ready.poll(_PAUSE_MS)
        # A program that runs and never reports anything is not the guard.
        if not self._heard and not self._tree.wake():
            raise CoreError(*_DAMAGED)
        raise TimeoutError(f"a tree was not ended within {patience:g} s")

    def let_go(self) -> None:
        """Waits for the end of a tree whose trial has failed, so that its guard leaves nothing, not even a zombie."""
        for end in (self._tree.kill, partial(self._tree.dismiss, empty=False)):
            with contextlib.suppress(OSError, CoreError):
                if not self._over:
                    end()
                events = self._events(_LEAVE_PATIENCE)
                while not self._over:
                    next(events)
        self._tree.free()


def _raise_if_over(event: Event | None, problem: str) -> None:
    if event is None or event.kind not in native.OVER:
        return
    if event.kind == native.FAILED:
        raise CoreError(event.step, event.errno)
    # The guard's program is also the root's. If it ends like this, or before it was killed, it is not what was built.
    # The signals are named here because Windows imports this module too and has no SIGBUS.
    if event.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL):
        raise CoreError(*_DAMAGED)
    if event.code > 0:
        raise CoreError("clone", event.code)
    raise OSError(problem)
