"""What to start: the parameters of a spawn."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from operator import attrgetter, is_
from types import UnionType
from typing import TYPE_CHECKING, Final, ForwardRef, Literal, Optional
from uuid import UUID

import msgspec

from ._core.validation import (
    flag,
    instance,
    items,
    one_of,
    positive_seconds,
    seconds,
    whole_number,
    wrong_type,
    wrong_value,
)
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

#: What a tree is kept from doing to its guard and its supervisor: nothing, or to signal and trace them.
Isolation = Literal["none", "signals"]

#: A path or a name; what :func:`os.fsdecode` takes.
StrPath = str | os.PathLike[str]

#: The standard library's numbers.
_STREAMS: dict[int, Stream] = {PIPE: "pipe", STDOUT: "stdout", DEVNULL: "null"}

if TYPE_CHECKING:
    from typing import Protocol

    from typing_extensions import TypedDict

    class HasDescriptor(Protocol):
        """A file, a socket or the like."""

        def fileno(self) -> int: ...

    class SpawnOptions(TypedDict, total=False):
        """The fields of :class:`SpawnParams` but the program and its arguments, as keywords."""

        kind: str
        env: Mapping[str, str]
        clear_env: bool
        cwd: StrPath | None
        stdin: Stream | HasDescriptor
        stdout: Stream | HasDescriptor
        stderr: Stream | HasDescriptor
        pass_fds: Iterable[int]
        capabilities: CapabilityBundle | None
        parent: ProcessId | None
        ignore_signals: Iterable[int]
        terminal: int | None
        limits: Limits | None
        control: bool | Literal["stdin", "path"]
        notify: bool
        watchdog: float | None
        isolation: Isolation | None
        new_session: bool | None
        max_extension: float
        argv0: StrPath | None
        user: int | str | None
        group: int | str | None
        extra_groups: Iterable[int | str] | None
        umask: int | None
        restore_signals: bool
        nice: int
        rlimits: Mapping[int, int | tuple[int, int]] | None
        oom_score_adj: int | None
        cpu_affinity: Iterable[int] | None
        creationflags: int
        show_window: int | None


_NUMBERS = {"pass_fds": "a sequence of descriptors' numbers", "ignore_signals": "a sequence of signals' numbers"}
_TYPES: tuple[tuple[str, type | UnionType, str], ...] = (
    ("parent", UUID | None, "a ProcessId, such as a handle's pid, or None"),
    ("limits", Limits | None, "Limits or None"),
    ("new_session", bool | None, "True, False or None"),
)


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
    * ``isolation``: ``"signals"`` keeps all of the tree from signalling and tracing its guard and its supervisor, and
      whatever else is not of the tree; in exchange it can gain no privileges by set-user-id programs (no_new_privs).
      ``"none"`` does not. None: as the manager does by default. See docs/isolation.md.

    docs/options.md says more, and what to use instead of ``preexec_fn``.

    On Windows ``ignore_signals``, ``terminal``, ``new_session``, ``notify``, ``watchdog`` and what stands between
    ``restore_signals`` and ``cpu_affinity`` above are refused, ``control`` is a named pipe, descriptors are the C
    runtime's, and arguments are quoted as :mod:`subprocess` does. What is handed to a ``.bat`` or ``.cmd`` file is read
    by its interpreter, by rules of its own: never hand it arguments of somebody who is not trusted.
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

    if TYPE_CHECKING:
        # What is taken is more than what is kept: paths, and any iterables and mappings.
        def __init__(
            self,
            program: StrPath | None = None,
            args: Iterable[StrPath] = (),
            kind: str = ...,
            env: Mapping[str, str] = ...,
            clear_env: bool = False,
            cwd: StrPath | None = None,
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
            argv0: StrPath | None = None,
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
        ) -> None: ...

    def __hash__(self) -> int:
        values = (getattr(self, name) for name in self.__struct_fields__ if name not in ("env", "rlimits"))
        return hash((frozenset(self.env.items()), frozenset((self.rlimits or {}).items()), *values))

    def __post_init__(self) -> None:
        """Takes paths and any sequences, keeps strings and tuples of its own."""
        put = msgspec.structs.force_setattr
        for name in ("program", "cwd"):
            value = getattr(self, name)
            if value is not None and type(value) is not str:
                put(self, name, _text(name, value))
        _put_streams(self)
        for name in ("args", "pass_fds", "ignore_signals"):
            value = getattr(self, name)
            if type(value) is not tuple:
                put(self, name, items(name, value, "a sequence, such as a tuple or a list"))
        if not all(type(arg) is str for arg in self.args):
            put(self, "args", tuple(_text(f"args[{i}]", arg) for i, arg in enumerate(self.args)))
        for name in ("pass_fds", "ignore_signals"):
            for value in getattr(self, name):
                whole_number(name, value, accepted=_NUMBERS[name])
        instance("kind", self.kind, str, "a string")
        instance("env", self.env, Mapping, "a mapping")
        # Most parameters are left at their defaults, and a spawn has little time.
        if not all(map(is_, _RARELY_GIVEN(self), _DEFAULTS)):
            _check_rarely_given(self)
        if type(self.kind) is not str:
            put(self, "kind", str.__str__(self.kind))
        put(self, "env", {_text("env", name): _text(f"env[{name!r}]", value) for name, value in self.env.items()})


def _text(name: str, value: object) -> str:
    if isinstance(value, str | bytes | os.PathLike):
        return str.__str__(os.fsdecode(value))
    raise wrong_type(name, "a string or a path", value)


def _check_rarely_given(params: SpawnParams) -> None:
    for name in ("clear_env", "notify"):
        flag(name, getattr(params, name))
    one_of("control", params.control, (False, True, "stdin", "path"))
    one_of("isolation", params.isolation, (None, "none", "signals"))
    if params.watchdog is not None:
        positive_seconds("watchdog", params.watchdog)
        if not params.notify:
            raise ValueError("watchdog must be None without notify=True")
    if seconds("max_extension", params.max_extension) == math.inf:
        raise wrong_value("max_extension", "a finite number of seconds", params.max_extension)
    if params.terminal is not None:
        whole_number("terminal", params.terminal, accepted="the number of a descriptor, or None")
    # The class is not imported for children without capabilities.
    if params.capabilities is not None and not hasattr(params.capabilities, "token"):
        raise wrong_type("capabilities", "a CapabilityBundle or None", params.capabilities)
    for name, kind, accepted in _TYPES:
        instance(name, getattr(params, name), kind, accepted)
    if not all(map(is_, _ATTRIBUTES(params), _PLAIN)):
        from ._core.attributes import check_attributes  # noqa: PLC0415 - most children have none

        check_attributes(params)


def _put_streams(params: SpawnParams) -> None:
    for name in ("stdin", "stdout", "stderr"):
        value = getattr(params, name)
        if type(value) is not str:
            msgspec.structs.force_setattr(params, name, _stream(value))


def _stream(value: object) -> object:
    """The standard library's numbers as words, and files as descriptors. The rest is checked at the spawn."""
    if isinstance(value, int):
        return value if isinstance(value, bool) else _STREAMS.get(value, int(value))
    fileno = getattr(value, "fileno", None)
    return fileno() if callable(fileno) else value


_RARELY = ("clear_env", "capabilities", "parent", "terminal", "limits", "control", "notify", "watchdog", "isolation")
_ROOTS_OWN = (
    *("user", "group", "extra_groups", "umask", "nice", "rlimits", "oom_score_adj", "cpu_affinity"),
    *("argv0", "restore_signals", "creationflags", "show_window"),
)
_ATTRIBUTES = attrgetter(*_ROOTS_OWN)
_RARELY_GIVEN = attrgetter(*_RARELY, "new_session", "max_extension", *_ROOTS_OWN)
#: What they are if nothing is given: there is nothing to check yet.
_PLAIN: tuple[object, ...] = ()
_DEFAULTS: tuple[object, ...] = ()
_PLAIN, _DEFAULTS = _ATTRIBUTES(SpawnParams()), _RARELY_GIVEN(SpawnParams())
