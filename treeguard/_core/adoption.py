"""Taking over a released tree: this process becomes its supervisor.

The guard takes one caller at a time for its supervisor. As long as that one has not confirmed it, its end leaves the
tree released. So a take-over that is interrupted has changed nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from ..errors import ProcessEnded
from ..params import SpawnParams
from ..released import ReleasedTree, TakeOverRefused
from .adopted import AdoptedTree, Adopting, boot_id, leaf_of
from .cgroup.cgroups import pid_namespace
from .native import CoreError
from .processes.system import find, now, tick
from .releasing import PATIENCE, Owner
from .telemetry.log import log_of

if TYPE_CHECKING:
    from ..types import Mechanism
    from .delivery import Delivery
    from .running import Running
    from .trees.record import TreeRecord

__all__ = ["Claim", "take_over"]

#: The pause between attempts to connect to a guard whose queue of callers is full, in seconds.
_PAUSE = 0.01
#: ``struct ucred``.
_CREDENTIALS = struct.Struct("=iII")


class Claim:
    """A connection to the guard of a released tree, whose identity is proved."""

    def __init__(self, token: ReleasedTree) -> None:
        """Raises :class:`~treeguard.released.TakeOverRefused` or :class:`~treeguard.ProcessEnded`."""
        self.token = verified(token)
        self._pidfd = _held(token)
        self.connection: socket.socket | None = None

    def connect(self) -> bool:
        """Connects without waiting. False: others are before this process, so try again."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            try:
                made.connect(f"\0{self.token.name}")
            except BlockingIOError:
                made.close()
                return False
            self._check(made)
        except ConnectionRefusedError:
            made.close()
            self._check_alive()
            raise TakeOverRefused(
                f"nobody listens at {self.token.name}: another process has taken the tree over, or the guard is in "
                "another network namespace"
            ) from None
        except BaseException:
            made.close()
            raise
        self.connection = made
        return True

    def _check(self, made: socket.socket) -> None:
        """Any process may listen at a name that is free, so the kernel is asked for the one that does."""
        pid, user, _ = _CREDENTIALS.unpack(made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if (pid, user) != (self.token.guard, self.token.user):
            raise TakeOverRefused(f"not the guard {self.token.guard} listens at {self.token.name}, but process {pid}")
        self._check_alive()

    def _check_alive(self) -> None:
        # As long as it has not ended, nothing else has its number.
        if select.select([self._pidfd], [], [], 0)[0]:
            raise ProcessEnded(f"the tree of {self.token.name} has ended")

    def take(self) -> int:
        """The connected descriptor, which is the caller's from now on."""
        assert self.connection is not None
        number = self.connection.detach()
        self.connection = None
        return number

    def close(self) -> None:
        """Closes what was not taken. Calling it again has no effect."""
        if self.connection is not None:
            self.connection.close()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


def verified(token: ReleasedTree) -> ReleasedTree:
    """The token, if this process may use it. Raises :class:`~treeguard.released.TakeOverRefused`, which says why."""
    if not isinstance(token, ReleasedTree):
        raise TypeError(f"token must be a ReleasedTree, not {type(token).__name__}")
    try:
        here = boot_id(), pid_namespace()
    except OSError as error:
        raise TakeOverRefused(f"{token.name!r} cannot be taken over here: {error}") from None
    reason = None
    if token.boot_id != here[0]:
        reason = "it was released before this system was booted, and has ended with that"
    elif token.pid_namespace != here[1]:
        reason = "it belongs to another pid namespace"
    elif token.user != os.geteuid():
        reason = f"it belongs to user {token.user}, and this process to user {os.geteuid()}"
    elif not _is_named_well(token):
        reason = "its parts contradict each other"
    if reason is not None:
        raise TakeOverRefused(f"{token.name} cannot be taken over: {reason}")
    return token


def _is_named_well(token: ReleasedTree) -> bool:
    try:
        parts = leaf_of(token), token.guard, token.started
    except (ValueError, IndexError):
        return False
    return token.name.startswith("treeguard-released.{}.{}.{}.".format(*parts))


def _held(token: ReleasedTree) -> int:
    """A handle of the guard, if it lives."""
    ended = f"the tree of {token.name} has ended"
    try:
        pidfd = os.pidfd_open(token.guard)
    except ProcessLookupError:
        raise ProcessEnded(ended) from None
    except OSError as error:
        raise TakeOverRefused(f"the guard of {token.name} cannot be held: {error}") from error
    try:
        # After the handle: what is looked at is what is held, or has ended.
        seen = find(token.guard)
        if seen is None or not seen.alive:
            raise ProcessEnded(ended)
        if seen.started != token.started:
            raise ProcessEnded(
                f"{ended}: process {token.guard} is another one, which has started at {seen.started} and not at "
                f"{token.started}"
            )
        return pidfd
    except BaseException:
        os.close(pidfd)
        raise


def install(holder: Any, delivery: Delivery) -> Adopting:
    """Lets a manager, or what runs for it, treat trees that are not of its making. Calling it again has no effect."""
    if not isinstance(holder._backend, Adopting):
        holder._backend = delivery.backend = Adopting(holder._backend)
        recovery = delivery._standby.in_use
        if recovery is not None:
            recovery._backend = holder._backend
    adopting: Adopting = holder._backend
    return adopting


def begin(owner: Owner, claim: Claim) -> TreeRecord:
    """Tells the guard that this process wants to be its supervisor. The record will hear of the answer.

    The caller ends it by :func:`confirm` or :func:`undo`.
    """
    from .native_release import adopt

    token, engine = claim.token, owner.engine
    if token.mechanism != owner.mechanism:
        raise TakeOverRefused(
            f"{token.name} is contained by {token.mechanism}, and this manager's trees by {owner.mechanism}: use a "
            f"manager with containment={token.mechanism!r}"
        )
    tree = AdoptedTree(token)
    record = owner.trees.made(SpawnParams(token.program or "released", kind=token.kind))
    record.marked = bool(token.mark)
    record.spawned = time.monotonic() - (now() - token.started * tick())
    tag = record.tag
    try:
        assert isinstance(owner.backend, Adopting)
        owner.backend.adopted[tag] = tree
        record.resources = _Withdrawn(owner.backend, tag)  # type: ignore[assignment]
        owner.trees.add(record)
        engine._guarded.add(tag)
        with engine._starting:
            adopt(engine.core, claim.take(), token.guard, (tree.parent.number, leaf_of(token)), tag, engine._trees)  # type: ignore[arg-type]
    except CoreError as fault:
        undo(owner, record)
        raise record.start_error(fault.step, fault.errno, fault.detail) from None
    except BaseException:
        undo(owner, record)
        raise
    return record


def confirm(owner: Owner, record: TreeRecord, token: ReleasedTree) -> None:
    """Completes the take-over, if the guard has agreed: from now on the tree ends with this process."""
    from .native_release import retain

    if record.error is not None:
        raise TakeOverRefused(f"{token.name} was taken over by another process, or has ended") from record.error
    if record.lost:
        raise ProcessEnded(f"the tree of {token.name} has ended: its guard was killed")
    if not record.started:
        raise TakeOverRefused(
            f"the guard of {token.name} has not answered in {PATIENCE:g} s: another process may be taking the tree over"
        )
    tree = owner.engine.tree(record.tag)
    if tree is not None:
        with contextlib.suppress(ProcessLookupError):  # it is ending, and that will be told
            retain(tree)  # type: ignore[arg-type]
    record.began = time.monotonic() - (now() - token.began)
    log_of("manager", record.pid).info("%s (root %d) was taken over from %s", record.pid, record.os_pid, token.name)


def undo(owner: Owner, record: TreeRecord) -> None:
    """Lets go of a tree that was not taken over."""
    owner.engine._release(record.tag)
    if not record.left:
        record.give_up(proved=True)
        owner.trees.settle(record)


class _Withdrawn:
    """Closes what leads to an adopted tree when that is over: a tree's resources are withdrawn then."""

    def __init__(self, backend: Adopting, tag: int) -> None:
        self._backend = backend
        self._tag = tag

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        if (tree := self._backend.adopted.pop(self._tag, None)) is not None:
            tree.parent.close()


async def take_over(running: Running, mechanism: Mechanism, token: ReleasedTree, *, bound: bool) -> TreeRecord:
    """Takes a released tree over. Raises :class:`~treeguard.released.TakeOverRefused` if it is as it was.

    ``bound``: the manager's trees end with the parent of this process as well.
    """
    if bound or running.engine._lease is not None:
        lacking = "die_with_parent" if bound else "a lease"
        raise TakeOverRefused(f"this manager has {lacking}, and its guard would not keep that: it was started without")
    claim = Claim(token)
    try:
        owner = Owner(running.engine, install(running, running._delivery), running._trees, mechanism)
        until = time.monotonic() + PATIENCE
        while not claim.connect():
            if time.monotonic() >= until:
                raise TakeOverRefused(f"{token.name} cannot be taken over: too many others are trying that")
            await asyncio.sleep(_PAUSE)
        record = begin(owner, claim)
        try:
            await record.until(lambda: record.started or record.empty or record.lost, PATIENCE)
            confirm(owner, record, token)
        except BaseException:
            undo(owner, record)
            raise
        return record
    finally:
        claim.close()
