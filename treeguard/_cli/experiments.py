"""The doctor's experiments: whether a mechanism ends each kind of descendant, and what each kind of fault leaves.

Every experiment starts real processes and believes only the system's own list of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence

import msgspec

from .._core.containment.guarantees import Containment, has_guard
from .._core.processes.namespaces import is_init
from ..errors import GuardLost, TreeguardError
from ..local import LocalProcessManager
from . import marked_processes, sample_supervisor
from .marked_processes import ProcessInfo, StagingError

__all__ = ["EXPERIMENTS", "NO_GUARD", "Experiment", "claimed", "examine", "mismatches", "proved", "untried"]

NO_GUARD = "no guard"
#: Killing a tree that holds one kind of descendant, and faults that happen to a tree that holds all kinds.
EXPERIMENTS = (*sample_supervisor.KINDS, "supervisor killed", "guard killed")
# The guarantee that predicts how an experiment ends. Every mechanism ends the processes that stay with the root.
_CLAIMS = {
    "new session": "contains_escapees",
    "new console": "contains_escapees",
    "breakaway": "contains_escapees",
    "daemon": "contains_escapees",
    "supervisor killed": "outlives_supervisor",
    "guard killed": "outlives_guard",
}

_KILL_PATIENCE = 5.0
_FAULT_PATIENCE = 5.0
#: How many seconds to wait for an end that a mechanism does not claim.
_DOUBT = 0.2


class Experiment(msgspec.Struct, frozen=True):
    """The result of one experiment.

    ``ended``: whether no process was left alive afterwards; None if the experiment was not made, and ``problem`` says
    why. ``exact``: whether nothing was left, not even unreaped processes, when treeguard reported *empty*; None if the
    experiment does not show it. ``adopted``: whether the orphan had become a child of the guard; None if there was no
    orphan.
    """

    name: str
    ended: bool | None
    seconds: float | None = None
    left: tuple[str, ...] = ()
    exact: bool | None = None
    adopted: bool | None = None
    problem: str | None = None


def examine(containment: Containment) -> tuple[Experiment, ...]:
    """Makes all experiments with one mechanism."""
    # Losing the guard is the purpose of an experiment, so it must not be logged.
    log = logging.getLogger("treeguard")
    handler = logging.NullHandler()
    log.addHandler(handler)
    try:
        return asyncio.run(_examine(containment))
    finally:
        log.removeHandler(handler)


def untried(problem: str) -> tuple[Experiment, ...]:
    """The results to show if no experiment can be made."""
    return tuple(Experiment(name, None, problem=problem) for name in EXPERIMENTS)


async def _examine(containment: Containment) -> tuple[Experiment, ...]:
    done: list[Experiment] = []
    for name in EXPERIMENTS:
        if done and done[-1].problem not in (None, NO_GUARD):
            # The problem that prevented one experiment also prevents the others, and each would wait in vain.
            done.append(Experiment(name, None, problem=done[-1].problem))
            continue
        begun = time.monotonic()
        try:
            done.append(await _tried(containment, name))
            # A process that has exited by itself was not ended by treeguard.
            if time.monotonic() - begun > sample_supervisor.LIFE:
                raise StagingError("it took so long that the processes may have ended by themselves")
        except (StagingError, TreeguardError, OSError) as e:
            done[EXPERIMENTS.index(name) :] = [Experiment(name, None, problem=str(e))]
    return tuple(done)


async def _tried(containment: Containment, name: str) -> Experiment:
    if name in sample_supervisor.KINDS:
        return await _killed(containment, name)
    if name == "supervisor killed":
        return await _supervisor_killed(containment, name)
    return await _guard_killed(containment, name)


async def _killed(containment: Containment, name: str) -> Experiment:
    async with LocalProcessManager(containment=containment.mechanism) as manager:
        with marked_processes.clean("doctor") as marker:
            root = await sample_supervisor.perform(manager, marker, "root", sample_supervisor.KINDS[name])
            members = await marked_processes.cast(
                marker, ("root", sample_supervisor.KINDS[name]), sample_supervisor.watched(root)
            )
            adopted = _adopted(root.os_pid, members)
            begun = time.perf_counter()
            await manager.kill_tree(root.pid)
            told = await manager.wait_for_exit(root.pid, _KILL_PATIENCE)
            seconds = time.perf_counter() - begun
            unreaped = marked_processes.left(marker, members, unreaped=True)
            left = _names(marked_processes.living(marker))
    return Experiment(name, not left, None if left else seconds, left, exact=told and not unreaped, adopted=adopted)


async def _supervisor_killed(containment: Containment, name: str) -> Experiment:
    parts = sample_supervisor.ESCAPEES
    with (
        marked_processes.clean("doctor") as marker,
        sample_supervisor.Supervisor(containment.mechanism, marker, "root", *parts) as supervisor,
    ):
        members = await marked_processes.cast(marker, ("root", *parts), supervisor.ended)
        begun = time.perf_counter()
        supervisor.kill()
        result = await _aftermath(name, marker, members, begun, expected=containment.outlives_supervisor)
        supervisor.check_killed()
    return result


async def _guard_killed(containment: Containment, name: str) -> Experiment:
    if not has_guard(containment):
        return Experiment(name, None, problem=NO_GUARD)
    parts = sample_supervisor.ESCAPEES
    async with LocalProcessManager(containment=containment.mechanism) as manager:
        with marked_processes.clean("doctor") as marker:
            root = await sample_supervisor.perform(manager, marker, "root", *parts)
            members = await marked_processes.cast(marker, ("root", *parts), sample_supervisor.watched(root))
            guard = _parent(root.os_pid)
            if guard is None or guard.parent != os.getpid():
                raise StagingError("the root does not run under a guard of this process")
            begun = time.perf_counter()
            if not marked_processes.kill_if(guard.pid, lambda: marked_processes.exists(guard)):
                raise StagingError("the guard could not be killed")
            result = await _aftermath(name, marker, members, begun, expected=containment.outlives_guard)
            with contextlib.suppress(GuardLost):
                await manager.wait_for_exit(root.pid, _KILL_PATIENCE)
    return result


async def _aftermath(
    name: str, marker: str, members: Sequence[ProcessInfo], begun: float, *, expected: bool
) -> Experiment:
    await marked_processes.gone(members, patience=_FAULT_PATIENCE if expected else _DOUBT)
    seconds = time.perf_counter() - begun
    left = _names(marked_processes.living(marker))
    return Experiment(name, not left, None if left else seconds, left)


def _adopted(root: int, members: Sequence[ProcessInfo]) -> bool | None:
    """Whether the guard, a child of this process, has adopted the daemon, or the init that it has started.

    None if there is no daemon.
    """
    guard = _parent(root)
    for seen in members if sample_supervisor.ADOPTS else ():
        if seen.name == "daemon":
            adopted = _parent(seen.pid) if is_init(seen.parent) else seen
            return None not in (guard, adopted) and guard.parent == os.getpid() and adopted.parent == guard.pid  # type: ignore[union-attr]
    return None


def _parent(pid: int) -> ProcessInfo | None:
    seen = marked_processes.get_process(pid)
    return None if seen is None else marked_processes.get_process(seen.parent)


def _names(seen: Sequence[ProcessInfo]) -> tuple[str, ...]:
    return tuple(each.name for each in seen)


def claimed(containment: Containment, name: str) -> bool:
    """Whether the mechanism claims to end the processes of this experiment."""
    return name not in _CLAIMS or bool(getattr(containment, _CLAIMS[name]))


def proved(experiments: Sequence[Experiment]) -> dict[str, bool]:
    """What the experiments show about the guarantees of a containment, as far as they show anything."""
    found: dict[str, bool] = {}
    for each in experiments:
        if each.ended is not None and each.name in _CLAIMS:
            guarantee = _CLAIMS[each.name]
            found[guarantee] = found.get(guarantee, True) and each.ended
    exact = [each.exact for each in experiments if each.exact is not None]
    adopted = [each.adopted for each in experiments if each.adopted is not None]
    if exact:
        found["proves_empty"] = all(exact)
    if exact and adopted:
        found["reaps_orphans"] = all(exact) and all(adopted)
    return found


def mismatches(containment: Containment, experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Where a mechanism does not keep its claims, or where that could not be determined."""
    problems = {each.problem for each in experiments if each.ended is None} - {NO_GUARD}
    found = [f"not tried: {problem}" for problem in sorted(map(str, problems))]
    for each in experiments:
        if each.ended is None:
            continue
        if each.ended is False and each.name not in _CLAIMS:
            found.append(f"{each.name}: not ended")
    for name, value in proved(experiments).items():
        said = getattr(containment, name)
        if said != value:
            found.append(f"{name}: claimed to be {said}, seen to be {value}")
    return tuple(found)
