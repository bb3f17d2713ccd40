"""What both kinds of a child's side share: finding the connection, the first messages, and the answers to requests."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

import msgspec

from .._core.validation import function, instance, seconds, text
from .._transport import End, connected, inherited
from .._wire.jsonrpc import METHOD_NOT_FOUND, Notification, Request
from .._wire.protocol import FD_VARIABLE, HELLO, SHUTDOWN, SOCKET_VARIABLE, WELCOME, ClientInfo, Granted, Hello, Welcome
from ..errors import ControlLost, RequestFailed

__all__ = [
    "ACKNOWLEDGED",
    "checked_methods",
    "end_by_signal",
    "find",
    "granted",
    "greeting",
    "heartbeat_pause",
    "hello",
    "is_supervised",
    "method_for",
    "reason_of",
]

#: The default answer to a shutdown request.
ACKNOWLEDGED = {"acknowledged": True}
#: Heartbeats in one check interval of the supervisor.
_BEATS = 2
T = TypeVar("T")


_LONGEST_TOKEN = 4096


def is_supervised(environ: MutableMapping[str, str] | None = None) -> bool:
    """Returns whether this process was given a control connection that it has not taken yet."""
    environ = os.environ if environ is None else environ
    return FD_VARIABLE in environ or SOCKET_VARIABLE in environ


def find(environ: MutableMapping[str, str] | None = None) -> tuple[End, str | None]:
    """Returns this end, and the token if it came on standard input. This works only once.

    The variables are removed from the environment, so that processes started from here do not look for the connection.
    Raises :class:`~treeguard.errors.ControlLost` if there is none.
    """
    environ = os.environ if environ is None else environ
    fd, path = environ.pop(FD_VARIABLE, None), environ.pop(SOCKET_VARIABLE, None)
    try:
        if fd is not None:
            return _inherited(int(fd)), None
        if path is not None:
            end = connected(path)
            with _closed_on_error(end):
                return end, _line_of_stdin()
    except (OSError, ValueError) as e:
        raise ControlLost(f"the control connection cannot be used: {e}") from e
    raise ControlLost("this process was not given a control connection")


def _inherited(fd: int) -> End:
    end = inherited(fd)
    with _closed_on_error(end):
        if fd == 0:  # Standard input stays open, but empty.
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, fd)
            os.close(null)
        else:
            os.close(fd)
        return end


@contextlib.contextmanager
def _closed_on_error(end: End) -> Iterator[None]:
    try:
        yield
    except BaseException:
        end.close()
        raise


def _line_of_stdin() -> str:
    line = b""
    # Read single bytes: what comes after the line belongs to the next reader.
    while not line.endswith(b"\n") and len(line) < _LONGEST_TOKEN:
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line.decode().strip()


def greeting(message: object) -> str:
    """Returns the token from the first message on an inherited end."""
    if isinstance(message, Notification) and message.method == WELCOME:
        try:
            return msgspec.convert(message.params, Welcome).token
        except msgspec.ValidationError:
            pass
    raise ControlLost("the control connection begins with something else than a welcome")


def hello(token: str, name: str, version: str) -> tuple[str, Hello]:
    """Returns the first request: its method and its parameters."""
    return HELLO, Hello(token, ClientInfo(name, version))


def granted(answer: Any) -> Granted:
    """Returns the supervisor's answer to the hello."""
    try:
        return msgspec.convert(answer, Granted)
    except msgspec.ValidationError as e:
        raise RequestFailed(f"the supervisor's answer to hello cannot be read: {e}") from None


def heartbeat_pause(given: Granted) -> float | None:
    """Returns the seconds from one heartbeat to the next, or None if the supervisor expects none."""
    return None if given.heartbeat_interval is None else given.heartbeat_interval / _BEATS


def checked_methods(
    methods: Mapping[str, T] | None, *, on_shutdown: object, name: object, version: object, timeout: float
) -> dict[str, T]:
    """Returns the methods that the supervisor may call. Raises an error that names the wrong argument of a connect."""
    function("on_shutdown", on_shutdown, optional=True)
    instance("name", name, str, "a string")
    instance("version", version, str, "a string")
    seconds("timeout", timeout)
    found = dict(instance("methods", {} if methods is None else methods, Mapping, "a mapping or None"))
    for key, method in found.items():
        text("methods: a name", key)
        function(f"methods[{key!r}]", method)
    return found


def method_for(message: Request | Notification, methods: Mapping[str, T]) -> T | None:
    """Returns the method that a message calls. None: it asks this process to end, and no method is there for that.

    Raises :class:`~treeguard.errors.RequestFailed` if there is no such method.
    """
    method = methods.get(message.method)
    if method is None and message.method != SHUTDOWN:
        raise RequestFailed("no such method", METHOD_NOT_FOUND)
    return method


def reason_of(params: object) -> str | None:
    """Returns the reason why the child should end, if one was given."""
    reason = params.get("reason") if isinstance(params, dict) else None
    return reason if isinstance(reason, str) else None


def end_by_signal(reason: str | None) -> None:
    """Ends this process as SIGTERM does. This is the default reaction to a shutdown request.

    On Windows the process ends by TerminateProcess, with the signal's number as exit code.
    """
    os.kill(os.getpid(), signal.SIGTERM)
