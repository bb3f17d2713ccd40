"""Releasing a tree: it outlives this process on purpose, under its guard alone.

Until the guard has answered, everything can be taken back. The release is complete when the lifeline is closed after
that, which is one step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
import time
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ProcessEnded, guard_lost
from ..released import ReleasedTree, ReleaseRefused, TreeReleased
from .adopted import Adopting, boot_id, leaf_of
from .cgroup.cgroups import pid_namespace
from .containment.backend import Backend
from .containment.backends import CgroupBackend
from .engine.engine import Engine
from .processes.system import find, get_process, now
from .reaper import reap_later
from .telemetry.log import log_of
from .trees.record import TreeRecord
from .trees.registry import TreeRegistry

if TYPE_CHECKING:
    from ..types import Mechanism
    from .running import Running

__all__ = ["PATIENCE", "SAID", "Owner", "Release", "release", "unreleasable"]

#: How long, in seconds, a guard may take to answer. It answers in less than a millisecond, unless it is stopped.
PATIENCE = 5.0
#: What the log says of a release, before its arguments: the tree's id, its root, its guard, and the guard's address.
SAID = "%s (root %d, guard %d) was released on purpose and outlives this process: %s"
#: How often a guard is told: twice, unless another process interferes.
_ORDERS = 3
#: Those that are being released.
_under_way: weakref.WeakSet[TreeRecord] = weakref.WeakSet()


class Owner(NamedTuple):
    """What a manager has, as far as a release needs it."""

    engine: Engine
    backend: Backend
    trees: TreeRegistry
    mechanism: Mechanism


class Release:
    """One attempt to release a tree.

    :meth:`complete` or :meth:`take_back` ends it; the second is no error after the first.
    """

    def __init__(self, owner: Owner, record: TreeRecord) -> None:
        """Raises :class:`~treeguard.released.ReleaseRefused`, before anything has changed."""
        _check(owner, record)
        self._owner = owner
        self._record = record
        self._orders = 0
        self._guard = owner.engine.leader_pid(record.tag)
        self._pidfd = _held(self._guard)
        try:
            self.token = self._made()
        except BaseException:
            os.close(self._pidfd)
            raise
        _under_way.add(record)

    def _made(self) -> ReleasedTree:
        owner, record = self._owner, self._record
        seen = find(self._guard)
        if seen is None:
            raise ProcessEnded(f"{record.pid} has ended")
        mark, leaf, cgroup = traces_of(owner.backend, record.tag)
        return ReleasedTree(
            guard=self._guard,
            started=seen.started,
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
            user=os.geteuid(),
            name=f"treeguard-released.{leaf}.{self._guard}.{seen.started}.{secrets.token_hex(4)}",
            mechanism=owner.mechanism,
            root=record.os_pid,
            kind=record.kind,
            program=record.program,
            began=now() - (time.monotonic() - record.began),
            mark=mark,
            cgroup=None if cgroup is None else str(cgroup),
        )

    def order(self) -> bool:
        """Orders the guard to let its tree outlive this process. False: it has been told, and has answered or will not.

        The guard wants to be told twice, since it believes only what it can ask the kernel about. Raises
        :class:`~treeguard.ProcessEnded`.
        """
        from .native_release import release

        if self._orders and (self._orders == _ORDERS or self._answer() != errno.EAGAIN):
            return False
        self._orders += 1
        tree = self._owner.engine.tree(self._record.tag)
        try:
            if tree is None:
                raise ProcessLookupError
            release(tree, self.token.name)  # type: ignore[arg-type]
        except ProcessLookupError:
            raise ProcessEnded(f"{self._record.pid} has ended") from None
        except OSError as error:
            raise ReleaseRefused(f"{self._record.pid} cannot be released: its guard takes no order: {error}") from None
        return True

    def answered(self) -> bool:
        """Whether the guard has answered, or will not."""
        return self._record.empty or self._record.lost or self._answer() is not None

    def _answer(self) -> int | None:
        from .native_release import answer

        tree = self._owner.engine.tree(self._record.tag)
        return None if tree is None else answer(tree)  # type: ignore[arg-type]

    def complete(self) -> ReleasedTree:
        """Lets go of the tree, if the guard has agreed. Raises why it is not released."""
        record, token = self._record, self.token
        number = self._answer()
        if record.lost:
            raise guard_lost(str(record.pid), marked=record.marked)
        if record.empty:
            raise ProcessEnded(f"{record.pid} has ended")
        if number is None:
            raise ReleaseRefused(f"{record.pid} is not released: its guard has not answered in {PATIENCE:g} s")
        if number:
            raise ReleaseRefused(f"{record.pid} is not released: its guard cannot be reached: {os.strerror(number)}")
        if record.kill_requested or record.children:
            raise ReleaseRefused(f"{record.pid} is not released: it was killed, or given a child, meanwhile")
        # Before it is free: should anything interrupt this, the log tells which tree is.
        log = log_of("manager", record.pid, record.connection)
        log.warning(SAID, record.pid, record.os_pid, self._guard, token.name)
        record.error = TreeReleased(f"{record.pid} was released, and outlives this process: {token.name}", token)
        self._owner.engine._release(record.tag)
        _under_way.discard(record)
        pidfd, self._pidfd = self._pidfd, -1
        reap_later(pidfd, partial(_tidy, self._owner.backend, token.cgroup))
        record.give_up(proved=False)
        self._owner.trees.settle(record)
        return token

    def take_back(self) -> None:
        """The tree ends with this process again. If it was released by then, that stays so."""
        from .native_release import retain

        _under_way.discard(self._record)
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)
        tree = self._owner.engine.tree(self._record.tag)
        if tree is None or not tree.begun:
            return
        try:
            retain(tree)  # type: ignore[arg-type]
        except ProcessLookupError:
            pass
        except OSError:
            # There is no room for the order, so nobody knows whether the tree would end with this process. Its guard is
            # ended, and with it the tree: that is the lesser harm.
            self._owner.engine.dismiss(self._record.tag, empty=False)


async def release(running: Running, mechanism: Mechanism, record: TreeRecord) -> ReleasedTree:
    """Releases a tree. An error, and a cancellation, leaves it as it was."""
    attempt = Release(Owner(running.engine, running._backend, running._trees, mechanism), record)
    try:
        while attempt.order():
            await record.until(attempt.answered, PATIENCE)
        return attempt.complete()
    finally:
        attempt.take_back()


def unreleasable(mechanism: Mechanism) -> str | None:
    """Why no tree of a mechanism can be released here; None if they can."""
    if sys.platform == "win32":
        return "a job ends with the process that holds it"
    if mechanism not in ("cgroup", "subreaper"):
        return f"with {mechanism} it has no guard, and nothing else would keep it together"
    if sys.platform != "linux":
        return "a guard cannot wait for another supervisor on this system"
    if not hasattr(os, "pidfd_open"):
        return "it needs handles of processes (Linux 5.3)"
    seen = get_process(os.getpid())
    return "processes cannot be seen here, and a token could name no guard" if seen is None else None


def _check(owner: Owner, record: TreeRecord) -> None:
    """Raises why a tree cannot be released."""
    if record.empty or record.kill_requested or record.lost:
        raise ProcessEnded(f"{record.pid} has ended, or is being ended")
    reason = unreleasable(owner.mechanism) or _hindrance(record)
    if reason is not None:
        raise ReleaseRefused(f"{record.pid} cannot be released: {reason}")


def _hindrance(record: TreeRecord) -> str | None:
    """Why this tree cannot be released as it is now."""
    if record in _under_way:
        return "that is under way already"
    if not record.started:
        return "its program does not run yet"
    if record.streams is not None:
        return "this process holds its pipes or its terminal, and its writes would fail without a reader"
    if record.loan is not None:
        return "it has been lent the terminal of this process"
    if record.children:
        return "it has children (parent=) with guards of their own: release or end those first"
    return None


def traces_of(backend: Backend, tag: int) -> tuple[str, int, Path | None]:
    """What a tree is marked with, the name of its leaf, and the leaf."""
    if isinstance(backend, Adopting) and tag in backend.adopted:
        token = backend.adopted[tag].token
        return token.mark, leaf_of(token), None if token.cgroup is None else Path(token.cgroup)
    own = backend.own if isinstance(backend, Adopting) else backend
    cgroup = own._cgroup.leaf(tag) if isinstance(own, CgroupBackend) else None
    return own.placement.mark_of(tag).decode("ascii"), tag, cgroup


def _held(guard: int) -> int:
    if sys.platform != "linux":
        raise AssertionError(guard)
    try:
        return os.pidfd_open(guard)
    except ProcessLookupError:
        raise ProcessEnded("its guard has ended") from None
    except OSError as error:
        raise ReleaseRefused(f"the guard cannot be held: {error}") from error


def _tidy(backend: Backend, cgroup: str | None) -> None:
    """Removes the cgroup of a manager that has been closed, if no other released tree is in it.

    A guard does that only if the process that made the cgroup has ended.
    """
    if cgroup is not None and isinstance(backend, CgroupBackend) and backend._cgroup.fd < 0:
        with contextlib.suppress(OSError):
            Path(cgroup).parent.rmdir()
