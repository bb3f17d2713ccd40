"""Writing a whole input to a tree while reading its whole output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..outcome import Capture

if TYPE_CHECKING:
    from ..trees.record import TreeRecord

__all__ = ["check_exchange", "communicate"]


def check_exchange(record: TreeRecord, data: object) -> None:
    """Raises TypeError for what a pipe cannot take, and RuntimeError if another task is reading."""
    if not isinstance(data, bytes | bytearray | memoryview | None):
        raise TypeError(f"input must be bytes, not {type(data).__name__}")
    if record.streams is not None:
        record.streams.check_unread()


async def communicate(
    record: TreeRecord, data: bytes | bytearray | memoryview | None
) -> tuple[bytes | None, bytes | None]:
    """Both outputs up to their ends, after the root's. An exception leaves what was read by then in the streams."""
    streams = record.streams
    if streams is None:
        return None, None
    stdout, stderr = Capture(), Capture()
    complete = False
    streams.collect(stdout, stderr, record.wake)
    try:
        streams.feed(data)
        await record.until(lambda: streams.ended and (record.exit is not None or record.empty), None)
        for reader in streams.readers:
            if reader.failure is not None:
                raise reader.failure
        complete = True
    finally:
        streams.release(put_back=not complete)
    return stdout.value if streams.stdout or streams.pty else None, stderr.value if streams.stderr else None
