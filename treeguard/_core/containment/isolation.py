"""Isolation: a trial that finds out whether this host keeps a tree's signals from its guard and its supervisor."""

from __future__ import annotations

import errno
import functools
import os
import select
import time

from ...errors import SHORTAGES, ContainmentUnavailable, spawn_error
from ...params import Isolation
from .. import native, native_isolation
from ..native import CoreError, Event, NativeEngine, NativeTree, Spec
from .guarantees import Containment, has_guard

__all__ = ["check_isolation", "try_isolation"]

#: How many seconds a trial may take before it counts as failed, and how many its end may take. It usually takes 1-2 ms.
_PATIENCE = 10.0
_LEAVE_PATIENCE = 1.0
_PAUSE_MS = 5

#: The meaning of Landlock's own errors.
_REASONS = {
    errno.ENOSYS: "the kernel has no Landlock, or a filter of system calls hides it",
    errno.EOPNOTSUPP: "Landlock is disabled: the kernel was booted without it (boot parameter lsm=)",
    errno.EPERM: "a filter of system calls forbids Landlock",
}


def check_isolation(containment: Containment, isolation: Isolation = "signals") -> None:
    """Raises :class:`~treeguard.ContainmentUnavailable` if trees cannot be isolated so."""
    if isolation == "signals":
        reason = try_isolation(containment)
    elif has_guard(containment):
        from .pid_namespace import try_pid_namespace

        reason = try_pid_namespace()
    else:
        reason = f"it needs a guard, which containment {containment.mechanism!r} has none of"
    if reason is not None:
        raise ContainmentUnavailable(f"isolation {isolation!r} is not available here: {reason}")


def try_isolation(containment: Containment) -> str | None:
    """None if trees can be isolated by signals, otherwise the reason why not. Blocks for the milliseconds of a trial.

    A shortage or a broken installation says nothing about the host. It is raised as a :class:`~treeguard.SpawnError`.
    """
    if not has_guard(containment):
        return f"it keeps signals from a guard, which containment {containment.mechanism!r} has none of"
    try:
        _try()
    except CoreError as fault:
        error = spawn_error(fault.step, fault.errno, native.GUARD)
        if fault.step == "guard" or fault.errno in SHORTAGES | {errno.EAGAIN}:
            raise error from None
        return str(error)
    except OSError as error:
        return _REASONS.get(error.errno or 0, str(error))
    return None


# Tried once per process. A failure is not cached, since it may be temporary.
@functools.cache
def _try() -> None:
    """Raises :class:`~treeguard._core.native.CoreError`, or OSError with the problem in the trial."""
    version, needed = native_isolation.isolation_abi()
    if version < needed:
        raise OSError(f"Landlock's ABI {version} does not know signals, which takes ABI {needed} (Linux 6.12)")
    # If a root could not signal a guard even without isolation, the trial would prove nothing.
    without, with_it = _reach_guard(isolated=False), _reach_guard(isolated=True)
    if without != 0:
        raise OSError(f"its trial proves nothing: without it a guard cannot be signalled either ({_said(without)})")
    if with_it != errno.EPERM:
        raise OSError(f"a guard was not out of reach in its trial ({_said(with_it)})")


def _said(code: int) -> str:
    return os.strerror(code) if code >= 0 else "the root did not tell"


def _reach_guard(*, isolated: bool) -> int:
    """The errno that a root gets when it signals its guard; 0 if it succeeds, -1 if it does not report one."""
    guard = os.fsencode(native.GUARD)
    spec = Spec(guard, guard + b"\0reach\0", 2, b"", 0, None, (-1, -1, -1), (), 0, -1, isolated=isolated, guard=guard)
    engine = NativeEngine()
    try:
        tree = engine.spawn(spec, 0)
        try:
            event = _last(engine, tree, _PATIENCE)
            if event is None:
                tree.kill()
                _last(engine, tree, _LEAVE_PATIENCE)
                raise TimeoutError(f"a root did not end within {_PATIENCE:g} s")
        finally:
            tree.free()
    finally:
        engine.close()
    if event.kind == native.FAILED:
        raise CoreError(event.step, event.errno)
    return event.code if event.kind == native.EMPTY else -1


def _last(engine: NativeEngine, tree: NativeTree, patience: float) -> Event | None:
    """The last event of a tree, once its guard has been reaped; None if it does not come within that many seconds."""
    deadline = time.monotonic() + patience
    ready = select.poll()
    ready.register(engine, select.POLLIN)
    while time.monotonic() < deadline:
        # The guard itself may end a moment after its last message.
        for event in (*engine.drain(), tree.poll()):
            if event is not None and event.kind in native.OVER:
                return event
        ready.poll(_PAUSE_MS)
    return None
