"""The C core with types. Only this module imports the compiled one; other modules add what few or one system needs.

The C core reports errors as :class:`CoreError`: the name of a step, and an errno. Other modules make the message.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import deque
from collections.abc import Callable, MutableMapping
from pathlib import Path
from struct import Struct
from typing import Any

from .. import _treeguard
from ..errors import RequestNotDelivered
from .native_values import CoreError, Event, Spec, Usage

__all__ = [
    "ASK",
    "CLOSING",
    "CONTINUED",
    "EMPTY",
    "ENDED",
    "FAILED",
    "GUARD",
    "INHERIT",
    "LOST",
    "OVER",
    "STARTED",
    "STOPPED",
    "CoreError",
    "Descriptor",
    "Event",
    "NativeEngine",
    "NativeTree",
    "Spec",
    "Usage",
    "culprit",
]

_ffi: Any = _treeguard.ffi
_lib: Any = _treeguard.lib

#: The guard's executable.
GUARD = str(Path(__file__).parent.with_name("treeguard-guard"))

#: A flag of a signal: it asks for an end, so stopped processes go on to hear it.
ASK: int = _lib.TG_ASK
INHERIT: int = _lib.TG_INHERIT
STARTED: int = _lib.TG_STARTED
FAILED: int = _lib.TG_FAILED
STOPPED: int = _lib.TG_STOPPED
CONTINUED: int = _lib.TG_CONTINUED
ENDED: int = _lib.TG_ENDED
EMPTY: int = _lib.TG_EMPTY
LOST: int = _lib.TG_LOST
DUMPED: int = _lib.TG_DUMPED
CLOSING: int = _lib.TG_CLOSING
#: The kinds of a tree's last event.
OVER = (EMPTY, FAILED, LOST)

_STEPS: dict[int, str] = {
    getattr(_lib, name): name.removeprefix("TG_STEP_").lower() for name in dir(_lib) if name.startswith("TG_STEP_")
}
_BATCH = 64
_TREE = _ffi.typeof("struct tg_tree **")
#: Ends strings with one byte per character, and with two.
_END = b"\0\0"

#: Which of so many paths, each with a NUL at its end, is the first that is an executable file; -1: none. On POSIX.
find: Callable[[bytes, int], int] = getattr(_lib, "tg_find", None)  # type: ignore[assignment]

#: No page to read, and no time limit.
NO_LEASE = (-1, 0)


def culprit(step: str, program: str | None) -> str | None:
    """The file that a failed step is about: the guard, or the program."""
    return GUARD if step == "guard" else program


#: ``struct tg_event``: reading it at once takes a tenth of the time that its members take one by one.
_EVENT = Struct("@Q4iq2iq14q")


def _event(batch: Any, number: int = 0) -> Event:
    tag, kind, pid, step, err, code, signal, polled, oom_kills, *used = _EVENT.unpack_from(batch, _EVENT.size * number)
    usage = total = None
    if kind in (EMPTY, ENDED):
        usage, total = tuple.__new__(Usage, used[:7]), tuple.__new__(Usage, used[7:])
    return Event(tag, kind, pid, _STEPS[step], err, code, signal, usage, total, oom_kills, polled != 0)


def _told(fault: Any) -> CoreError:
    """The error of a failed step. Must come before any other call of the C core, which would overwrite the details."""
    detail = ""
    if sys.platform == "win32":
        code, words = _ffi.getwinerror()
        detail = f"Windows error {code}: {words}"
    return CoreError(_STEPS[fault.step], fault.err, detail)


def _prepared(spec: Spec, lease: tuple[int, int]) -> tuple[Any, ...]:
    """``struct tg_spec`` but for what differs from tree to tree, and what it points to. The C core copies all of it."""
    program = _ffi.from_buffer("char[]", spec.program + _END)
    args = _ffi.from_buffer("char[]", spec.args)
    cwd = _ffi.NULL if spec.cwd is None else _ffi.from_buffer("char[]", spec.cwd + _END)
    guard = _ffi.NULL if spec.guard is None else _ffi.from_buffer("char[]", spec.guard + _END)
    title = _ffi.from_buffer("char[]", spec.title + _END)
    fds = _ffi.new("int32_t[]", spec.pass_fds) if spec.pass_fds else _ffi.NULL
    handles = _ffi.new("int32_t[]", spec.handles) if spec.handles else _ffi.NULL
    attributes = _ffi.from_buffer("struct tg_attributes *", spec.attributes) if spec.attributes else _ffi.NULL
    c = _ffi.new("struct tg_spec *")
    c.guard, c.title, c.program, c.args, c.cwd, c.fds, c.handles = guard, title, program, args, cwd, fds, handles
    c.args_size, c.nargs, c.nfds = len(spec.args), spec.nargs, len(spec.pass_fds)
    c.stdio = spec.stdio
    c.lease, c.lease_ms = lease
    c.cgroup, c.leaf_made = spec.cgroup, spec.leaf_made
    c.options = (spec.terminal, spec.new_session, spec.isolated)
    c.attributes = attributes
    c.address_space, c.ignore = spec.address_space, spec.ignore
    if sys.platform == "win32":
        c.job_memory, c.job_processes, c.job_cpu = spec.job_memory, spec.job_processes, spec.job_cpu
        c.creationflags, c.show_window = spec.creationflags, spec.show_window
    return c, guard, title, program, args, cwd, fds, handles, attributes, _ffi.new("struct tg_fault *")


class Descriptor:
    """A descriptor that is closed exactly once, even if exceptions interrupt that, and at the latest when dropped."""

    __slots__ = ("_cell",)

    def __init__(self) -> None:
        self._cell = _ffi.gc(_ffi.new("int32_t *", -1), _lib.tg_close_kept)

    def open(self, path: Path | str, flags: int, directory: int = -1) -> None:
        """Opens a file, its path below an open directory. Raises OSError."""
        self._checked(_lib.tg_open_kept(directory, os.fsencode(path), flags, self._cell), path)

    def copy(self, fd: int) -> None:
        """Duplicates an open descriptor. Raises OSError."""
        self._checked(_lib.tg_copy_kept(fd, self._cell))

    def _checked(self, result: int, path: Path | str | None = None) -> None:
        if result < 0:
            raise OSError(-result, os.strerror(-result), None if path is None else str(path))

    @property
    def number(self) -> int:
        """The number of the descriptor; -1 once it is closed."""
        return int(self._cell[0])

    def close(self) -> None:
        """Closes the descriptor. Calling it again has no effect."""
        _lib.tg_close_kept(self._cell)


class NativeTree:
    """A tree of the C core, freed once and explicitly. Calls have no effect before it is started and after it is freed.

    Exceptions of signal handlers come right after a call into the core (``csrc/kept.c``). So the core writes the tree
    that it makes to ``_cell``, and the event that it reports to ``_told``.
    """

    __slots__ = ("_cell", "_told")
    alone = False

    def __init__(self) -> None:
        self._cell: Any = _ffi.new(_TREE)
        self._told: Any = None

    @property
    def begun(self) -> bool:
        """Whether it has been started and not freed yet."""
        return bool(self._cell[0])

    def poll(self) -> Event | None:
        """The event that no descriptor reports; see ``tg_tree_poll``. Returned again until :meth:`heard` is called."""
        if self._told is None:
            self._told = _ffi.new("struct tg_event *")
        if not self._told.kind and self._cell[0]:
            _lib.tg_tree_poll_kept(self._cell[0], self._told)
        return _event(_ffi.buffer(self._told)) if self._told.kind else None

    def heard(self) -> None:
        """Confirms the event that :meth:`poll` returned."""
        if self._told is not None:
            self._told.kind = 0

    @property
    def pid(self) -> int:
        """The guard's process id, or the root's if there is no guard; 0 if the tree was not started."""
        tree = self._cell[0]
        return int(_lib.tg_tree_pid(tree)) if tree else 0

    @property
    def polled(self) -> bool:
        """Whether no descriptor reports the next event, so that the tree must be polled."""
        tree = self._cell[0]
        return bool(tree and (_lib.tg_tree_polled(tree) or (self._told is not None and self._told.kind)))

    def signal(self, signal: int) -> None:
        """Signals the root's group. Does nothing if the group is gone."""
        tree = self._cell[0]
        if tree:
            self._check(_lib.tg_tree_signal(tree, signal))

    def kill(self) -> None:
        """Orders that the tree be ended by force, and does not wait."""
        tree = self._cell[0]
        if tree:
            self._check(_lib.tg_tree_kill(tree))

    @property
    def leaving(self) -> bool:
        """Whether its guard has sent its last message and has not ended yet."""
        tree = self._cell[0]
        return bool(tree and _lib.tg_tree_leaving(tree))

    def wake(self) -> bool:
        """Lets a stopped guard go on. Returns whether it was stopped."""
        tree = self._cell[0]
        return bool(tree and _lib.tg_tree_wake(tree) > 0)

    def dismiss(self, *, empty: bool) -> None:
        """Kills a guard that does not obey. EMPTY follows if nothing else is left, otherwise LOST."""
        tree = self._cell[0]
        if tree:
            self._check(_lib.tg_tree_dismiss(tree, empty))

    @staticmethod
    def _check(ret: int) -> None:
        if ret == -errno.ENOTSUP:
            raise RequestNotDelivered(
                errno.ENOTSUP, "the root has no console in common with this process, and no window"
            )
        # A group that is gone needs no signal. Any other error is raised.
        if ret < 0 and ret != -errno.ESRCH:
            raise OSError(-ret, os.strerror(-ret))

    def free(self) -> None:
        """Closes what the tree holds. A guard that is still alive ends its tree."""
        _lib.tg_tree_free_kept(self._cell)


class NativeEngine:
    """One descriptor that becomes readable when a tree has an event."""

    __slots__ = ("_batch", "_cell", "_count", "_latest", "_leaving", "_owner", "_taken", "_view", "_witness", "leaving")

    _kind_of_tree = NativeTree

    def __init__(self) -> None:
        fault = _ffi.new("struct tg_fault *")
        self._batch = _ffi.new("struct tg_event[]", _BATCH)
        self._view = _ffi.buffer(self._batch)
        self._count = _ffi.new("int32_t *")
        self._taken = 0
        #: A spec, and what was prepared of it.
        self._latest: tuple[Any, ...] | None = None
        #: How many guards had sent their last message and not ended yet, at the last look.
        self.leaving = 0
        self._owner = os.getpid()
        self._witness: Any = None
        # It has no destructor of its own: garbage collection might run that before the trees are freed.
        self._cell: Any = _ffi.new("struct tg_engine **")
        try:
            _lib.tg_engine_open_kept(self._cell, fault)
            if not self._cell[0]:
                raise _told(fault)
            self._leaving = _lib.tg_engine_leaving(self._cell[0]) if sys.platform != "win32" else (0,)
            self._witness = _lib.tg_engine_witness(self._cell[0]) if sys.platform != "win32" else None
        except BaseException:
            self.close()
            raise

    @property
    def owned(self) -> bool:
        """Whether this process made it; a forked copy did not. No system call where a fork wipes memory."""
        witness = self._witness
        return witness[0] == 1 if witness else self._owner == os.getpid()

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed. Use it only to watch for readability."""
        engine = self._cell[0]
        return int(_lib.tg_engine_fd(engine)) if engine else -1

    def drain(self) -> list[Event]:
        """The pending events, at most a batch of them. Never waits."""
        events: deque[Event] = deque()
        self.take(events)
        return list(events)

    def take(self, told: deque[Event]) -> None:
        """Adds the pending events to ``told``, at most a batch of them. Never waits.

        An interruption loses no event, but the next call may add some of them a second time. A call from within, by a
        signal handler, adds them in place of this one.
        """
        count, before = self._count, self._taken
        if not count[0] and self._cell[0]:
            _lib.tg_engine_drain_kept(self._cell[0], self._batch, _BATCH, count)
            self.leaving = self._leaving[0]
        if count[0]:
            events = [_event(self._view, i) for i in range(count[0])]
            if self._taken == before:
                told += events
                count[0], self._taken = 0, before + 1

    def spawn(
        self,
        spec: Spec,
        tag: int,
        *,
        lease: tuple[int, int] = NO_LEASE,
        among: MutableMapping[int, Any] | None = None,
        kind: type[NativeTree] | None = None,
    ) -> NativeTree:
        """Starts a tree: in a process group only, if the spec has no guard.

        The tree is put ``among`` others before it is started, so that it is held even if an exception comes from
        elsewhere. Raises :class:`CoreError` if nothing was started.
        """
        made = (kind or self._kind_of_tree)()
        if among is not None:
            among[tag] = made
        env = spec.env + b"%b%d=1\0" % (spec.mark, tag) if spec.mark else spec.env
        given = _ffi.from_buffer("char[]", env)
        # Another spawn, by a signal handler in the middle of this one, must not have the same.
        prepared, self._latest = self._latest, None
        if prepared is None or prepared[0] is not spec or prepared[1] != lease:
            prepared = (spec, lease, *_prepared(spec, lease))
        c = prepared[2]
        c.env, c.env_size, c.nenv, c.leaf, c.alone = given, len(env), spec.nenv + bool(spec.mark), tag, made.alone
        fault = prepared[-1]
        fault.step = 0
        _lib.tg_tree_spawn_kept(self._cell[0], c, tag, made._cell, fault)
        # Without an error it has ended meanwhile, and a signal handler has heard of that.
        if fault.step:
            raise _told(fault)
        self._latest = prepared
        return made

    def forked(self) -> None:
        """Closes what belongs to the original. Call it in a forked copy."""
        if self._cell[0]:
            _lib.tg_engine_forked(self._cell[0])

    def close(self) -> None:
        """Closes the descriptors. The trees must have been freed before."""
        self._witness = None
        _lib.tg_engine_close_kept(self._cell)
