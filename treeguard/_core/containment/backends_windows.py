"""The mechanism of Windows: a job object for each tree, in one around all."""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Iterator

import msgspec

from ...errors import SHORTAGES, spawn_error
from ...limits import Limits
from ...params import SpawnParams
from .. import native as _native
from ..engine.engine import Engine
from ..inspection.tree import Inspection
from ..inspection.tree_job import inspect_job
from ..native import CoreError, Event, NativeTree, Spec
from ..native_windows import NativeJob, NativePort
from ..spec.compiler_windows import SpecCompiler
from .backend import Backend
from .guarantees import Containment, Mechanism

__all__ = ["achieved", "backend_for", "try_out"]

_LACKS = {
    "cgroup": "cgroups are of Linux; Windows has job objects",
    "subreaper": "on Windows nobody adopts orphans; it has job objects",
    "process_group": "on Windows a group of processes can be sent CTRL_BREAK, and not killed; it has job objects",
}
#: A trial takes as long as a program's start. One that is not over by then has failed; in seconds.
_PATIENCE = 10.0
#: What a job's kill leaves as exit code (``csrc/tree_windows.c``). A shell whose input ends leaves with 0.
_KILLED = 1
_ALL_CYCLES = 10_000
_MOST_PROCESSES = 0xFFFFFFFF


class JobObjectBackend(Backend):
    """A job object. The kernel is the guard: what is in a job ends with the last handle to it."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    async def spawn(self, engine: Engine, spec: Spec, tag: int, limits: Limits | None) -> None:
        self._engine = engine
        engine.spawn(spec if limits is None else _limited(spec, limits), tag, guard=None)

    def inside(self, leader_pid: int, tag: int) -> Inspection:
        # There is a keeper, so there is a tree, and it was made by a port.
        assert self._engine is not None
        job = self._engine.tree(tag)
        assert isinstance(job, NativeJob)
        return inspect_job(job, leader_pid)


def _limited(spec: Spec, limits: Limits) -> Spec:
    # Of all cycles of all processors, in hundredths of a percent; what is more than all is no limit.
    cpu = 0 if limits.cpu is None else max(1, round(limits.cpu / (os.cpu_count() or 1) * _ALL_CYCLES))
    return msgspec.structs.replace(
        spec,
        job_memory=limits.memory or 0,
        job_processes=min(limits.processes or 0, _MOST_PROCESSES),
        job_cpu=cpu if cpu < _ALL_CYCLES else 0,
    )


def backend_for(containment: Containment) -> Backend:
    """Makes what a manager starts its trees with."""
    assert containment.mechanism == "job_object"
    return JobObjectBackend()


def achieved(containment: Containment) -> Containment:
    """What comes with a mechanism that was tried out successfully on this host: limits are kept, or are not."""
    memory, processes, cpu = _try_limits()
    return msgspec.structs.replace(
        containment,
        memory_limit="tree" if memory else None,
        process_limit="tree" if processes else None,
        cpu_limit="tree" if cpu else None,
    )


def try_out(mechanism: Mechanism) -> str | None:
    """None where a mechanism works on this host, else why it doesn't. Waits as long as the start of a program takes.

    A shortage says nothing of the host: it is raised, as a :class:`~treeguard.SpawnError`.
    """
    if mechanism != "job_object":
        return _LACKS[mechanism]
    try:
        _try_job()
    except CoreError as fault:
        told = spawn_error(fault.step, fault.errno, None, detail=fault.detail)
        if fault.errno in SHORTAGES | {errno.EAGAIN}:
            raise told from None
        return str(told)
    except OSError as error:
        return str(error)
    return None


@functools.cache
def _try_limits() -> tuple[bool, bool, bool]:
    return NativePort.limits()


# Tried once for the process; a failure is not kept, it may have been one of the moment.
@functools.cache
def _try_job() -> None:
    """A shell that waits for input that never comes is put into a job, and ended by it."""
    ours, theirs = os.pipe()
    try:
        spec = SpecCompiler().compile(
            SpawnParams(program="cmd.exe", args=("/d", "/q", "/k"), stdin=ours, stdout="null", stderr="null")
        )
        engine = NativePort()
        try:
            tree = engine.spawn(spec, 0, guard=None)
            try:
                _is_ended(engine, tree)
            finally:
                tree.free()
        finally:
            engine.close()
    finally:
        os.close(ours)
        os.close(theirs)


def _is_ended(engine: NativePort, tree: NativeTree) -> None:
    events = _events(engine, tree)
    if next(events).kind != _native.STARTED:
        raise OSError(errno.EIO, "a process was not started in its job")
    tree.kill()
    for event in events:
        if event.kind == _native.EMPTY:
            if event.code != _KILLED:
                raise OSError(errno.ECHILD, f"a process was not ended with its job, but left with {event.code}")
            return


def _events(engine: NativePort, tree: NativeTree) -> Iterator[Event]:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        yield from engine.drain()
        while (event := tree.poll()) is not None:
            tree.heard()
            yield event
        engine.wait(0.005)
    raise TimeoutError(f"a tree was not ended within {_PATIENCE:g} s")
