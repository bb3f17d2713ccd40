"""The keywords of what starts a tree: for type checkers, and for ``help()``.

What starts a tree takes them through ``**``, so that a call costs no more than the few keywords that it gives.
"""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from ..capability.bundle import CapabilityBundle
    from ..limits import Limits
    from ..local import LocalProcessManager
    from ..params import HasDescriptor, Isolation, Stream, StrPath
    from ..types import ContainmentName, ProcessId
    from .outcome import Keep, OnRootExit

__all__ = [
    "SPAWN_DEFAULTS",
    "ArunOptions",
    "ChildOptions",
    "Command",
    "EndOptions",
    "ExecOptions",
    "ManagedOptions",
    "PopenOptions",
    "RunOptions",
    "ShellOptions",
    "SpawnOptions",
    "TextOptions",
    "keywords_of",
    "show_keywords",
    "show_popens",
]


#: What is run: a program with its arguments, or one string.
Command: TypeAlias = "StrPath | bytes | os.PathLike[bytes] | Sequence[StrPath | bytes | os.PathLike[bytes]]"


class _StreamOptions(TypedDict, total=False):
    """The standard streams, as in the standard library."""

    stdin: Any
    stdout: Any
    stderr: Any


class _EnvOptions(TypedDict, total=False):
    """The environment where ``env`` is all of it, unless ``clear_env`` is False."""

    env: Mapping[Any, Any] | None
    clear_env: bool | None


class ChildOptions(TypedDict, total=False):
    """What a child can be given, however it is started. From ``restore_signals`` on, the standard library's names."""

    cwd: StrPath | bytes | None
    pass_fds: Iterable[int]
    argv0: StrPath | bytes | None
    user: int | str | None
    group: int | str | None
    extra_groups: Iterable[int | str] | None
    umask: int | None
    nice: int
    rlimits: Mapping[int, int | tuple[int, int]] | None
    oom_score_adj: int | None
    cpu_affinity: Iterable[int] | None
    ignore_signals: Iterable[int]
    new_session: bool | None
    terminal: int | None
    pty: bool | tuple[int, int]
    limits: Limits | None
    isolation: Isolation | None
    die_with_parent: bool
    show_window: int | None
    creationflags: int
    pipesize: int
    restore_signals: bool
    close_fds: bool
    executable: StrPath | bytes | None
    preexec_fn: None
    process_group: Literal[0] | None
    start_new_session: bool
    startupinfo: Any


class ManagedOptions(TypedDict, total=False):
    """What only a child of a manager with an event loop can be given."""

    kind: str
    parent: ProcessId | None
    capabilities: CapabilityBundle | None
    control: bool | Literal["stdin", "path"]
    notify: bool
    watchdog: float | None
    max_extension: float


class _SpawnOptions(TypedDict, total=False):
    """Streams and environment as in ``SpawnParams``."""

    stdin: Stream | HasDescriptor
    stdout: Stream | HasDescriptor
    stderr: Stream | HasDescriptor
    env: Mapping[str, str]
    clear_env: bool


class SpawnOptions(_SpawnOptions, ChildOptions, ManagedOptions, total=False):
    """The keywords of ``manager.spawn``, and most of those of ``open_tree``."""


class ShellOptions(_EnvOptions, ChildOptions, ManagedOptions, total=False):
    """The keywords of ``create_subprocess_shell``. The last ones have one value each, as with asyncio."""

    manager: LocalProcessManager | None
    containment: ContainmentName
    bufsize: Literal[0]
    shell: bool
    text: Literal[False] | None
    universal_newlines: Literal[False] | None
    encoding: None
    errors: None


class ExecOptions(_StreamOptions, ShellOptions, total=False):
    """The keywords of ``create_subprocess_exec``."""


class PopenOptions(_StreamOptions, _EnvOptions, ChildOptions, total=False):
    """The keywords of ``Popen``, but ``bufsize`` and what makes its streams text."""

    shell: bool
    containment: ContainmentName


class TextOptions(TypedDict, total=False):
    """What makes streams text."""

    text: bool | None
    encoding: str | None
    errors: str | None
    universal_newlines: bool | None


class EndOptions(TypedDict, total=False):
    """How a command is run to its end."""

    input: Any
    capture_output: bool
    timeout: float | None
    check: bool
    on_root_exit: OnRootExit
    grace: float
    max_output: int | None
    keep: Keep
    idle_timeout: float | None


class RunOptions(PopenOptions, EndOptions, total=False):
    """The keywords of ``run``, but ``bufsize`` and what makes its output text."""


class OutputOptions(_EnvOptions, ChildOptions, total=False):
    """The keywords of ``check_output``, but ``bufsize`` and what makes its output text."""

    stdin: Any
    stderr: Any
    shell: bool
    containment: ContainmentName
    input: Any
    timeout: float | None
    on_root_exit: OnRootExit
    grace: float
    max_output: int | None
    keep: Keep
    idle_timeout: float | None


class CallOptions(PopenOptions, TextOptions, total=False):
    """The keywords of ``call``, but its time."""


class ArunOptions(_StreamOptions, EndOptions, _EnvOptions, ChildOptions, ManagedOptions, total=False):
    """The keywords of ``arun``, but what makes its output text. ``bufsize`` is without effect."""

    bufsize: int
    shell: bool
    manager: LocalProcessManager | None
    containment: ContainmentName


#: What is meant where one is not given, unless that is None.
_DEFAULTS: dict[str, object] = {
    **dict.fromkeys(("pass_fds", "ignore_signals"), ()),
    **dict.fromkeys(("nice", "creationflags"), 0),
    **dict.fromkeys(
        ("capture_output", "check", "shell", "start_new_session", "pty", "control", "notify", "die_with_parent"), False
    ),
    **dict.fromkeys(("restore_signals", "close_fds"), True),
    "pipesize": -1,
    "containment": "auto",
    "on_root_exit": "kill",
    "grace": 10.0,
    "keep": "head",
    "kind": "external",
    "max_extension": 300.0,
    "bufsize": -1,
}
#: Where standard input is the null device unless it is given, and variables are added to the inherited ones.
SPAWN_DEFAULTS = {"stdin": "null", "stdout": "inherit", "stderr": "inherit", "env": {}, "clear_env": False}


def keywords_of(
    *kinds: Any, only: Iterable[str] | None = None, defaults: Mapping[str, object] = _DEFAULTS
) -> list[inspect.Parameter]:
    """The keywords of some of these classes, or those of them that are named."""
    annotations = {name: each for kind in kinds for name, each in kind.__annotations__.items()}
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name, _DEFAULTS.get(name)),
            annotation=getattr(annotation, "__forward_arg__", annotation),
        )
        for name, annotation in annotations.items()
        if only is None or name in only
    ]


def show_keywords(function: Callable[..., Any], keywords: Iterable[inspect.Parameter]) -> None:
    """From now on ``help()`` shows these keywords of a function in the place of its ``**``."""
    signature = inspect.signature(function)
    given = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    more = [each for each in keywords if each.name not in signature.parameters]
    _set(function, signature.replace(parameters=[*given, *more]))


def show_popens(
    function: Callable[..., Any], more: Iterable[inspect.Parameter] = (), without: Iterable[str] = ("self",)
) -> None:
    """The same for what takes ``Popen``'s arguments, and ``more`` keywords. The standard library's own come first."""
    shown = [each for each in (*_popens(), *more) if each.name not in without]
    _set(function, inspect.Signature(shown, return_annotation=function.__annotations__.get("return", None)))


@functools.cache
def _popens() -> tuple[inspect.Parameter, ...]:
    own = inspect.signature(subprocess.Popen.__init__).parameters
    ours = {each.name: each for each in keywords_of(PopenOptions, TextOptions)}
    theirs = [each.replace(annotation=ours.get(name, each).annotation) for name, each in own.items()]
    return (*theirs, *(each for name, each in ours.items() if name not in own))


def _set(function: Any, signature: inspect.Signature) -> None:
    function.__signature__ = signature
