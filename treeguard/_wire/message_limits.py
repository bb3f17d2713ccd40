"""The limits on control messages: the length of one, its nesting, and how many may be under way."""

from __future__ import annotations

import re

import msgspec

from .._core.validation import whole_number

__all__ = ["ControlLimits", "deeper_than", "too_much"]

#: A string, closed or not. No part of the pattern can fail after it has matched, so the time is linear.
_STRING = re.compile(rb'"(?:[^"\\]+|\\.?)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class ControlLimits(msgspec.Struct, frozen=True):
    """The limits on what one side accepts from the other.

    * ``line``: bytes in a message.
    * ``depth``: how deeply arrays and objects may be nested.
    * ``pending``: requests that wait for their answer at the same time, in each direction.
    * ``output``: bytes that wait for the other side to read them.
    * ``faults``: the number of malformed messages after which the connection is closed.
    """

    line: int = 256 * 1024
    depth: int = 64
    pending: int = 128
    output: int = 1024 * 1024
    faults: int = 16

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            whole_number(name, getattr(self, name), least=1)


def too_much(line: bytes, limits: ControlLimits) -> str | None:
    """Returns why a side with these limits would not accept a line, or None if it would."""
    if len(line) > limits.line:
        return f"more than {limits.line} bytes"
    return f"nested deeper than {limits.depth}" if deeper_than(limits.depth, line) else None


def deeper_than(depth: int, line: bytes) -> bool:
    """Checks the depth before anything is decoded, since the decoder's own limit is its stack."""
    if line.count(b"[") + line.count(b"{") <= depth:
        return False
    level = 0
    for bracket in _STRING.sub(b"", line).translate(None, _NO_BRACKETS):
        level += 1 if bracket in b"[{" else -1
        if level > depth:
            return True
    return False
