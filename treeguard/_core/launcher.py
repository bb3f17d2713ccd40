"""The process that started this one, for trees that must not outlive it. Loaded when a spawn asks for that."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from ..errors import SHORTAGES, ContainmentUnavailable, SpawnError, spawn_error
from ..types import Mechanism
from .forks import call_in_copies
from .native import Descriptor

__all__ = ["Launcher", "bound_to_parent", "checked_launcher", "has_foster_parent"]

_Params = TypeVar("_Params", bound=msgspec.Struct)


class Launcher:
    """The process that started this one: its parent, or the process whose ``multiprocessing`` has made this one.

    That module's fork server is the parent of processes that others have asked for, and lives as long as these.
    """

    def __init__(self) -> None:
        """Raises OSError if there are too few descriptors."""
        starter = _starter()
        self._handle = Descriptor()
        self.pid = os.getppid() if starter is None else starter.pid
        if not self._open():
            starter, self.pid = None, os.getppid()
        # Looked at after the handle was opened: if the launcher had ended before, the handle may be another process's.
        if starter is None:
            self._ended = os.getppid() != self.pid or has_foster_parent(self.pid)
        else:
            self._ended = not starter.is_alive()
        call_in_copies(self.forget)

    def _open(self) -> bool:
        try:
            opened = os.pidfd_open(self.pid)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno in SHORTAGES:
                raise
            return False
        try:
            self._handle.copy(opened)
        finally:
            os.close(opened)
        return True

    @property
    def fd(self) -> int:
        """A handle that becomes readable with its end. -1: this system has none."""
        return self._handle.number

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        if not self._ended and self.fd < 0:
            self._ended = os.getppid() != self.pid
        elif not self._ended:
            look = select.poll()
            look.register(self.fd, select.POLLIN)
            self._ended = bool(look.poll(0))
        return self._ended

    def forget(self) -> None:
        """In a forked copy: another process has started that."""
        self._handle.close()
        _known.clear()


#: The launcher, once it was asked for. There is one, however many managers and trees are bound to it.
_known: list[Launcher] = []


def _launcher() -> Launcher:
    if not _known:
        _known.append(Launcher())
    return _known[0]


def _starter() -> Any:
    """The process that has made this one by ``multiprocessing``. None: it is no such process."""
    module = sys.modules.get("multiprocessing.process")
    return None if module is None else module.parent_process()


def bound_to_parent() -> Callable[[_Params], _Params]:
    """What binds the parameters of children to the process that started this one, as of now."""
    if sys.platform != "win32":  # a spawn refuses it there
        with contextlib.suppress(OSError):  # a spawn says it
            _launcher()
    return partial(msgspec.structs.replace, die_with_parent=True)


def has_foster_parent(parent: int) -> bool:
    """Whether a parent has adopted this process, as far as that shows: whatever started it has ended before.

    A child has its parent's session, or one of its own.
    """
    with contextlib.suppress(OSError):
        return os.getsid(0) not in (os.getpid(), os.getsid(parent))
    return False


def checked_launcher(mechanism: Mechanism, program: str | None, *, guarded: bool) -> Launcher:
    """What a guard is to watch.

    Raises :class:`~treeguard.ContainmentUnavailable` without a guard, and :class:`~treeguard.SpawnError` if the process
    has ended, or is in another PID namespace.
    """
    if not guarded:
        raise ContainmentUnavailable(f"die_with_parent needs a guard, which containment {mechanism!r} has none of")
    try:
        launcher = _launcher()
    except OSError as error:
        raise spawn_error("parent", error.errno or errno.EIO, program) from error
    if launcher.pid == 0:
        raise _refused(program, "the process that started this one is not in its PID namespace and cannot be seen")
    if launcher.ended:
        raise _refused(program, "the process that started this one has ended")
    return launcher


def _refused(program: str | None, why: str) -> SpawnError:
    return spawn_error("parent", errno.ESRCH, program, detail=why)
