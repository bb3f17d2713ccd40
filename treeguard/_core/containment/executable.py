"""Whether an executable is as long as it says of itself. One that was cut short may start all the same."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["is_whole"]

#: elf(5): place and size of the table of sections, which linkers put last: its place in the header, its form.
_SECTIONS = {1: (0x20, "I"), 2: (0x28, "Q")}
_ENTRIES = {1: 0x2E, 2: 0x3A}
_HEADER = 64


def is_whole(path: Path) -> bool:
    """True also where the file is of a format that is not known here. Raises OSError where it cannot be read."""
    if not path.is_file():  # to open a FIFO would wait for a writer
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
