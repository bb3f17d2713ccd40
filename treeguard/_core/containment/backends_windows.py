"""The mechanism of Windows: a job object for each tree, inside one job object around all of them."""

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
from ...types import Mechanism
from .. import native
from ..engine.engine import Engine
from ..inspection.tree import Inspection
from ..inspection.tree_job import inspect_job
from ..native import CoreError, Event, NativeTree
from ..native_windows import NativeJob, NativePort
from ..spec import Additions
from ..spec.compiler_windows import SpecCompiler
from .backend import Backend
from .guarantees import Containment

__all__ = ["achieved", "backend_for", "try_out"]

_LACKS = {
    "cgroup": "cgroups are of Linux; Windows has job objects",
    "subreaper": "on Windows nobody adopts orphans; it has job objects",
    "pid_namespace": "PID namespaces are of Linux",
    "process_group": "on Windows a group of processes can be sent CTRL_BREAK, and not killed; it has job objects",
}
#: How many seconds a trial may take before it counts as failed. It usually takes as long as starting a program.
_PATIENCE = 10.0
#: The exit code that killing a job sets (``csrc/windows/tree.c``). A shell whose input ends exits with 0.
_KILLED = 1
_ALL_CYCLES = 10_000
_MOST_PROCESSES = 0xFFFFFFFF


class JobObjectBackend(Backend):
    """A job object. The kernel is the guard: the processes in a job end when the last handle to it is closed."""

    def limit(self, limits: Limits, additions: Additions) -> None:
        # In hundredths of a percent of all cycles of all processors. A value above all of them means no limit.
        cpu = 0 if limits.cpu is None else max(1, round(limits.cpu / (os.cpu_count() or 1) * _ALL_CYCLES))
        additions.job_memory = limits.memory or 0
        additions.job_processes = min(limits.processes or 0, _MOST_PROCESSES)
        additions.job_cpu = cpu if cpu < _ALL_CYCLES else 0

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        # The tree exists when this is called, and a port made it.
        job = engine.tree(tag)
        assert isinstance(job, NativeJob)
        return inspect_job(job, leader_pid)


def backend_for(containment: Containment) -> Backend:
    """The backend that a manager starts its trees with."""
    assert containment.mechanism == "job_object"
    return JobObjectBackend()


def achieved(containment: Containment) -> Containment:
    """The full guarantees of a mechanism that was tried successfully: which limits this host keeps."""
    memory, processes, cpu = _try_limits()
    return msgspec.structs.replace(
        containment,
        memory_limit="tree" if memory else None,
        process_limit="tree" if processes else None,
        cpu_limit="tree" if cpu else None,
    )


def try_out(mechanism: Mechanism) -> str | None:
    """None if a mechanism works on this host, otherwise the reason why not. Blocks for as long as a program start.

    A shortage says nothing about the host. It is raised as a :class:`~treeguard.SpawnError`.
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


# Tried once per process. A failure is not cached, since it may be temporary.
@functools.cache
def _try_job() -> None:
    """Starts a shell in a job and ends it through the job. The shell waits for input that never comes."""
    ours, theirs = os.pipe()
    try:
        spec = SpecCompiler().compile(
            SpawnParams(program="cmd.exe", args=("/d", "/q", "/k"), stdin=ours, stdout="null", stderr="null")
        )
        engine = NativePort()
        try:
            tree = engine.spawn(spec, 0)
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
    if next(events).kind != native.STARTED:
        raise OSError(errno.EIO, "a process was not started in its job")
    tree.kill()
    for event in events:
        if event.kind == native.EMPTY:
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
