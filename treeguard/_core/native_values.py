"""What the C core takes and reports, as values."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

__all__ = ["CoreError", "Event", "Spec", "Usage"]


class CoreError(Exception):
    """A failed step of the C core, with its errno. ``detail`` is the message of Windows, which has no errno."""

    def __init__(self, step: str, errno: int, detail: str = "") -> None:
        super().__init__(step, errno, detail)
        self.step = step
        self.errno = errno
        self.detail = detail


class Spec(msgspec.Struct, frozen=True, gc=False):
    """``struct tg_spec``: only bytes and numbers, under the same names. ``args`` and ``env`` are strings with NULs.

    ``mark`` begins the name of one more variable, which the tree's tag ends. ``terminal``, ``new_session`` and
    ``isolated`` are ``struct tg_options``; ``attributes`` is ``struct tg_attributes`` itself. On Windows, bytes are
    UTF-16, ``args`` is one command line, and handles stand for descriptors.
    """

    program: bytes
    args: bytes
    nargs: int
    env: bytes
    nenv: int
    cwd: bytes | None
    stdio: tuple[int, int, int]
    pass_fds: tuple[int, ...]
    ignore: int
    terminal: int
    mark: bytes = b""
    address_space: int = 0
    guard: bytes | None = None
    title: bytes = b""
    cgroup: int = -1
    leaf_made: bool = False
    handles: tuple[int, ...] = ()
    job_memory: int = 0
    job_processes: int = 0
    job_cpu: int = 0
    new_session: bool = False
    isolated: int = 0
    attributes: bytes | None = None
    creationflags: int = 0
    show_window: int = -1


class Usage(NamedTuple):
    """``struct tg_usage``: microseconds and KiB."""

    user_us: int
    system_us: int
    max_rss_kib: int
    minor_faults: int
    major_faults: int
    voluntary_switches: int
    involuntary_switches: int


class Event(msgspec.Struct, frozen=True, gc=False):
    """``struct tg_event``. ``step`` is a name, ``"none"`` if there is no step.

    ``polled``: no descriptor reports the next event of its tree, so that the tree must be polled.
    """

    tag: int
    kind: int
    pid: int
    step: str
    errno: int
    code: int
    signal: int
    usage: Usage | None
    total: Usage | None
    oom_kills: int = 0
    polled: bool = False
