"""JSON-RPC without I/O: any bytes are taken, what is well-formed is understood, and nothing grows without bound."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from treeguard._wire.jsonrpc import (
    BUSY,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorObject,
    Notification,
    ProtocolError,
    Request,
    Response,
    Session,
)
from treeguard._wire.message_limits import ControlLimits, deeper_than
from treeguard.errors import ControlLost

SMALL = ControlLimits(line=200, depth=5, pending=3, output=600, faults=4)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
params = st.lists(values, max_size=3) | st.dictionaries(text, values, max_size=3)
flat = st.lists(scalars, max_size=3)
ids = st.integers(-(2**63), 2**64 - 1) | text
#: What looks like messages, well-formed or nearly so.
members: dict[str, st.SearchStrategy[Any]] = {
    "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2, None]),
    "id": ids | st.sampled_from([None, True, 1.5, [], {}, 1, 2, 3, "x" * 129]),
    "method": text | st.sampled_from(["storage.get", "hello", 1, None, ""]),
    "params": params | scalars,
    "result": values,
    "error": st.fixed_dictionaries({"code": st.integers() | text, "message": text | st.none()}) | scalars,
}
nearly = st.fixed_dictionaries({}, optional=members) | params | scalars
lines = st.one_of(
    nearly.map(lambda value: json.dumps(value).encode()),
    nearly.map(lambda value: json.dumps(value, ensure_ascii=False).encode()),
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
    st.text('[]{}",:\\ tfn1', max_size=60).map(str.encode),
    st.integers(0, 100).map(lambda n: b"[" * n),
    st.just(b""),
)
streams = st.lists(lines, max_size=8).map(b"\n".join) | st.binary(max_size=400)


def taken(session: Session) -> list[object]:
    """All that there is."""
    found: list[object] = []
    while (message := session.next_event()) is not None:
        found.append(message)
    return found


def sent(session: Session) -> list[dict[str, Any]]:
    """What the session wants to be sent, which is well-formed whatever came in."""
    *complete, rest = bytes(session.output).split(b"\n")
    assert rest == b""
    session.sent(len(session.output))
    return [json.loads(line) for line in complete]


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def strictly(line: bytes) -> Any:
    """What the standard library makes of a line, without what only it allows."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(line.decode("utf-8", "strict"), parse_constant=refuse)


def expected(line: bytes, limits: ControlLimits) -> object:
    """A second opinion: what a line is, made from the words of the specification and the standard library."""
    try:
        value = strictly(line)
        json.dumps(value, ensure_ascii=False).encode()  # The standard library takes halves of surrogate pairs.
    except (ValueError, RecursionError):
        return PARSE_ERROR
    if depth_of(value) > limits.depth:
        return PARSE_ERROR
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or "method" not in value:
        return INVALID_REQUEST  # As a response too: nothing was asked.
    number, arguments = value.get("id", 0), value.get("params", [])
    problems = (
        value.keys() & {"result", "error"},
        not isinstance(number, str | int) or isinstance(number, bool) or len(str(number)) > 128,
        not isinstance(value["method"], str),
        not isinstance(arguments, dict | list),
    )
    if any(problems):
        return INVALID_REQUEST
    if "id" in value:
        return Request(number, value["method"], value.get("params"), len(line))
    return Notification(value["method"], value.get("params"), len(line))


@given(lines)
@settings(max_examples=500)
def test_a_line_is_what_a_second_reader_says(line: bytes) -> None:
    """Requests and notifications are understood, all else is the protocol's error; the standard library agrees."""
    session = Session(ControlLimits())
    session.receive_data(line + b"\n")
    messages = taken(session)
    if not line.strip(b" \t\r\n\v\f"):
        assert messages == []
        return
    (message,) = messages
    wanted = expected(line, ControlLimits())
    if not isinstance(wanted, int):
        assert message == wanted
        assert sent(session) == []
        return
    assert isinstance(message, ProtocolError)
    answers = sent(session)
    # What looks like the other side's complaint, or an answer that nobody asked for, is not answered.
    assert answers == [] or answers[0]["error"]["code"] == message.code
    if answers:
        assert answers[0]["id"] is None
        assert message.code == wanted or {message.code, wanted} <= {PARSE_ERROR, INVALID_REQUEST}


@given(streams, st.data())
def test_how_bytes_are_cut_makes_no_difference(stream: bytes, data: st.DataObject) -> None:
    """Messages and answers are the same however the stream arrives."""
    whole, cut = Session(SMALL), Session(SMALL)
    whole.receive_data(stream)
    messages, rest, left = taken(whole), [], stream
    while left:
        n = data.draw(st.integers(1, len(left)))
        cut.receive_data(left[:n])
        rest += taken(cut)
        left = left[n:]
    assert rest == messages
    assert cut.output == whole.output
    assert cut.ended == whole.ended


@given(st.lists(st.text(" \t\r\n\v\f", max_size=5).map(str.encode) | st.just(b'{"jsonrpc":"2.0","method":"a.b"}\n')))
def test_blank_lines_are_nothing(pieces: list[bytes]) -> None:
    """However many there are between messages, and with whatever in them; the space before a message is its line's."""
    session, stream = Session(ControlLimits()), b"".join(pieces)
    session.receive_data(stream)
    wanted = [line for line in stream.split(b"\n")[:-1] if line.strip()]
    found = taken(session)
    assert not session.backlog
    session.receive_data(b"\n")
    assert taken(session) == []
    assert len(found) == len(wanted)
    # Vertical tabs and form feeds are white to Python, and not to JSON.
    for message, line in zip(found, wanted, strict=True):
        white = not {*line} & {*b"\v\f"}
        assert message == Notification("a.b", None, len(line)) if white else isinstance(message, ProtocolError)


@given(values)
def test_depth_is_seen_before_decoding(value: object) -> None:
    """A line is as deep as what the standard library makes of it."""
    for line in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
        depth = depth_of(value)
        assert not deeper_than(depth, line)
        assert depth == 0 or deeper_than(depth - 1, line)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":', b'["]",'])
def test_great_depth_is_refused(opening: bytes) -> None:
    """Ten thousand levels are an error, and not one of the stack."""
    session = Session(ControlLimits())
    session.receive_data(opening * 10_000 + b"\n")
    assert taken(session) == [ProtocolError(PARSE_ERROR, "nested deeper than 64")]
    assert session.ended is None


@given(st.binary(min_size=201).map(lambda data: data.replace(b"\n", b" ")), st.booleans())
def test_long_lines_end_the_session(line: bytes, terminated: bool) -> None:
    """With its end in sight or not: what is longer than a line may be is not kept."""
    session = Session(SMALL)
    session.receive_data(line + (b"\n" if terminated else b""))
    (fault,) = taken(session)
    assert isinstance(fault, ProtocolError)
    assert session.ended
    assert [each["error"]["code"] for each in sent(session)] == [INVALID_REQUEST]
    session.receive_data(b"x" * 1000)
    assert taken(session) == []
    assert len(session._input) == 0


@given(text, params, params, st.integers(), text)
def test_what_one_side_says_the_other_understands(method: str, given: Any, result: Any, code: int, words: str) -> None:
    """Requests, notifications, results and errors arrive as they were sent."""
    here, there = Session(ControlLimits()), Session(ControlLimits())
    first, second = here.request(method, given), here.request(method)
    here.notify(method, given)
    there.receive_data(bytes(here.output))
    asked, asked_too, told = taken(there)
    assert isinstance(asked, Request)
    assert (asked.id, asked.method, asked.params) == (first, method, given)
    assert isinstance(asked_too, Request)
    assert asked_too.params is None
    assert isinstance(told, Notification)
    assert told.params == given
    there.answer(second, result)
    there.fail(first, ErrorObject(code, words, given))
    here.receive_data(bytes(there.output))
    assert taken(here) == [Response(second, result, None), Response(first, None, ErrorObject(code, words, given))]


def test_a_request_is_answered_once() -> None:
    """A second answer is not sent."""
    session = Session(ControlLimits())
    session.receive_data(b'{"jsonrpc":"2.0","id":"a","method":"m"}\n')
    taken(session)
    session.answer("a", 1)
    session.fail("a", ErrorObject(1, "no"))
    session.answer("a", 2)
    assert [each["result"] for each in sent(session)] == [1]


def test_too_many_requests_are_refused() -> None:
    """Requests beyond the limit get an error, and the others can be answered."""
    session = Session(SMALL)
    for i in range(5):
        session.receive_data(b'{"jsonrpc":"2.0","id":%d,"method":"m"}\n' % i)
    messages = taken(session)
    assert [type(each) for each in messages] == [Request] * 3 + [ProtocolError] * 2
    assert [(each["id"], each["error"]["code"]) for each in sent(session)] == [(3, BUSY), (4, BUSY)]
    session.answer(1, None)
    session.receive_data(b'{"jsonrpc":"2.0","id":3,"method":"m"}\n')
    assert [type(each) for each in taken(session)] == [Request]


def test_an_id_that_is_in_use_is_refused() -> None:
    """The request that has it can still be answered, and then the id used again."""
    session = Session(SMALL)
    request = b'{"jsonrpc":"2.0","id":1,"method":"m"}\n'
    session.receive_data(request * 2)
    first, second = taken(session)
    assert isinstance(first, Request)
    assert isinstance(second, ProtocolError)
    assert [each["id"] for each in sent(session)] == [None]
    session.answer(1, None)
    session.receive_data(request)
    assert isinstance(session.next_event(), Request)


@pytest.mark.parametrize("answer", [b'"result":1,"id":7', b'"error":{"code":1,"message":""},"id":"a"'])
def test_an_answer_that_nobody_asked_for_ends_the_session(answer: bytes) -> None:
    """It is not answered in turn."""
    session = Session(SMALL)
    session.request("m")
    session.sent(len(session.output))
    session.receive_data(b'{"jsonrpc":"2.0",%s}\n' % answer)
    assert [type(each) for each in taken(session)] == [ProtocolError]
    assert session.ended == "a response that nobody asked for"
    assert not session.output
    with pytest.raises(ControlLost):
        session.notify("m")


def test_rubbish_ends_the_session_in_the_end() -> None:
    """So much is answered, then no more."""
    session = Session(SMALL)
    session.receive_data(b"rubbish\n" * 100)
    assert len(taken(session)) == SMALL.faults + 1
    assert session.ended == "too many messages that are none"


def test_one_who_does_not_read_is_given_up() -> None:
    """What waits to be sent stays within its limit; beyond it the conversation is over, and nothing is kept."""
    session = Session(SMALL)
    while session.ended is None:
        session.notify("m", ["x" * 50])
        assert len(session.output) <= SMALL.output
    assert session.ended == "the other side does not read what it is sent"
    assert not session.output


@pytest.mark.parametrize("value", [object(), {1j: 2}, "\ud800", "x" * 300])
def test_what_cannot_be_sent_is_refused(value: object) -> None:
    """Before anything is sent; a request that was to be answered so can still be answered."""
    session = Session(SMALL)
    with pytest.raises((TypeError, ValueError)):
        session.notify("m", [value])
    with pytest.raises((TypeError, ValueError)):
        session.request("m", [value])
    assert not session.output
    session.receive_data(b'{"jsonrpc":"2.0","id":1,"method":"m"}\n')
    taken(session)
    with pytest.raises((TypeError, ValueError)):
        session.answer(1, value)
    session.fail(1, ErrorObject(5, "no", value))
    assert [(each["id"], each["error"]["code"]) for each in sent(session)] == [(1, 5)]


@pytest.mark.parametrize("params", [1, "text", True, 1.5])
def test_parameters_have_a_structure(params: object) -> None:
    """What is neither an object nor an array is not sent: the other side could not take it."""
    with pytest.raises(TypeError, match="object or an array"):
        Session(ControlLimits()).request("m", params)


def test_what_the_other_side_takes_is_respected() -> None:
    """Lines and requests beyond what it has said are not sent."""
    session = Session(ControlLimits())
    session.respect(SMALL)
    with pytest.raises(ValueError, match="more than 200 bytes"):
        session.notify("m", ["x" * 300])
    for _ in range(SMALL.pending):
        session.request("m")
    with pytest.raises(ControlLost):
        session.request("m")


def test_what_has_no_end_is_refused() -> None:
    """A value that holds itself is an error like others."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        Session(ControlLimits()).notify("m", endless)


@pytest.mark.parametrize("name", ControlLimits.__struct_fields__)
def test_limits_are_checked(name: str) -> None:
    """They are whole numbers of at least one."""
    with pytest.raises(ValueError, match=name):
        ControlLimits(**{name: 0})
    with pytest.raises(TypeError, match=name):
        ControlLimits(**{name: "1"})  # type: ignore[arg-type]


class Conversation(RuleBasedStateMachine):
    """Two sides that talk, one of which may go mad: the other one's promises hold at every moment."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.here, self.there = Session(SMALL), Session(SMALL)
        self.open: dict[int, str] = {}
        self.mad = False

    def _deliver(self, of: Session, to: Session, count: int) -> list[object]:
        data = bytes(of.output[:count])
        of.sent(len(data))
        to.receive_data(data)
        return taken(to)

    @rule(target=asked, method=text, value=flat)
    def ask(self, method: str, value: Any) -> int | None:
        with contextlib.suppress(ControlLost, ValueError):
            key = self.here.request(method, value)
            self.open[key] = method
            return key
        return None

    @rule(method=text, value=flat)
    def tell(self, method: str, value: Any) -> None:
        with contextlib.suppress(ControlLost, ValueError):
            self.here.notify(method, value)

    @rule(count=st.integers(1, 300))
    def forth(self, count: int) -> None:
        for message in self._deliver(self.here, self.there, count):
            if isinstance(message, Request) and not self.mad:
                assert isinstance(message.id, int)
                assert self.open[message.id] == message.method

    @rule(key=consumes(asked), result=flat)
    def answer(self, key: int | None, result: Any) -> None:
        if key is not None:
            with contextlib.suppress(ValueError):
                self.there.answer(key, result)

    @rule(count=st.integers(1, 300))
    def back(self, count: int) -> None:
        for message in self._deliver(self.there, self.here, count):
            if isinstance(message, Response):
                del self.open[message.id]  # Each is answered once, and was asked.

    @rule(data=streams)
    def go_mad(self, data: bytes) -> None:
        self.mad = True
        self.here.receive_data(data)
        for message in taken(self.here):
            if isinstance(message, Response):
                del self.open[message.id]

    @invariant()
    def bounded(self) -> None:
        for session in (self.here, self.there):
            assert len(session.output) <= SMALL.output
            assert len(session._answering) <= SMALL.pending
            assert len(session._asked) <= SMALL.pending
            assert len(session._input) <= SMALL.line
            assert session._faults <= SMALL.faults + 1

    @invariant()
    def well_formed(self) -> None:
        if not self.mad:
            # Nobody is ever told that something was wrong, and nobody is cut off, unless it did not read.
            for session in (self.here, self.there):
                assert session._faults == 0
                assert session.ended in (None, "the other side does not read what it is sent")


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=40, stateful_step_count=40)
