"""Looking at all processes of the host, once for all trees that are ended without their guards."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property

from .. import native_processes
from ..processes.system import ProcessInfo, environment, snapshot

__all__ = ["ProcScanner", "SearchTarget", "Snapshot"]

#: The form of a tree's mark in an environment.
_MARK = re.compile(rb"\0(TREEGUARD_TREE_[0-9a-f]+_\d+=)")


class Snapshot:
    """All processes at one moment; empty where the system shows none."""

    def __init__(self, everyone: Sequence[ProcessInfo | None]) -> None:
        #: Newest first: a process that keeps forking and exiting would be gone after a look at thousands of others.
        self.everyone = sorted((seen for seen in everyone if seen is not None), reverse=True)
        #: Whether a process was gone when the look came to it. It may have left a child that was not listed.
        self.vanished = None in everyone

    @cached_property
    def by_pid(self) -> dict[int, ProcessInfo]:
        """The processes by process id."""
        return {seen.pid: seen for seen in self.everyone}

    @cached_property
    def _children(self) -> dict[int, list[ProcessInfo]]:
        children: dict[int, list[ProcessInfo]] = {}
        for seen in self.everyone:
            children.setdefault(seen.parent, []).append(seen)
        return children

    def below(self, ancestor: int) -> list[ProcessInfo]:
        """All descendants of a process, including dead ones."""
        found: list[ProcessInfo] = []
        ahead = [ancestor]
        while ahead:
            children = self._children.get(ahead.pop(), ())
            found += children
            ahead += [seen.pid for seen in children]
        return found

    def may_be_orphans(self, since: float, others: Collection[int]) -> bool:
        """Whether a live process may have been orphaned here since the tick ``since``, and is not one of ``others``.

        An orphan becomes a child of this process if this process adopts orphans (prctl(2), PR_SET_CHILD_SUBREAPER),
        otherwise of a process above it, or of init. Its session is this process's, or one that began after ``since``. A
        process without these properties does not count, and neither does one that cannot be seen.
        """
        if 1 not in self.by_pid:
            return True
        above = {os.getpid(), *self._above(os.getpid())}
        adopters = {os.getpid()} if native_processes.adopts() else above - {os.getpid()}
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
        # Session 0 is the kernel's own, which no process has begun.
        return session == os.getsid(0) or (session > 0 and (leader is None or leader.started >= since))

    def _above(self, pid: int) -> Iterator[int]:
        yield 1
        while (seen := self.by_pid.get(pid)) is not None and seen.parent > 1:
            pid = seen.parent
            yield pid


class SearchTarget(ABC):
    """A tree that is ended without its guard, one look at a time."""

    #: The root's group, whose members belong to the tree; 0 if the group is not used.
    root: int = 0
    #: The beginning of a string in the environment of the tree's processes; empty for none.
    mark: bytes = b""
    #: The tick before which no process of the tree was started.
    since: float = 0
    #: Whether it is proved that nothing is left, once no more looks are needed.
    proved: bool = False

    def begin_look(self, now: Snapshot) -> None:  # noqa: B027 - some know only what the scanner finds
        """Kills what the target knows without the scanner."""

    def strike(self, pid: int) -> None:  # noqa: B027 - some know only their own processes
        """Kills a process that was found by group or mark, if it still belongs to the tree."""

    def taken_over(self) -> bool:
        """Whether a stranger has the root's number now."""
        return False

    @abstractmethod
    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """Whether to look again. ``ended``: an unknown process has ended since the last look."""


class ProcScanner:
    """Looks at all processes of the host, once for all targets."""

    def __init__(self, see: Callable[[], list[ProcessInfo | None]] = snapshot) -> None:
        self._see = see
        self._dead: set[tuple[int, int]] = set()
        self._marks: dict[tuple[int, int], list[bytes]] = {}

    def look(self, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        """Kills what it finds now. Returns the targets that need another look."""
        try:
            now = Snapshot(self._see())
        except FileNotFoundError:  # there is no /proc, or it shows another pid namespace
            now = Snapshot(())
        except OSError:  # too few descriptors for a look now
            return list(every)
        for one in every:
            one.begin_look(now)
        ended = self._find_members(now, every)
        return [one for one in every if one.end_look(now, ended)]

    def _find_members(self, now: Snapshot, every: Sequence[SearchTarget]) -> bool:
        """Whether an unknown process has ended. Those that were already dead and unreaped before do not count."""
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
        """The marks in a process's environment, which show its trees. Read once, since no exec adds a mark.

        In the middle of an exec the environment reads as empty. It is then read again at the next look.
        """
        marks = known.get(identity)
        if marks is None:
            text = environment(identity[0])
            marks = _MARK.findall(text)
            if len(text) <= 1:
                return marks
        self._marks[identity] = marks
        return marks
