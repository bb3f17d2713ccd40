"""What doctor tries: whether a mechanism ends each kind of descendant, and each kind of fault's leftovers.

Every experiment starts real processes and believes nothing but /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence

import msgspec

from ..containment import Containment
from ..errors import GuardLost, TreeguardError
from ..local import LocalProcessManager
from . import look, stage
from .look import Seen, StagingError

__all__ = ["FAULTS", "KILLS", "Experiment", "examine", "mismatches", "proved"]

#: What is in the tree that is killed, by the experiment's name.
KILLS = {"same group": "worker", "new session": "session", "daemon": "daemon", "stopped": "stopped"}
#: What happens to a tree that holds all of these.
FAULTS = ("supervisor killed", "guard killed")

_KILL_PATIENCE = 2.0
_FAULT_PATIENCE = 1.0
#: How long it is waited for what a mechanism does not claim to do.
_DOUBT = 0.2


class Experiment(msgspec.Struct, frozen=True):
    """One thing that was tried.

    ``ended``: whether nothing lived afterwards; None where there was nothing to try (then ``problem`` says why), or where
    it could not be tried. ``exact``: whether, when treeguard said *empty*, nothing was left, unreaped processes included;
    None where it says nothing. ``adopted``: whether the orphan had become a child of treeguard's; None without one.
    """

    name: str
    ended: bool | None
    seconds: float | None = None
    left: tuple[str, ...] = ()
    exact: bool | None = None
    adopted: bool | None = None
    problem: str | None = None


def examine(containment: Containment) -> tuple[Experiment, ...]:
    """Tries one mechanism."""
    # That a guard was lost is what was wanted here; it is nothing to log.
    log = logging.getLogger("treeguard")
    handler = logging.NullHandler()
    log.addHandler(handler)
    try:
        return asyncio.run(_examine(containment))
    finally:
        log.removeHandler(handler)


async def _examine(containment: Containment) -> tuple[Experiment, ...]:
    done = []
    for name in (*KILLS, *FAULTS):
        try:
            if name in KILLS:
                done.append(await _killed(containment, name))
            elif name == "supervisor killed":
                done.append(await _supervisor_killed(containment, name))
            else:
                done.append(await _guard_killed(containment, name))
        except (StagingError, TreeguardError, OSError) as e:
            done.append(Experiment(name, None, problem=str(e)))
    return tuple(done)


async def _killed(containment: Containment, name: str) -> Experiment:
    async with LocalProcessManager(containment=containment.mechanism) as manager:
        with look.clean("doctor") as marker:
            root = await stage.perform(manager, marker, "root", KILLS[name])
            members = await look.cast(marker, ("root", KILLS[name]))
            adopted = _adopted(members)
            begun = time.perf_counter()
            await manager.kill_tree(root.pid)
            told = await manager.wait_for_exit(root.pid, _KILL_PATIENCE)
            seconds = time.perf_counter() - begun
            unreaped = look.left(marker, members, unreaped=True)
            left = _names(look.living(marker))
    return Experiment(name, not left, None if left else seconds, left, exact=told and not unreaped, adopted=adopted)


async def _supervisor_killed(containment: Containment, name: str) -> Experiment:
    parts = tuple(KILLS.values())
    with (
        look.clean("doctor") as marker,
        stage.Supervisor(containment.mechanism, marker, "root", *parts) as supervisor,
    ):
        members = await look.cast(marker, ("root", *parts))
        begun = time.perf_counter()
        supervisor.kill()
        return await _aftermath(name, marker, members, begun, claimed=containment.outlives_supervisor)


async def _guard_killed(containment: Containment, name: str) -> Experiment:
    parts = tuple(KILLS.values())
    async with LocalProcessManager(containment=containment.mechanism) as manager:
        with look.clean("doctor") as marker:
            root = await stage.perform(manager, marker, "root", *parts)
            members = await look.cast(marker, ("root", *parts))
            seen = look.look_at(root.os_pid)
            if seen is None or seen.parent == os.getpid():
                return Experiment(name, None, problem="no guard")
            begun = time.perf_counter()
            # It is our child and nobody reaps it but this thread, so the number is its own.
            os.kill(seen.parent, 9)
            result = await _aftermath(name, marker, members, begun, claimed=containment.outlives_guard)
            with contextlib.suppress(GuardLost):
                await manager.wait_for_exit(root.pid, _KILL_PATIENCE)
    return result


async def _aftermath(name: str, marker: str, members: Sequence[Seen], begun: float, *, claimed: bool) -> Experiment:
    await look.gone(members, patience=_FAULT_PATIENCE if claimed else _DOUBT)
    seconds = time.perf_counter() - begun
    left = _names(look.living(marker))
    return Experiment(name, not left, None if left else seconds, left)


def _adopted(members: Sequence[Seen]) -> bool | None:
    """Whether the daemon's parent is a child of this process, as a guard is; None if there is no daemon."""
    for seen in members:
        if seen.name == "daemon":
            parent = look.look_at(seen.parent)
            return parent is not None and parent.parent == os.getpid()
    return None


def _names(seen: Sequence[Seen]) -> tuple[str, ...]:
    return tuple(each.name for each in seen)


def proved(experiments: Sequence[Experiment]) -> dict[str, bool]:
    """What the experiments say of a containment's guarantees, as far as they say anything."""
    by_name = {each.name: each for each in experiments}
    kills = [by_name[name] for name in KILLS]
    exact = all(each.exact for each in kills)
    found = {
        "contains_escapees": _all_ended(by_name["new session"], by_name["daemon"]),
        "proves_empty": None if any(each.exact is None for each in kills) else exact,
        "reaps_orphans": None if by_name["daemon"].adopted is None else exact and by_name["daemon"].adopted,
        "outlives_supervisor": by_name["supervisor killed"].ended,
        "outlives_guard": by_name["guard killed"].ended,
    }
    return {name: value for name, value in found.items() if value is not None}


def _all_ended(*experiments: Experiment) -> bool | None:
    if any(each.ended is None for each in experiments):
        return None
    return all(each.ended for each in experiments)


def mismatches(containment: Containment, experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Where a mechanism is not what it claims to be, or where that could not be found out."""
    found = [f"{each.name}: {each.problem}" for each in experiments if each.ended is None and each.problem != "no guard"]
    # What stays in the root's group, every mechanism has to end.
    found += [f"{each.name}: not ended" for each in experiments if each.name in _MUST and each.ended is False]
    for name, value in proved(experiments).items():
        if getattr(containment, name) != value:
            found.append(f"{name}: claimed to be {getattr(containment, name)}, seen to be {value}")
    return tuple(found)


_MUST = ("same group", "stopped")
