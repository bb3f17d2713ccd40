"""Signals to the trees of a manager: whom they reach, and that whoever is asked to end hears it.

A manager that is not in use yet, and a tree that has ended, are no errors: there is nobody to signal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .inspection.single import signal_each
from .native import ASK
from .validation import one_of, signal_number
from .waiting import aside

if TYPE_CHECKING:
    from ..notify.listener import NotifyStatus
    from ..types import ProcessId, SignalTarget
    from .inspection.members import Members
    from .running import Running
    from .trees.record import TreeRecord

__all__ = ["ask", "ask_escapees", "ask_groups", "ask_rest", "asking", "signal_tree"]

_TARGETS = ("group", "root", "all")
#: The pause between looks at what a root has left, in seconds: the first, and the longest.
_FIRST_LOOK = 0.02
_LAST_LOOK = 0.5


def signal_tree(running: Running | None, record: TreeRecord | None, signal: int, to: SignalTarget) -> None:
    """Sends a signal to a tree, and with any other target than the root to those below it, these first."""
    number = signal_number("signal", signal)
    one_of("to", to, _TARGETS)
    if running is None or record is None:
        return
    if to == "root":
        _signal_root(running, record, number, ask=False)
    elif to == "group":
        _signal_groups(running, record, lambda each: number)
    else:
        for each in list(record.subtree()):
            inside = running.inspection(each)
            if inside is not None:
                signal_each(inside.members, number)


def ask_groups(running: Running, record: TreeRecord, number: int) -> None:
    """Asks the groups of a tree and of those below it to end. Stopped members go on, so that they hear it."""
    _signal_groups(running, record, lambda each: asking(each, number))


def asking(record: TreeRecord, number: int) -> int:
    """The signal, with the flag that lets stopped members go on unless the tree was frozen: it goes on when thawed."""
    frozen = record.inspection is not None and record.inspection.freezer.holds
    return number if frozen else number | ASK


async def ask(
    running: Running | None,
    record: TreeRecord | None,
    signal: int,
    to: SignalTarget | None,
    status_of: Callable[[ProcessId], NotifyStatus | None],
) -> None:
    """Asks a tree and those below it to end: see :meth:`treeguard.ProcessManager.ask_tree`.

    Raises the first error of a group after trying all.
    """
    number = signal_number("signal", signal)
    one_of("to", to, (None, *_TARGETS))
    if running is None or record is None:
        return
    if to == "root":
        _signal_root(running, record, number, ask=True)
        return
    records = list(record.subtree())
    try:
        ask_groups(running, record, number)
    finally:
        if to == "all":
            await ask_escapees(running, record, number)
    for each in records if to is None else ():
        # A root that has not ended is in its group, so nobody has to look.
        if each.exit is not None:
            await _ask_what_is_left(running, each, number, status_of)


async def ask_rest(
    running: Running | None,
    record: TreeRecord | None,
    signal: int,
    status_of: Callable[[ProcessId], NotifyStatus | None],
) -> None:
    """Waits for roots to end, and asks what they leave: see :meth:`treeguard.ProcessManager.ask_rest`."""
    number = signal_number("signal", signal)
    if running is not None and record is not None:
        await asyncio.gather(*(_ask_rest_of(running, each, number, status_of) for each in list(record.subtree())))


async def _ask_rest_of(
    running: Running, record: TreeRecord, number: int, status_of: Callable[[ProcessId], NotifyStatus | None]
) -> None:
    await record.until(lambda: record.exit is not None or record.empty, None)
    # A tree of which the root was the last process is empty a moment later.
    await record.until(lambda: record.empty, _FIRST_LOOK)
    pause = _FIRST_LOOK
    while not (record.empty or await _ask_what_is_left(running, record, number, status_of)):
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LAST_LOOK)


async def _ask_what_is_left(
    running: Running, record: TreeRecord, number: int, status_of: Callable[[ProcessId], NotifyStatus | None]
) -> bool:
    """Asks what a root has left, unless some of it is in its group. Returns whether it did, or cannot."""
    inside = running.inspection(record)
    if inside is None:
        return True
    status = status_of(record.pid)
    main = 0 if status is None else status.main_pid or 0
    return await aside(partial(_ask_daemons, inside.members, record.os_pid, number, main))


async def ask_escapees(running: Running | None, record: TreeRecord | None, number: int) -> None:
    """Asks those members of a tree and of those below it to end that are in no root's group."""
    if running is None or record is None:
        return
    records = list(record.subtree())
    groups = {each.os_pid for each in records}
    for each in records:
        inside = running.inspection(each)
        if inside is not None:
            await aside(partial(inside.members.signal_outside, groups, number, ask=not inside.freezer.holds))


def _signal_groups(running: Running, record: TreeRecord, number: Callable[[TreeRecord], int]) -> None:
    errors = []
    for each in [] if record.left else list(record.subtree()):
        try:
            running.engine.signal(each.tag, number(each))
        except OSError as e:
            errors.append(e)
    if errors:
        raise errors[0]


def _signal_root(running: Running, record: TreeRecord, number: int, *, ask: bool) -> None:
    """Signals a root alone, unless it has ended."""
    leader = running.engine.leader_pid(record.tag)
    inside = running.inspection(record)
    if record.exit is None and inside is not None:
        parent = os.getpid() if leader == record.os_pid else leader
        inside.members.signal_root(record.os_pid, parent, number, ask=ask and not inside.freezer.holds)


def _ask_daemons(members: Members, group: int, number: int, main: int) -> bool:
    """Asks what is left of a tree, unless some of it is in the root's group, which is asked as a whole."""
    if any(seen.group == group for seen in members.living()):
        return False
    if not (main and members.signal_one(main, number, ask=True)):
        members.signal_outside((), number, ask=True)
    return True
