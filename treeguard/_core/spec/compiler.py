"""Compiling parameters for the C core: checks, the search in ``PATH`` and encoding, before anything is started."""

from __future__ import annotations

import errno
import functools
import os
import signal
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from ...errors import invalid_argument, spawn_error
from ...params import SpawnParams
from .. import native
from ..native import INHERIT, Spec
from . import NO_GUARD, NOTHING_ADDED, Accounts, Additions, Placement
from .arguments import STREAMS, WORDS_OF_STREAMS, check_env_names, check_text, default_program, stdin_of

__all__ = ["SpecCompiler"]

#: What :func:`os.fsencode` uses.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_HIGHEST_SIGNAL = 64
#: A guard depends on SIGCHLD, and it has the root's dispositions.
_NEVER_IGNORED = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD)

#: What few roots have otherwise than their supervisor.
_OF_ROOT = (
    *("user", "group", "extra_groups", "umask", "nice", "rlimits", "oom_score_adj", "cpu_affinity", "die_with_parent"),
)
_OWN = attrgetter(*_OF_ROOT)
#: How many parameters are remembered.
_MOST_KEPT = 64
#: What must not be given for a spec to depend on no mapping, file or descriptor, but for the place of the program.
_UNCHANGING = attrgetter(
    *_OF_ROOT, "env", "clear_env", "cwd", "pass_fds", "terminal", "limits", "restore_signals", "argv0", "pty"
)
_PLAIN = _UNCHANGING(SpawnParams())
_ADDED = attrgetter(*(name for name in Additions.__struct_fields__ if name not in ("tag", "parent", "placement")))
_NOTHING = _ADDED(NOTHING_ADDED)
_STREAMS = attrgetter(*STREAMS)
_WORDS = frozenset({"inherit", "null", "stdout"})


class _Environment(NamedTuple):
    block: bytes
    entries: int
    path: Sequence[bytes]


class _Kept(NamedTuple):
    """Parameters, and what they were compiled to if they were seen before."""

    params: SpawnParams
    placement: Placement = NO_GUARD
    environment: _Environment = _Environment(b"", 0, ())
    spec: Spec | None = None
    #: Where the program may be, each with a NUL at its end, which of them it was, and descriptors that must be open.
    places: bytes = b""
    found: int = -1
    fds: tuple[int, ...] = ()


class SpecCompiler:
    """Compiles spawn parameters. Keeps the inherited environment's encoding until that environment changes."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        #: The encoded values of os.environ, which its public methods decode each time. None: it has no such storage.
        self._encoded = _storage(self._environ)
        self._seen: dict[bytes, bytes] | None = None
        self._inherited = _Environment(b"", 0, [])
        self._kept: dict[int, _Kept] = {}

    def compile(self, params: SpawnParams, additions: Additions = NOTHING_ADDED) -> Spec:
        """The spec for the C core. Raises a :class:`~treeguard.SpawnError` that names the argument or file at fault."""
        if _ADDED(additions) == _NOTHING and (known := self.known(params, additions.placement)) is not None:
            return known
        program = params.program if params.program and params.kind else default_program(params)
        first = _encoded(program, program, "program")
        args = [first if params.argv0 is None else _encoded(params.argv0, program, "argv0")]
        if params.args:
            args += [_encoded(arg, program, "args[{}]", i) for i, arg in enumerate(params.args)]
        environment = self._environment(params, additions, program)
        cwd = None if params.cwd is None else _cwd(params.cwd)
        terminal = additions.terminal if params.terminal is None else _terminal(params, params.terminal, program)
        if params.creationflags or params.show_window is not None:
            name = "creationflags" if params.creationflags else "show_window"
            raise invalid_argument(name, "is to be had on Windows only", params.program)
        isolated = additions.isolated | (placement := additions.placement).isolated
        # Who shares a terminal with this process can have the kernel stop its group (SIGTTIN). But shells work inside.
        apart = terminal < 0 and bool(isolated & 1 or (isolated and params.stdin != "inherit"))
        fds = (*params.pass_fds, *additions.pass_fds)
        signals = params.ignore_signals if params.restore_signals else _ignored_too(params.ignore_signals)
        spec = Spec(
            program=_search(first, program, environment.path, cwd),
            args=b"\0".join(args) + b"\0",
            nargs=len(args),
            env=environment.block,
            nenv=environment.entries,
            # An environment that the caller gave as a whole is not changed.
            mark=b"" if params.clear_env else placement.mark,
            cwd=cwd,
            stdio=_stdio(params, additions, program),
            pass_fds=_pass_fds(fds, program) if fds else (),
            ignore=_ignored(signals) if signals else 0,
            terminal=terminal,
            new_session=apart if params.new_session is None else params.new_session,
            isolated=isolated,
            address_space=additions.address_space,
            guard=os.fsencode(native.GUARD) if placement.guarded else None,
            title=_title(placement, isolated, additions.parent, params.kind) if placement.guarded else b"",
            cgroup=placement.cgroup,
            leaf_made=additions.leaf_made,
            attributes=_attributes(params, additions),
        )
        self._keep(params, additions, environment, spec)
        return spec

    def known(self, params: SpawnParams, placement: Placement) -> Spec | None:
        """The spec of the same parameters, if nothing has changed that they do not hold themselves."""
        kept = self._kept.get(id(params))
        if kept is None or kept.spec is None or kept.placement is not placement:
            return None
        if self._environment(params, NOTHING_ADDED, "") is not kept.environment:
            return None
        try:
            all(map(os.fstat, kept.fds))
        except OSError:
            return None
        return kept.spec if not kept.places or native.find(kept.places, kept.found + 1) == kept.found else None

    def _keep(self, params: SpawnParams, additions: Additions, environment: _Environment, spec: Spec) -> None:
        # At the second time only: many parameters are used once.
        seen, fds = id(params) in self._kept, tuple({*_STREAMS(params)} - _WORDS)
        if not seen and len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        if not seen:
            self._kept[id(params)] = _Kept(params)
        elif (
            params.program
            and _UNCHANGING(params) == _PLAIN
            and _ADDED(additions) == _NOTHING
            and all(type(fd) is int for fd in fds)
        ):
            name = spec.args[: spec.args.index(b"\0")]
            places = [] if b"/" in name else _candidates(name, environment.path)
            found = places.index(spec.program) if places else -1
            kept = _Kept(params, additions.placement, environment, spec, b"\0".join(places), found, fds)
            self._kept[id(params)] = kept

    async def look_up(self, params: SpawnParams) -> Accounts:
        """See :func:`.attributes.look_up`."""
        from .attributes import look_up

        return await look_up(params)

    def _environment(self, params: SpawnParams, additions: Additions, program: str) -> _Environment:
        env = {**params.env, **additions.env} if additions.env else params.env
        if params.clear_env:
            return _block(_encoded_env(env, program))
        current = _bytes_of(self._environ) if self._encoded is None else self._encoded
        if additions.without_env or b"NOTIFY_SOCKET" in current or b"WATCHDOG_USEC" in current:
            from .inherited import inherited

            current = inherited(current, additions.without_env)
        if self._seen != current:
            # Stored together: a signal handler may change the environment, and start something, meanwhile.
            self._inherited, self._seen = _block(seen := dict(current)), seen
        return _block({**current, **_encoded_env(env, program)}) if env else self._inherited


def _storage(environ: Mapping[str, str]) -> dict[bytes, bytes] | None:
    data = getattr(environ, "_data", None)
    return data if isinstance(data, dict) and (not data or isinstance(next(iter(data)), bytes)) else None


def _bytes_of(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}


def _encoded(text: str, filename: str, name: str, *which: object) -> bytes:
    """The encoded text for the system. ``name``, filled in with ``which``, names the argument in an error."""
    if "\0" in text:
        check_text(text, filename, name, *which)
    try:
        return text.encode(_ENCODING, _ERRORS)
    except UnicodeEncodeError:
        raise invalid_argument(name.format(*which), f"cannot be encoded: {text!r}", filename) from None


def _encoded_env(env: Mapping[str, str], program: str) -> dict[bytes, bytes]:
    check_env_names(env, program)
    encoded = {}
    for name, value in env.items():
        key = _encoded(name, program, "env: the name {!r}", name)
        encoded[key] = _encoded(value, program, "env[{!r}]", name)
    return encoded


def _block(env: Mapping[bytes, bytes]) -> _Environment:
    block = b"".join([b"%b=%b\0" % item for item in env.items()])
    return _Environment(block, len(env), env.get(b"PATH", os.fsencode(os.defpath)).split(b":"))


def _cwd(given: str) -> bytes:
    cwd = _encoded(given, given, "cwd")
    try:
        is_directory = stat.S_ISDIR(os.stat(cwd).st_mode)  # noqa: PTH116 - bytes
    except OSError as e:
        raise spawn_error("cwd", e.errno or errno.ENOENT, given) from None
    if not is_directory:
        raise spawn_error("cwd", errno.ENOTDIR, given)
    return cwd


def _search(name: bytes, program: str, path: Sequence[bytes], cwd: bytes | None) -> bytes:
    """The program's path, searched as execvp(3) does. A relative entry of ``PATH`` is relative to ``cwd``."""
    if b"/" in name:
        return name
    candidates = _candidates(name, path)
    places = [os.path.join(cwd, each) for each in candidates] if cwd else candidates  # noqa: PTH118 - bytes
    found = native.find(b"\0".join(places), len(places))
    if found >= 0:
        return candidates[found]
    failures = [_failure(place) for place in places]
    told = [failure for failure in failures if failure not in (errno.ENOENT, errno.ENOTDIR)]
    raise spawn_error("search", told[-1] if told else errno.ENOENT, program, detail="searched in PATH")


def _candidates(name: bytes, path: Sequence[bytes]) -> list[bytes]:
    return [b"%b/%b" % (entry or b".", name) for entry in path]


def _failure(place: bytes) -> int:
    """Why what is there cannot be executed (an errno)."""
    try:
        os.stat(place)  # noqa: PTH116 - bytes
    except OSError as error:
        return error.errno or errno.ENOENT
    return errno.EACCES


def _stdio(params: SpawnParams, additions: Additions, program: str) -> tuple[int, int, int]:
    stdin = params.stdin if additions.stdin is None else stdin_of(params, additions.stdin)
    streams: tuple[object, ...] = (stdin, params.stdout, params.stderr)
    numbers = []
    for name, stream in zip(STREAMS, streams, strict=True):
        if stream == "inherit":
            numbers.append(INHERIT)
        elif stream == "null":
            numbers.append(-1)
        elif stream == "stdout" and name == "stderr":
            numbers.append(1 if numbers[1] == INHERIT else numbers[1])
        elif isinstance(stream, int) and not isinstance(stream, bool):
            numbers.append(_open_descriptor(name, "stdio", stream, program))
        else:
            raise invalid_argument(name, f"must be {WORDS_OF_STREAMS[name]}, not {stream!r}", program)
    return numbers[0], numbers[1], numbers[2]


def _pass_fds(numbers: tuple[int, ...], program: str) -> tuple[int, ...]:
    fds = sorted(set(numbers))
    for fd in fds:
        _open_descriptor("pass_fds", "pass_fds", fd, program)
    # 0, 1 and 2 are set by stdin, stdout and stderr.
    return tuple(fd for fd in fds if fd > 2)


def _open_descriptor(name: str, step: str, fd: int, program: str) -> int:
    """An open descriptor. A closed one is refused here, because the spawn itself might open its number."""
    try:
        os.fstat(fd)
    except TimeoutError:  # of a signal's handler
        raise
    except (OSError, OverflowError):
        raise spawn_error(step, errno.EBADF, program, detail=f"{name}: {fd}") from None
    return fd


def _ignored(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        if not 1 <= number <= _HIGHEST_SIGNAL or number in _NEVER_IGNORED:
            raise invalid_argument("ignore_signals", f"holds {number}, which cannot be ignored", None)
        mask |= 1 << (number - 1)
    return mask


def _ignored_too(numbers: Iterable[int]) -> set[int]:
    """These signals, and those that this process ignores."""
    ignored = {number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN}
    return {*numbers, *ignored.difference(_NEVER_IGNORED)}


@functools.lru_cache(_MOST_KEPT)
def _title(place: Placement, isolated: int, parent: int, kind: str) -> bytes:
    """What ``treeguard ps`` reads in a guard's command line. The kind, cut off, comes last: it may be any text."""
    facts = place.mechanism.encode(), isolated, place.mark[len("TREEGUARD_TREE_") : -1], parent
    shown = kind[:64].encode("utf-8", "replace")
    return b"mechanism=%b isolated=%d manager=%b parent=%d kind=%b" % (*facts, shown)


def _attributes(params: SpawnParams, additions: Additions) -> bytes | None:
    if _OWN(params) == (None, None, None, None, 0, None, None, None, False):
        return None
    from .attributes import attributes_of

    return attributes_of(params, additions)


def _terminal(params: SpawnParams, terminal: int, program: str) -> int:
    _open_descriptor("terminal", "terminal", terminal, program)
    if params.new_session:
        raise invalid_argument("terminal", "belongs to the session that a child with new_session leaves", program)
    if terminal > 2 and terminal not in params.pass_fds:
        raise invalid_argument("terminal", "must be a standard stream of the child, or one of pass_fds", program)
    return terminal
