"""A system without processes for a manager: it contains trees as a mechanism does, and they play scripts."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from typing import NamedTuple

import msgspec

from .._core import native
from .._core.containment.backend import Backend
from .._core.containment.guarantees import (
    Choice,
    Containment,
    choose,
    with_controllers,
)
from .._core.containment.guard_loss import LostTree
from .._core.containment.host import SpecCompiler, System
from .._core.containment.proc_scanner import SearchTarget
from .._core.containment.requirements import check_required
from .._core.containment.search import Search
from .._core.engine.engine import Core, Engine
from .._core.inspection.tree import Inspection
from .._core.native import CoreError, Spec
from .._core.spec import NOTHING_ADDED, Additions, Placement
from .._core.spec.arguments import STREAMS, check_text, default_program
from ..errors import SpawnError, invalid_argument, spawn_error
from ..params import Isolation, SpawnParams
from ..types import ContainmentName, GuaranteeName, Mechanism
from ._processes import ScriptedDescendant, ScriptedRoot
from ._streams import ChildStreams
from ._trees import MemoryAccounts, MemoryCore, MemoryFreezer, MemoryMembers, MemoryTarget, MemoryTree, Target
from .calls import KillCall, SignalCall, SpawnCall
from .scripts import FIRST_PID, Script, Scripts, argv_of

__all__ = ["MemoryBackend", "MemorySearch", "MemorySystem", "ScriptedSystem", "ScriptedTree", "asked_for"]

#: What the caller of the spawn that is under way asked for, before pipes were replaced by descriptors.
asked_for: ContextVar[SpawnParams | None] = ContextVar("asked_for", default=None)

#: The steps that fail before the core is asked for anything.
_BEFORE = ("search", "cwd", "argument")


class MemorySystem(System):
    """A system whose core and whose backend exist in memory. Every mechanism works."""

    def __init__(self) -> None:
        self.numbers = itertools.count(FIRST_PID)
        self.trees: dict[int, MemoryTree] = {}
        self.core: MemoryCore

    def contain(
        self, asked: ContainmentName, required: Collection[GuaranteeName] = (), isolation: Isolation = "none"
    ) -> Containment:
        """See :meth:`System.contain`."""
        containment = choose(asked, self.try_out).containment
        if containment.mechanism == "cgroup":
            containment = with_controllers(containment, ("memory", "pids", "cpu"))
        check_required(required, Choice(containment))
        return msgspec.structs.replace(containment, isolation=isolation)

    def try_out(self, mechanism: Mechanism) -> str | None:
        """See :meth:`System.try_out`."""
        return None

    def check_isolation(self, containment: Containment, isolation: Isolation) -> None:
        """See :meth:`System.check_isolation`. There is nobody to be isolated from."""

    def open_core(self) -> Core:
        """See :meth:`System.open_core`."""
        self.core = MemoryCore(self.start, self.make_tree)
        return self.core

    def make_tree(self, core: MemoryCore) -> MemoryTree:
        """A tree that is not started yet."""
        return MemoryTree(core)

    def search(self) -> Search:
        """See :meth:`System.search`."""
        return MemorySearch()

    def backend_for(self, containment: Containment) -> Backend:
        """See :meth:`System.backend_for`."""
        return MemoryBackend(self, containment.mechanism)

    def start(self, tree: MemoryTree, spec: Spec, tag: int, guarded: bool) -> None:
        """Starts a tree."""
        raise NotImplementedError("each system has trees of its own")

    def members_of(self, tree: MemoryTree) -> MemoryMembers:
        """The view of a tree's processes."""
        return MemoryMembers(tree)


class MemorySearch(Search):
    """A search without a thread, for which a virtual clock would not wait."""

    async def look(self, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        """See :meth:`Search.look`."""
        return [one for one in every if not isinstance(one, MemoryTarget) or one.strike_all()]

    def look_now(self, one: SearchTarget) -> bool:
        """See :meth:`Search.look_now`."""
        return isinstance(one, MemoryTarget) and not one.strike_all() and one.proved


class MemoryBackend(Backend):
    """Every mechanism's backend."""

    def __init__(self, system: MemorySystem, mechanism: Mechanism) -> None:
        self._system = system
        self._mechanism = mechanism
        self.placement = Placement(guarded=mechanism not in ("process_group", "job_object"))

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        """See :meth:`Backend.inspection`."""
        tree = self._system.trees[tag]
        freezer = MemoryFreezer(tree, by_cgroup=self._mechanism == "cgroup")
        return Inspection(self._system.members_of(tree), freezer, MemoryAccounts(tree))

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget | None:
        """See :meth:`Backend.bypass`."""
        return MemoryTarget(self._system.trees[tag], proves=True)

    def orphaned(self, traces: LostTree) -> SearchTarget:
        """See :meth:`Backend.orphaned`. All processes carry the tree's mark, but only a cgroup proves that."""
        return MemoryTarget(self._system.trees[traces.tag], proves=self._mechanism == "cgroup")


class ScriptedTree(MemoryTree):
    """A tree that plays a script."""

    def __init__(self, core: MemoryCore, scripts: Scripts) -> None:
        super().__init__(core)
        self.argv: tuple[str, ...] = ()
        self.streams: ChildStreams | None = None
        self._scripts = scripts

    @property
    def _at(self) -> float:
        return self._core.stage.now

    def settle(self) -> None:
        """See :meth:`MemoryTree.settle`. Closes the streams that no process holds any more."""
        if self.streams is not None and self.processes and not self.root.alive:
            self.streams.close(outputs=not any(process.holds_output for process in self.living()))
        super().settle()

    def note_signal(self, number: int, to: Target) -> None:
        """Adds a signal to the record."""
        self._scripts.note(SignalCall(self._at, self.argv, self.root.pid, number, to))

    def signal(self, signal: int) -> None:
        """See :meth:`MemoryTree.signal`."""
        if self.begun:
            self.note_signal(signal & ~native.ASK, "group")
            super().signal(signal)

    def kill(self) -> None:
        """See :meth:`MemoryTree.kill`."""
        if self.begun:
            self._scripts.note(KillCall(self._at, self.argv, self.root.pid))
            super().kill()

    def lose_guard(self) -> None:
        """Its time has come: see :attr:`Script.loses_guard_after`."""
        self.lose()

    def free(self) -> None:
        """See :meth:`MemoryTree.free`."""
        if self.begun and self.guarded and not self.over and self._core.owned:
            super().kill()
        self.begun = False
        if self.streams is not None and self._core.owned:
            self.streams.close()
        elif self.streams is not None:
            self.streams.forked()


class _Compiled(NamedTuple):
    """A command on its way to the core."""

    params: SpawnParams
    script: Script
    stdio: tuple[int, int, int]


class _Compiler(SpecCompiler):
    """Looks for a script in the place of a program. All other checks are the real ones."""

    def __init__(self, system: ScriptedSystem) -> None:
        super().__init__()
        self._system = system

    def compile(self, params: SpawnParams, additions: Additions = NOTHING_ADDED) -> Spec:
        """See :meth:`SpecCompiler.compile`. Raises :class:`UnscriptedCommand` if there is no script."""
        program = params.program if params.program and params.kind else default_program(params)
        check_text(program, program, "program")
        if params.pty:
            raise invalid_argument("pty", "is not to be had of scripted children: no process has a terminal", program)
        try:
            # This interpreter exists on every system, and where a program is looked for.
            spec = super().compile(msgspec.structs.replace(params, program=sys.executable), additions)
        except SpawnError as error:
            if error.filename == sys.executable:
                error.filename = program
            raise
        asked = asked_for.get() or params
        script = self._system.scripts.take(asked)
        if script.fails is not None and script.fails[0] in _BEFORE and not _has_directory(program):
            self._system.note_spawn(asked, None)
            step, number = script.fails
            raise spawn_error(step, number, program, detail="searched in PATH" if step == "search" else "")
        number = next(self._system.numbers)
        self._system.compiled[number] = _Compiled(asked, script, _stdio(params, additions))
        return msgspec.structs.replace(spec, program=str(number).encode())


def _has_directory(program: str) -> bool:
    return os.path.basename(program) != program  # noqa: PTH119 - a string


def _stdio(params: SpawnParams, additions: Additions) -> tuple[int, int, int]:
    numbers: list[int] = []
    for number, name in enumerate(STREAMS):
        stream = getattr(params, name)
        if number == 0 and additions.stdin is not None:
            stream = additions.stdin
        if stream == "inherit":
            numbers.append(number)
        elif stream == "stdout":
            numbers.append(numbers[1])
        else:
            numbers.append(stream if isinstance(stream, int) else -1)
    return numbers[0], numbers[1], numbers[2]


class ScriptedSystem(MemorySystem):
    """A system in which every program is a script."""

    def __init__(self, scripts: Scripts) -> None:
        super().__init__()
        self.scripts = scripts
        self.numbers = scripts.numbers
        self.compiled: dict[int, _Compiled] = {}

    def compiler(self) -> SpecCompiler:
        """See :meth:`System.compiler`."""
        return _Compiler(self)

    def make_tree(self, core: MemoryCore) -> MemoryTree:
        """See :meth:`MemorySystem.make_tree`."""
        return ScriptedTree(core, self.scripts)

    def members_of(self, tree: MemoryTree) -> MemoryMembers:
        """See :meth:`MemorySystem.members_of`."""
        assert isinstance(tree, ScriptedTree)
        return MemoryMembers(tree, tree.note_signal)

    def note_spawn(self, params: SpawnParams, os_pid: int | None) -> None:
        """Adds a spawn to the record."""
        self.scripts.note(SpawnCall(self.core.stage.now, argv_of(params), params, os_pid))

    def start(self, tree: MemoryTree, spec: Spec, tag: int, guarded: bool) -> None:
        """See :meth:`MemorySystem.start`."""
        assert isinstance(tree, ScriptedTree)
        params, script, stdio = self.compiled.pop(int(spec.program))
        failure = script.fails
        if failure is not None and not script.start_after:
            self.note_spawn(params, None)
            raise CoreError(*_core_failure(failure))
        stage = self.core.stage
        try:
            streams = ChildStreams(stage, stdio)
        except OSError as error:
            raise CoreError("stdio", error.errno or errno.EIO) from error
        tree.argv, tree.streams, tree.usage = argv_of(params), streams, script.usage
        name = os.path.basename(tree.argv[0])[:15]  # noqa: PTH119 - a string
        pid = next(self.numbers)
        root = ScriptedRoot(
            pid,
            stage,
            tree.settle,
            script,
            name=name,
            streams=streams,
            note_input=lambda data: self.scripts.note_input(pid, data),
            ignored=params.ignore_signals,
        )
        self.trees[tag] = tree
        tree.begin(tag, [root], next(self.numbers) if guarded else None)
        self.note_spawn(params, None if failure else pid)
        root.later(script.start_after, lambda: self._started(tree, root, script, params.ignore_signals))

    def _started(self, tree: ScriptedTree, root: ScriptedRoot, script: Script, ignored: tuple[int, ...]) -> None:
        if script.fails is not None:
            tree.fail(*_core_failure(script.fails))
            return
        stage = self.core.stage
        tree.processes += [
            ScriptedDescendant(next(self.numbers), stage, tree.settle, plan, ignored=ignored) for plan in script.leaves
        ]
        tree.started()
        if script.loses_guard_after is not None:
            stage.later(script.loses_guard_after, tree.lose_guard)
        root.play()


def _core_failure(failure: tuple[str, int]) -> tuple[str, int]:
    """The core fails to execute what cannot be looked for."""
    step, number = failure
    return ("exec" if step == "search" else step), number
