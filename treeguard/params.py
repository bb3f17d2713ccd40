"""What to start: the parameters of a spawn."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Final, ForwardRef, Literal, Optional

import msgspec

from .limits import Limits
from .types import ChildKind, ProcessId

if TYPE_CHECKING:
    from .capability.bundle import CapabilityBundle
else:
    # Most children have no capabilities. Whoever decodes parameters, which is when types are asked for, imports it.
    CapabilityBundle = ForwardRef("__import__('treeguard.capability.bundle').capability.bundle.CapabilityBundle")

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Isolation", "SpawnParams", "StrPath", "Stream"]

#: :data:`subprocess.PIPE`: a pipe between this process and the child.
PIPE: Final = -1
#: :data:`subprocess.STDOUT`, for ``stderr`` alone: where ``stdout`` goes.
STDOUT: Final = -2
#: :data:`subprocess.DEVNULL`: the null device.
DEVNULL: Final = -3

#: Where a standard stream comes from or goes to: the parent's, the null device, a pipe to this process, for ``stderr``
#: where ``stdout`` goes, or a descriptor.
Stream = Literal["inherit", "null", "pipe", "stdout"] | int

#: What keeps a tree from its guard and its supervisor: nothing, a domain for signals, or a PID namespace.
Isolation = Literal["none", "signals", "pid_namespace"]

#: A path or a name; what :func:`os.fsdecode` takes.
StrPath = str | os.PathLike[str]

if TYPE_CHECKING:
    from typing import Protocol

    class HasDescriptor(Protocol):
        """A file, a socket or the like."""

        def fileno(self) -> int: ...


class SpawnParams(msgspec.Struct, frozen=True):
    """A child to be.

    * ``program``: a path, or a name that is looked for in the child's ``PATH``. None: this Python interpreter, for
      every kind but ``"external"``. A relative path is relative to ``cwd``, as with :mod:`subprocess`.
    * ``args``: without the program's own name.
    * ``env`` adds to the inherited environment, or is all of it with ``clear_env``.
    * ``stdin``, ``stdout``, ``stderr``: see :data:`Stream`. The standard library's ``PIPE``, ``STDOUT`` and
      ``DEVNULL``, and files, are taken too. Descriptors and files stay the caller's to close.
    * ``pass_fds``: further descriptors that the child gets, under the same numbers. It gets no others.
    * ``parent``: the child that this one belongs to: it is ended when that one is.
    * ``ignore_signals``: signals that the child begins with ignored, as after ``nohup``. All others are at their
      default, and none is blocked.
    * ``limits``: what the tree may use. Those that cannot be kept here are refused, see :class:`Containment`.
    * ``control``: opens a control connection, on which ``capabilities`` tells what the child may do. True: on a
      descriptor that it inherits, whose number is in the variable ``TREEGUARD_CONTROL_FD``. ``"stdin"``: on its
      standard input, which that variable says too. ``"path"``, for a child that cannot inherit: at the path in
      ``TREEGUARD_CONTROL_SOCKET``, with the token on standard input. See docs/control.md.
    * ``notify``: gives the child a socket for systemd's notification protocol, in ``NOTIFY_SOCKET``, to tell that it is
      ready, alive or stopping. See docs/notify.md.
    * ``watchdog``: with ``notify``, the seconds within which a child that is ready has to give signs of life, or its
      tree is killed. It is told in ``WATCHDOG_USEC``.
    * ``max_extension``: by how many seconds a child may lengthen its watchdog's time, and a ``timeout`` of
      ``wait_ready``, by asking for it.
    * ``terminal``: descriptor of the controlling terminal, whose foreground group the child becomes.
    * ``new_session``: whether the root leads a session of its own, without a controlling terminal. None: with
      ``isolation`` and without ``terminal`` it does, else not.
    * ``pty``: True, or a size ``(rows, columns)``: a pseudo-terminal, which is the controlling terminal of a session of
      the root's own, and each standard stream that is left at its default. :attr:`Tree.pty` reads and writes it. With
      it, ``"null"`` for ``stdin`` is the default too, and ``DEVNULL`` is the null device. See docs/subprocess.md.
    * ``argv0``: the name that the program sees as its own, ``argv[0]``. None: ``program``.
    * ``restore_signals``: False also ignores what this process ignores: of Python, SIGPIPE and SIGXFSZ.
    * ``user``, ``group``, ``extra_groups``: names or numbers. Each changes nothing but itself: a root of another user
      keeps this process's groups unless they are given too. Takes privileges.
    * ``umask``: the mask of the modes of new files.
    * ``nice``: is added to the nice value, as by :func:`os.nice`.
    * ``rlimits``: a soft and a hard limit, or one number for both, by ``resource.RLIMIT_…``; -1 is none.
    * ``oom_score_adj``: from -1000 to 1000; of several processes Linux kills those with a high one first.
    * ``cpu_affinity``: numbers of the CPUs that may be used, on Linux.
    * ``creationflags``, ``show_window``: on Windows, the flags that :mod:`subprocess` has for a priority and for a
      console, and how the first window is shown (``wShowWindow`` of ``STARTUPINFO``).
    * ``pipesize``: how many bytes each pipe of a ``"pipe"`` holds, on Linux. -1: as many as the system has by default.
    * ``isolation``: ``"signals"`` keeps all of the tree from signalling and tracing its guard and its supervisor, and
      whatever else is not of the tree; in exchange it can gain no privileges by set-user-id programs (no_new_privs).
      ``"pid_namespace"`` puts the tree into a PID namespace, where it sees no other process (docs/pid-namespace.md).
      ``"none"`` does neither. None: as the manager does by default. See docs/isolation.md.
    * ``die_with_parent``: the tree is killed also when the process that started this one has ended, whatever state this
      one is in: for a supervisor that is itself a helper, such as a worker of a pool. Takes a guard.

    docs/options.md says more, and what to use instead of ``preexec_fn``.

    On Windows ``ignore_signals``, ``terminal``, ``new_session``, ``pty``, ``notify``, ``watchdog``, ``die_with_parent``
    and what stands between ``restore_signals`` and ``cpu_affinity`` above are refused, ``control`` is a named pipe,
    descriptors are the C runtime's, and arguments are quoted as :mod:`subprocess` does. What is handed to a ``.bat`` or
    ``.cmd`` file is read by its interpreter, by rules of its own: never hand it arguments of somebody not trusted.
    """

    program: str | None = None
    args: tuple[str, ...] = ()
    kind: str = ChildKind.EXTERNAL.value
    env: dict[str, str] = {}
    clear_env: bool = False
    cwd: str | None = None
    stdin: Stream = "null"
    stdout: Stream = "inherit"
    stderr: Stream = "inherit"
    pass_fds: tuple[int, ...] = ()
    capabilities: Optional[CapabilityBundle] = None  # noqa: UP045 - a ForwardRef has no "|" before Python 3.11
    parent: ProcessId | None = None
    ignore_signals: tuple[int, ...] = ()
    terminal: int | None = None
    limits: Limits | None = None
    control: bool | Literal["stdin", "path"] = False
    notify: bool = False
    watchdog: float | None = None
    isolation: Isolation | None = None
    new_session: bool | None = None
    max_extension: float = 300.0
    argv0: str | None = None
    user: int | str | None = None
    group: int | str | None = None
    extra_groups: tuple[int | str, ...] | None = None
    umask: int | None = None
    restore_signals: bool = True
    nice: int = 0
    rlimits: dict[int, tuple[int, int]] | None = None
    oom_score_adj: int | None = None
    cpu_affinity: tuple[int, ...] | None = None
    creationflags: int = 0
    show_window: int | None = None
    pty: bool | tuple[int, int] = False
    pipesize: int = -1
    die_with_parent: bool = False

    if TYPE_CHECKING:
        # What is taken is more than what is kept: paths, and any iterables and mappings.
        def __init__(
            self,
            program: StrPath | None = None,
            args: Iterable[StrPath] = (),
            kind: str = ...,
            env: Mapping[str, str] = ...,
            clear_env: bool = False,
            cwd: StrPath | bytes | None = None,
            stdin: Stream | HasDescriptor = "null",
            stdout: Stream | HasDescriptor = "inherit",
            stderr: Stream | HasDescriptor = "inherit",
            pass_fds: Iterable[int] = (),
            capabilities: CapabilityBundle | None = None,
            parent: ProcessId | None = None,
            ignore_signals: Iterable[int] = (),
            terminal: int | None = None,
            limits: Limits | None = None,
            control: bool | Literal["stdin", "path"] = False,
            notify: bool = False,
            watchdog: float | None = None,
            isolation: Isolation | None = None,
            new_session: bool | None = None,
            max_extension: float = 300.0,
            argv0: StrPath | bytes | None = None,
            user: int | str | None = None,
            group: int | str | None = None,
            extra_groups: Iterable[int | str] | None = None,
            umask: int | None = None,
            restore_signals: bool = True,
            nice: int = 0,
            rlimits: Mapping[int, int | tuple[int, int]] | None = None,
            oom_score_adj: int | None = None,
            cpu_affinity: Iterable[int] | None = None,
            creationflags: int = 0,
            show_window: int | None = None,
            pty: bool | tuple[int, int] = False,
            pipesize: int = -1,
            die_with_parent: bool = False,
        ) -> None: ...

    def __hash__(self) -> int:
        values = (getattr(self, name) for name in self.__struct_fields__ if name not in ("env", "rlimits"))
        return hash((frozenset(self.env.items()), frozenset((self.rlimits or {}).items()), *values))

    def __post_init__(self) -> None:
        """Takes paths and any sequences, keeps strings and tuples of its own."""
        # Most parameters are strings, or left at their defaults, and a spawn has little time.
        if (
            (type(self.kind), type(self.args), type(self.env)) == (str, tuple, dict)
            and _TEXT_OR_NONE.issuperset((type(self.program), type(self.cwd)))
            and _STREAM.issuperset(map(type, _STREAMS(self)))
            and _NUMBERS.isdisjoint(_STREAMS(self))
            and _TEXT.issuperset(map(type, (*self.args, *self.env, *self.env.values())))
            and all(map(is_, _OTHERS(self), _DEFAULTS))
        ):
            msgspec.structs.force_setattr(self, "env", dict(self.env))
        else:
            from ._core.given import take  # noqa: PLC0415 - a plain child needs none of it

            take(self)


_TEXT = frozenset({str})
_TEXT_OR_NONE = frozenset({str, type(None)})
_STREAM = _TEXT | {int}
#: The standard library's.
_NUMBERS = frozenset({PIPE, STDOUT, DEVNULL})
_OFTEN = ("stdin", "stdout", "stderr", "program", "args", "kind", "env", "cwd")
_STREAMS = attrgetter(*_OFTEN[:3])
_OTHERS = attrgetter(*(name for name in SpawnParams.__struct_fields__ if name not in _OFTEN))
#: What they are if nothing is given: there is nothing to check yet.
_DEFAULTS: tuple[object, ...] = ()
#: All names but those of the command.
FIELDS = frozenset(SpawnParams.__struct_fields__) - {"program", "args"}
_DEFAULTS = _OTHERS(SpawnParams())
