"""Looking at all processes of the host, once for all trees that are ended without their guards."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

from .. import native as _native
from ..processes import ProcessInfo, environment, snapshot

__all__ = ["ProcScanner", "SearchTarget", "Snapshot"]

#: What marks of trees look like in an environment.
_MARK = re.compile(rb"\0(TREEGUARD_TREE_[0-9a-f]+_\d+=)")


class Snapshot:
    """All processes at a moment; none where the system shows none."""

    def __init__(self, everyone: Sequence[ProcessInfo | None]) -> None:
        #: The newest first: one that forks on and ends is gone when thousands of others have been seen.
        self.everyone = sorted((seen for seen in everyone if seen is not None), reverse=True)
        #: Whether one was gone when it was looked at. It may have left a child that had not been listed.
        self.vanished = None in everyone

    @cached_property
    def by_pid(self) -> dict[int, ProcessInfo]:
        """Each by its number."""
        return {seen.pid: seen for seen in self.everyone}

    @cached_property
    def _children(self) -> dict[int, list[ProcessInfo]]:
        children: dict[int, list[ProcessInfo]] = {}
        for seen in self.everyone:
            children.setdefault(seen.parent, []).append(seen)
        return children

    def below(self, ancestor: int) -> list[ProcessInfo]:
        """All that descend from a process, the dead included."""
        found: list[ProcessInfo] = []
        ahead = [ancestor]
        while ahead:
            children = self._children.get(ahead.pop(), ())
            found += children
            ahead += [seen.pid for seen in children]
        return found

    def may_be_orphans(self, since: float, others: Collection[int]) -> bool:
        """Whether a process lives that may have been orphaned here after ``since``, a tick, and is none of ``others``.

        An orphan becomes a child of this process if that adopts orphans (prctl(2), PR_SET_CHILD_SUBREAPER), else of one
        above it, or of init. Its session is this process's, or one that was begun after ``since``. A process that keeps
        none of this, or that cannot be seen, is not one of them.
        """
        if 1 not in self.by_pid:
            return True
        above = {os.getpid(), *self._above(os.getpid())}
        adopters = {os.getpid()} if _native.adopts() else above - {os.getpid()}
        known = {*above, *others}
        return any(
            seen.alive
            and seen.started >= since
            and seen.parent in adopters
            and seen.pid not in known
            and self._may_be_session(seen.session, since)
            for seen in self.everyone
        )

    def _may_be_session(self, session: int, since: float) -> bool:
        leader = self.by_pid.get(session)
        # 0: that of the kernel's own, which nobody has begun.
        return session == os.getsid(0) or (session > 0 and (leader is None or leader.started >= since))

    def _above(self, pid: int) -> Iterator[int]:
        yield 1
        while (seen := self.by_pid.get(pid)) is not None and seen.parent > 1:
            pid = seen.parent
            yield pid


class SearchTarget(ABC):
    """A tree that is to be ended without its guard, look by look."""

    #: The root's group, whose members are the tree's; 0: it is not gone by.
    root: int = 0
    #: The beginning of a string in the environment of the tree's processes; none where it is empty.
    mark: bytes = b""
    #: No process of the tree was started before, in ticks.
    since: float = 0
    #: Whether it is proved that nothing is left, when no look is needed any more.
    proved: bool = False

    def begin_look(self, now: Snapshot) -> None:  # noqa: B027 - some have only what the lookout finds
        """Kills what is known without it."""

    def strike(self, pid: int) -> None:  # noqa: B027 - and some only what they know
        """Kills a process that was found by group or mark, if it still belongs to the tree."""

    def taken_over(self) -> bool:
        """Whether the root's number is a stranger's now."""
        return False

    @abstractmethod
    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """Whether to look again. ``ended``: somebody has, since the last look, of whom nothing is known."""


class ProcScanner:
    """Looks at all processes of the host, once for all."""

    def __init__(self, see: Callable[[], list[ProcessInfo | None]] = snapshot) -> None:
        self._see = see
        self._dead: set[tuple[int, int]] = set()
        self._marks: dict[tuple[int, int], list[bytes]] = {}

    def look(self, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        """Kills what is found now. Those for which to look again."""
        try:
            now = Snapshot(self._see())
        except FileNotFoundError:  # no /proc, or that of other processes
            now = Snapshot(())
        except OSError:  # too few descriptors to look now
            return list(every)
        for one in every:
            one.begin_look(now)
        ended = self._find_members(now, every)
        return [one for one in every if one.end_look(now, ended)]

    def _find_members(self, now: Snapshot, every: Sequence[SearchTarget]) -> bool:
        """Whether somebody has ended of whom nothing is known. The dead of before, whom nobody reaped, are no news."""
        by_group = {one.root: one for one in every if one.root}
        by_mark = {one.mark: one for one in every if one.mark}
        since = min((one.since for one in by_mark.values()), default=0.0)
        known, dead = self._marks, set()
        self._marks = {}
        for seen in now.everyone:
            identity = (seen.pid, seen.started)
            if not seen.alive:
                dead.add(identity)
                continue
            member = by_group.get(seen.group)
            if member is not None and not member.taken_over():
                member.strike(seen.pid)
            if by_mark and seen.started >= since:
                for mark in self._marks_of(identity, known):
                    if mark in by_mark:
                        by_mark[mark].strike(seen.pid)
        news = now.vanished or not dead <= self._dead
        self._dead = dead
        return news

    def _marks_of(self, identity: tuple[int, int], known: dict[tuple[int, int], list[bytes]]) -> list[bytes]:
        """Whose tree a process is of, told by its environment; read once, since no exec adds a mark to it.

        In the middle of an exec there is nothing to be read: that is read again.
        """
        marks = known.get(identity)
        if marks is None:
            text = environment(identity[0])
            marks = _MARK.findall(text)
            if len(text) <= 1:
                return marks
        self._marks[identity] = marks
        return marks
