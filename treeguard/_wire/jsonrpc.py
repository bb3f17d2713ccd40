"""JSON-RPC 2.0, one message per line, without I/O: it turns bytes into messages and messages into bytes.

The peer is not trusted. Bad input is answered with the protocol's error, or ends the session. No input raises an
exception, and :mod:`treeguard._wire.message_limits` bounds the memory kept for the peer. Arrays of messages ("batches")
are not accepted, since they would be one line with many answers.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..errors import ControlLost
from .message_limits import ControlLimits, deeper_than

__all__ = [
    "BUSY",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "ErrorObject",
    "Notification",
    "ProtocolError",
    "Request",
    "Response",
    "Session",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
#: In the range that the specification leaves to implementations: too many requests wait for their answers.
BUSY = -32003

#: An id is kept as long as its request is under way, so its length is limited.
_LONGEST_ID = 128
#: The characters of blank lines. This is one repeated class: a repeated group would keep a backtracking point for each
#: line, in growing memory.
_BLANK = re.compile(rb"[ \t\r\n\x0b\x0c]*")

Id = str | int


class ErrorObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reason why a request failed."""

    code: int
    message: str
    data: Any = None


class Request(msgspec.Struct, frozen=True):
    """A call that expects an answer. ``size`` is the size of the line in bytes.

    The repr leaves out the parameters, since those of a hello contain a token.
    """

    id: Id
    method: str
    params: dict[str, Any] | list[Any] | None
    size: int

    def __repr__(self) -> str:
        return f"Request(id={self.id!r}, method={self.method!r}, params=…, size={self.size})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("id", self.id), ("method", self.method), ("size", self.size)]


class Notification(msgspec.Struct, frozen=True):
    """A call that expects no answer. The repr leaves out the parameters, since those of a welcome contain a token."""

    method: str
    params: dict[str, Any] | list[Any] | None
    size: int

    def __repr__(self) -> str:
        return f"Notification(method={self.method!r}, params=…, size={self.size})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("method", self.method), ("size", self.size)]


class Response(msgspec.Struct, frozen=True):
    """The answer to a request of this side: a result or an error."""

    id: int
    result: Any
    error: ErrorObject | None


class ProtocolError(msgspec.Struct, frozen=True):
    """A malformed message, or one that is not allowed now. It has already been answered."""

    code: int
    problem: str


class _Envelope(msgspec.Struct):
    jsonrpc: Literal["2.0"]
    id: Id | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: dict[str, Any] | list[Any] | UnsetType = UNSET
    result: Any = UNSET
    error: ErrorObject | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Envelope)
_encoder = msgspec.json.Encoder()


class Session:
    """One side of a connection. ``output`` holds the bytes to send; call :meth:`sent` with the number of bytes sent."""

    def __init__(self, limits: ControlLimits) -> None:
        self._limits = limits
        self._theirs = limits
        self._input = bytearray()
        self._searched = 0
        self._answering: set[Id] = set()
        self._asked: set[int] = set()
        self._next = 1
        self._faults = 0
        self.output = bytearray()
        #: The reason why the session has ended. The bytes in ``output`` may still be sent.
        self.ended: str | None = None

    def respect(self, limits: ControlLimits) -> None:
        """Limits what is sent, lines and requests, to what the other side has said that it accepts."""
        self._theirs = limits

    # Input from the other side.

    def receive_data(self, data: bytes) -> None:
        """Takes bytes that have arrived."""
        if self.ended is None:
            self._input += data

    @property
    def backlog(self) -> bool:
        """Whether :meth:`next_event` has input to process."""
        return self.ended is None and (self._line_end() >= 0 or len(self._input) > self._limits.line)

    def next_event(self) -> Request | Notification | Response | ProtocolError | None:
        """Returns the next message, or None if there is no complete one."""
        while self.ended is None:
            end = self._line_end()
            if max(end, len(self._input) if end < 0 else 0) > self._limits.line:
                fault = self._fault(INVALID_REQUEST, f"a line of more than {self._limits.line} bytes")
                self.end(fault.problem)
                return fault
            if end < 0:
                return None
            line = bytes(self._input[:end])
            if line.isspace() or not line:
                self._skip()
                continue
            del self._input[: end + 1]
            self._searched = 0
            return self._message(line)
        return None

    def _skip(self) -> None:
        """Drops all leading blank lines at once. One by one, they would be the most expensive input."""
        blank = _BLANK.match(self._input)
        assert blank is not None
        end = self._input.rfind(b"\n", 0, blank.end()) + 1
        del blank  # The match holds the buffer.
        del self._input[:end]
        self._searched = 0

    def _line_end(self) -> int:
        end = self._input.find(b"\n", self._searched)
        self._searched = len(self._input) if end < 0 else end
        return end

    def _message(self, line: bytes) -> Request | Notification | Response | ProtocolError:
        try:
            envelope = _read(line, self._limits.depth)
        except _Malformed as e:
            return self._fault(e.code, e.problem)
        if envelope.method is UNSET:
            return self._response(envelope)
        params = None if envelope.params is UNSET else envelope.params
        if envelope.id is UNSET:
            return Notification(envelope.method, params, len(line))
        assert envelope.id is not None
        if envelope.id in self._answering:
            return self._fault(INVALID_REQUEST, "the id of a request that is under way")
        if len(self._answering) >= self._limits.pending:
            self._send(_failure(envelope.id, ErrorObject(BUSY, f"{self._limits.pending} requests are under way")))
            return ProtocolError(BUSY, "too many requests under way")
        self._answering.add(envelope.id)
        return Request(envelope.id, envelope.method, params, len(line))

    def _response(self, envelope: _Envelope) -> Response | ProtocolError:
        if envelope.id is None and envelope.error is not UNSET:
            self._count()
            return ProtocolError(envelope.error.code, "the other side could not read a message")
        if not isinstance(envelope.id, int) or envelope.id not in self._asked:
            # An error is not answered: if both sides answered errors, they would never stop.
            self.end("a response that nobody asked for")
            return ProtocolError(INVALID_REQUEST, "a response that nobody asked for")
        self._asked.remove(envelope.id)
        error = None if envelope.error is UNSET else envelope.error
        return Response(envelope.id, envelope.result if error is None else None, error)

    def _fault(self, code: int, problem: str) -> ProtocolError:
        self._send(_failure(None, ErrorObject(code, problem)))
        self._count()
        return ProtocolError(code, problem)

    def _count(self) -> None:
        self._faults += 1
        if self._faults > self._limits.faults:
            self.end("too many messages that are none")

    # Output to the other side.

    def request(self, method: str, params: object = UNSET) -> int:
        """Sends a request and returns its id. Raises as :meth:`notify` does, and ControlLost if too many are open."""
        self._check_open()
        if len(self._asked) >= self._theirs.pending:
            raise ControlLost(f"{self._theirs.pending} requests wait for their answers")
        key = self._next
        self._send(_encoded(_call(method, params, key), self._theirs))
        self._next += 1
        self._asked.add(key)
        return key

    def notify(self, method: str, params: object = UNSET) -> None:
        """Sends a notification. Its parameters, if any, are an object or an array.

        Raises TypeError or ValueError for parameters that cannot be sent, and :class:`~treeguard.errors.ControlLost` if
        the session has ended. Nothing is sent in these cases.
        """
        self._check_open()
        self._send(_encoded(_call(method, params), self._theirs))

    def answer(self, key: Id, result: object) -> None:
        """Sends the result of a request, unless the request has been answered.

        Raises TypeError or ValueError for a result that cannot be sent. The request must still be answered then.
        """
        if key not in self._answering:
            return
        line = _encoded({"jsonrpc": "2.0", "id": key, "result": result}, self._theirs)
        self._answering.discard(key)
        self._send(line)

    def fail(self, key: Id, error: ErrorObject) -> None:
        """Answers a request with an error, unless the request has been answered.

        An error that cannot be sent is replaced by one that can.
        """
        if key not in self._answering:
            return
        self._answering.discard(key)
        try:
            line = _failure(key, error)
        except (TypeError, ValueError, RecursionError):
            line = b""
        if not 0 < len(line) <= self._theirs.line + 1:
            line = _failure(key, ErrorObject(error.code, "an error that cannot be told"))
        self._send(line)

    def sent(self, count: int) -> None:
        """Removes bytes that have been sent from the beginning of ``output``."""
        del self.output[:count]

    def end(self, reason: str) -> None:
        """Ends the session. Only the first reason is kept."""
        if self.ended is None:
            self.ended = reason
            self._input.clear()

    def _check_open(self) -> None:
        if self.ended is not None:
            raise ControlLost(f"the control connection has ended: {self.ended}")

    def _send(self, line: bytes) -> None:
        if self.ended is not None:
            return
        if len(self.output) + len(line) > self._limits.output:
            self.output.clear()
            self.end("the other side does not read what it is sent")
            return
        self.output += line


class _Malformed(Exception):
    def __init__(self, code: int, problem: str) -> None:
        super().__init__(code, problem)
        self.code = code
        self.problem = problem


def _read(line: bytes, depth: int) -> _Envelope:
    if deeper_than(depth, line):
        raise _Malformed(PARSE_ERROR, f"nested deeper than {depth}")
    try:
        envelope = _decoder.decode(line)
    except msgspec.ValidationError:
        raise _Malformed(INVALID_REQUEST, "not a message of JSON-RPC 2.0") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise _Malformed(PARSE_ERROR, "not JSON") from None
    if len(str(envelope.id)) > _LONGEST_ID:
        raise _Malformed(INVALID_REQUEST, f"an id of more than {_LONGEST_ID} characters")
    called, answered = envelope.method is not UNSET, (envelope.result is not UNSET) + (envelope.error is not UNSET)
    well_formed = not answered and envelope.id is not None if called else answered == 1 and envelope.id is not UNSET
    if not well_formed:
        raise _Malformed(INVALID_REQUEST, "neither a request nor a response")
    return envelope


def _call(method: str, params: object, key: int | None = None) -> dict[str, object]:
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
    if params is not UNSET and params is not None:
        structure = _json(params)
        if structure[:1] not in (b"[", b"{"):
            raise TypeError(f"the parameters of {method} must be an object or an array, not {structure[:20].decode()}")
        message["params"] = msgspec.Raw(structure)
    if key is not None:
        message["id"] = key
    return message


def _encoded(message: dict[str, object], limits: ControlLimits) -> bytes:
    line = _json(message)
    if len(line) > limits.line:
        raise ValueError(f"a message of more than {limits.line} bytes")
    return line + b"\n"


def _json(value: object) -> bytes:
    try:
        return _encoder.encode(value)
    except RecursionError:
        raise ValueError("a message that is nested too deeply") from None


def _failure(key: Id | None, error: ErrorObject) -> bytes:
    return _encoder.encode({"jsonrpc": "2.0", "id": key, "error": error}) + b"\n"
