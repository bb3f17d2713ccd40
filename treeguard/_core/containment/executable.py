"""Checking that an executable is as long as its header says. A truncated one may start all the same."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["is_whole"]

#: elf(5): the section header table, which linkers put last: where the header holds its position, and in which format.
_SECTIONS = {1: (0x20, "I"), 2: (0x28, "Q")}
_ENTRIES = {1: 0x2E, 2: 0x3A}
_HEADER = 64


def is_whole(path: Path) -> bool:
    """Whether a file is complete; True for an unknown format. Raises OSError if the file cannot be read."""
    if not path.is_file():  # opening a FIFO would wait for a writer
        return False
    with path.open("rb") as file:
        header = file.read(_HEADER)
        size = file.seek(0, 2)
    if not header.startswith(b"\x7fELF") or len(header) < _HEADER:
        return len(header) == _HEADER
    kind, order = header[4], "<" if header[5] == 1 else ">"
    if kind not in _SECTIONS:
        return False
    at, form = _SECTIONS[kind]
    (begin,) = struct.unpack_from(order + form, header, at)
    entry, count = struct.unpack_from(order + "HH", header, _ENTRIES[kind])
    return bool(size >= begin + entry * count)
