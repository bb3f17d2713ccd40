"""The application's own services, and the calls that a control server passes to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from .._core.validation import function, instance, wrong_value
from .._wire.jsonrpc import INVALID_PARAMS
from .._wire.protocol import SHUTDOWN, is_name
from ..capability.authorizer import Authorizer, Permit
from ..errors import RequestFailed
from ..types import ConnectionId, ProcessId

__all__ = ["Call", "Handler", "Services"]

T = TypeVar("T")

_OWN = SHUTDOWN.partition(".")[0]


class Call:
    """A call from a child, on its way to the handler. ``size`` is the size of the message in bytes."""

    __slots__ = ("_meter", "connection", "method", "params", "pid", "size")

    def __init__(
        self,
        pid: ProcessId,
        connection: ConnectionId,
        method: str,
        params: dict[str, Any] | list[Any] | None,
        size: int,
        meter: Authorizer,
    ) -> None:
        self.pid = pid
        self.connection = connection
        self.method = method
        self.params = params
        self.size = size
        self._meter = meter

    def arguments(self, kind: type[T]) -> T:
        """Returns the parameters, converted by msgspec to a value of type ``kind``.

        If they cannot be converted, raises the error that is sent to the child.
        """
        try:
            return msgspec.convert({} if self.params is None else self.params, kind)
        except msgspec.ValidationError as e:
            raise RequestFailed(str(e), INVALID_PARAMS) from None

    def stream(self) -> Permit:
        """Returns a place for a stream that the call opens: see :meth:`Authorizer.stream`."""
        return self._meter.stream()


#: A coroutine function, or a function that does not block. Its result is sent to the child.
#: :class:`~treeguard.errors.RequestFailed` and denials are sent too. Of any other error, the child only learns that
#: there was one.
Handler = Callable[[Call], Awaitable[object] | object]


class Services(Mapping[str, Handler]):
    """Handlers by the name of service and method, such as ``"storage.get"``."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers: dict[str, Handler] = {}
        for name, handler in handlers.items():
            self.check(name, "services: a name")
            self.add(name, handler)

    def add(self, name: str, handler: Handler) -> None:
        """Adds a handler. Raises ValueError for a name that no call can have, or that is already taken."""
        self.check(name)
        self._handlers[name] = function(f"services[{name!r}]", handler)

    def check(self, name: str, argument: str = "name") -> None:
        """Raises the error of :meth:`add` for a name."""
        if not is_name(instance(argument, name, str, "a string")):
            raise wrong_value(argument, "that of a service and a method, such as 'storage.get'", name)
        if name.startswith(f"{_OWN}."):
            raise ValueError(f"{argument} must not be {name!r}: the service {_OWN!r} is treeguard's own")
        if name in self._handlers:
            raise ValueError(f"{argument} must not be {name!r}: that has a handler already")

    def __getitem__(self, name: str) -> Handler:
        return self._handlers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)
