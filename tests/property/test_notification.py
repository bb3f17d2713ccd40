"""Notifications: whatever bytes arrive, what is understood of them is what the protocol says."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treeguard.notify.notification import NotifyMessage, parsed

LINES: list[tuple[bytes, dict[str, object]]] = [
    (b"READY=1", {"ready": True}),
    (b"RELOADING=1", {"reloading": True}),
    (b"STOPPING=1", {"stopping": True}),
    (b"STATUS=Zo\xc3\xab is working", {"status": "Zoë is working"}),
    (b"STATUS=", {"status": ""}),
    (b"STATUS=a=b", {"status": "a=b"}),
    (b"MAINPID=42", {"main_pid": 42}),
    (b"WATCHDOG=1", {"watchdog": "ping"}),
    (b"WATCHDOG=trigger", {"watchdog": "trigger"}),
    (b"WATCHDOG_USEC=1500000", {"watchdog_time": 1.5}),
    (b"EXTEND_TIMEOUT_USEC=2000000", {"extend_timeout": 2.0}),
    (b"FDSTORE=1", {"stores": True}),
    (b"BARRIER=1", {"barrier": True}),
]
#: What says nothing: other values, other numbers than the protocol's, and what is not of it.
NOTHING = [
    b"",
    b"READY",
    b"READY=",
    b"READY=0",
    b"READY=yes",
    b"READY=1 ",
    b" READY=1",
    b"ready=1",
    b"STOPPING=2",
    b"WATCHDOG=0",
    b"WATCHDOG=Trigger",
    b"MAINPID=0",
    b"MAINPID=-1",
    b"MAINPID=1.0",
    b"MAINPID=2147483648",
    b"MAINPID=" + "٣".encode(),
    b"WATCHDOG_USEC=0",
    b"WATCHDOG_USEC=18446744073709551616",
    b"EXTEND_TIMEOUT_USEC=" + b"9" * 4000,
    b"ERRNO=2",
    b"X_FOO=bar",
    b"=1",
    b"READY\0=1",
]


@pytest.mark.parametrize(("line", "means"), LINES)
def test_what_a_line_means(line: bytes, means: dict[str, object]) -> None:
    """Each assignment of the protocol says its one thing, alone and with a newline."""
    assert parsed(line) == parsed(line + b"\n") == NotifyMessage(**means)  # type: ignore[arg-type]


@pytest.mark.parametrize("line", NOTHING)
def test_what_means_nothing(line: bytes) -> None:
    """What is not of the protocol is passed over, and hinders nothing that comes with it."""
    assert parsed(line) == NotifyMessage()
    assert parsed(line + b"\nRELOADING=1\n" + line) == NotifyMessage(reloading=True)


@given(st.permutations(LINES), st.lists(st.sampled_from(NOTHING), max_size=3))
def test_all_lines_count(lines: list[tuple[bytes, dict[str, object]]], noise: list[bytes]) -> None:
    """A datagram says all that its lines say; of what is said twice the last counts."""
    expected: dict[str, object] = {}
    for _, means in lines:
        expected |= means
    text = b"\n".join([line for line, _ in lines])
    assert parsed(text) == NotifyMessage(**expected)  # type: ignore[arg-type]


@given(
    st.binary(max_size=5000) | st.lists(st.sampled_from([b"=", b"\n", b"READY", b"1", b"\0", b"MAINPID"])).map(b"".join)
)
@example(b"STATUS=\xff\xfe")
@example(b"\n" * 4096)
def test_any_bytes(datagram: bytes) -> None:
    """No bytes raise an error; what comes of them is within the limits of its types, and can be written down."""
    told = parsed(datagram)
    assert told.main_pid is None or 0 < told.main_pid < 1 << 31
    for seconds in (told.watchdog_time, told.extend_timeout):
        assert seconds is None or 0 < seconds < 2e13
    assert told.ready == (b"READY=1" in datagram.split(b"\n") and _last(datagram, b"READY") == b"1")
    assert msgspec.json.decode(msgspec.json.encode(told), type=NotifyMessage) == told


def _last(datagram: bytes, name: bytes) -> bytes | None:
    values = [line.partition(b"=")[2] for line in datagram.split(b"\n") if line.startswith(name + b"=")]
    return values[-1] if values else None
