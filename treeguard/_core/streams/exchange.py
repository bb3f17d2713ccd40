"""Writing a whole input to a tree while reading its whole output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..outcome import Capture

if TYPE_CHECKING:
    from ..trees.record import TreeRecord

__all__ = ["check_input", "communicate"]


def check_input(data: object) -> None:
    """Raises TypeError for what a pipe cannot take."""
    if not isinstance(data, bytes | bytearray | memoryview | None):
        raise TypeError(f"input must be bytes, not {type(data).__name__}")


async def communicate(
    record: TreeRecord, data: bytes | bytearray | memoryview | None
) -> tuple[bytes | None, bytes | None]:
    """Both outputs up to their ends, after the root's. An exception leaves what was read by then in the streams."""
    check_input(data)
    streams = record.streams
    if streams is None:
        return None, None
    stdout, stderr = Capture(), Capture()
    streams.collect(stdout, stderr)
    streams.listen(record.wake)
    try:
        streams.feed(data)
        await record.until(lambda: streams.ended and (record.exit is not None or record.empty), None)
        for reader in streams.readers:
            if reader.failure is not None:
                raise reader.failure
    except BaseException:
        streams.put_back()
        raise
    finally:
        streams.listen(None)
    return stdout.value if streams.stdout is not None else None, stderr.value if streams.stderr is not None else None
