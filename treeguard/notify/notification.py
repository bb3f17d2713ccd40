"""Parses the messages of systemd's notification protocol, sd_notify(3), from bytes and without I/O."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["LONGEST", "NotifyMessage", "parsed"]

#: A longer datagram is invalid: systemd does not accept one either (NOTIFY_BUFFER_MAX).
LONGEST = 4096

#: The protocol's numbers are unsigned 64-bit integers.
_MOST = (1 << 64) - 1
_DIGITS = len(str(_MOST))
_MICROSECONDS = 1e-6


class NotifyMessage(msgspec.Struct, frozen=True):
    """One datagram. Times are in seconds. None and False mean that the datagram does not mention the field."""

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    status: str | None = None
    main_pid: int | None = None
    watchdog: Literal["ping", "trigger"] | None = None
    watchdog_time: float | None = None
    extend_timeout: float | None = None
    stores: bool = False
    barrier: bool = False


def parsed(datagram: bytes) -> NotifyMessage:
    """Returns the understood fields of any bytes. If a field occurs twice, the last one counts."""
    said: dict[bytes, bytes] = {}
    for line in datagram.split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals:
            said[name] = value
    watchdog = said.get(b"WATCHDOG")
    return NotifyMessage(
        ready=said.get(b"READY") == b"1",
        reloading=said.get(b"RELOADING") == b"1",
        stopping=said.get(b"STOPPING") == b"1",
        status=_text(said.get(b"STATUS")),
        main_pid=_number(said.get(b"MAINPID"), at_most=(1 << 31) - 1),
        watchdog="ping" if watchdog == b"1" else "trigger" if watchdog == b"trigger" else None,
        watchdog_time=_seconds(said.get(b"WATCHDOG_USEC")),
        extend_timeout=_seconds(said.get(b"EXTEND_TIMEOUT_USEC")),
        stores=said.get(b"FDSTORE") == b"1",
        barrier=said.get(b"BARRIER") == b"1",
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="replace")


def _number(value: bytes | None, at_most: int = _MOST) -> int | None:
    """Returns a positive number, or None."""
    # bytes.isdigit() accepts only ASCII. The length is checked first, since int() is slow for millions of digits.
    if value is None or len(value) > _DIGITS or not value.isdigit():
        return None
    number = int(value)
    return number if 0 < number <= at_most else None


def _seconds(value: bytes | None) -> float | None:
    number = _number(value)
    return None if number is None else number * _MICROSECONDS
