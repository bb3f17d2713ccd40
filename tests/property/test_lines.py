"""Lines of two streams, however their bytes arrive: nothing is lost, changed or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treeguard._core.outcome import Capture
from treeguard._core.streams.lines import Lines
from treeguard._core.streams.reader import Arrivals, PipeReader
from treeguard.errors import LineTooLong

NAMES = ("stdout", "stderr")
#: Which stream, and what arrives on it.
Chunk = tuple[int, bytes]
chunks = st.lists(
    st.tuples(st.integers(0, 1), st.text(alphabet="ab\n", min_size=1, max_size=12).map(str.encode)), max_size=30
)


class _Transport(asyncio.ReadTransport):
    """Notes whether it is paused."""

    paused = False

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


def readers(loop: asyncio.AbstractEventLoop) -> list[PipeReader]:
    arrivals = Arrivals()
    both = [PipeReader(name, arrivals, loop) for name in NAMES]
    for reader in both:
        reader.set_transport(_Transport())
    return both


def expected(arriving: Sequence[Chunk]) -> list[tuple[str, bytes]]:
    """The lines in the order in which their ends arrive; at last what has no end."""
    waiting = [b"", b""]
    last = [0, 0]
    found = []
    for i, (which, data) in enumerate(arriving):
        *whole, waiting[which] = (waiting[which] + data).split(b"\n")
        found += [(i, NAMES[which], line + b"\n") for line in whole]
        last[which] = i
    found += [(last[which], NAMES[which], waiting[which]) for which in (0, 1) if waiting[which]]
    return [(name, line) for _, name, line in sorted(found, key=lambda each: each[0])]


@given(chunks, st.data())
def test_lines_are_whole_and_in_order(arriving: Sequence[Chunk], data: st.DataObject) -> None:
    """Whenever they are asked for: while they arrive, or once all have."""

    async def main() -> None:
        both = readers(asyncio.get_running_loop())
        found = []

        async def read() -> None:
            async for each in Lines(both, None, None):
                found.append(each)

        reading: asyncio.Task[None] | None = None
        for which, piece in arriving:
            if reading is None and data.draw(st.booleans()):
                reading = asyncio.ensure_future(read())
            both[which].feed_data(piece)
            for _ in range(data.draw(st.integers(0, 3))):
                await asyncio.sleep(0)
        for reader in both:
            reader.feed_eof()
        await (read() if reading is None else reading)
        assert [line for name, line in found if name == "stdout"] == [
            line for name, line in expected(arriving) if name == "stdout"
        ]
        assert sorted(found) == sorted(expected(arriving))
        if reading is None:
            assert found == expected(arriving)

    asyncio.run(main())


@given(chunks, st.integers(1, 5))
def test_a_limit_loses_nothing(arriving: Sequence[Chunk], limit: int) -> None:
    """A line is told to be too long exactly if it is, and then read with another limit."""

    async def main() -> None:
        both = readers(asyncio.get_running_loop())
        for which, piece in arriving:
            both[which].feed_data(piece)
        for reader in both:
            reader.feed_eof()
        found = []
        limited, unlimited = Lines(both, None, limit), Lines(both, None, None)
        while True:
            try:
                found.append(await anext(limited))
                assert len(found[-1][1].rstrip(b"\n")) <= limit
            except LineTooLong as error:
                told = error.stream
                found.append(await anext(unlimited))
                assert found[-1][0] == told
                assert len(found[-1][1].rstrip(b"\n")) > limit
            except StopAsyncIteration:
                break
        assert sorted(found) == sorted(expected(arriving))

    asyncio.run(main())


@given(st.lists(st.integers(1, 30), max_size=20), st.data())
def test_back_pressure(sizes: Sequence[int], data: st.DataObject) -> None:
    """The pipe is left alone exactly while the buffer is full; reading in any way lets it go on, and loses nothing."""

    async def main() -> None:
        reader = readers(asyncio.get_running_loop())[0]
        transport = reader._transport
        assert isinstance(transport, _Transport)
        reader._full = 16
        sent = taken = 0
        for size in sizes:
            if not transport.paused:
                reader.feed_data(b"x" * size)
                sent += size
            assert reader.waiting > 16 if transport.paused else reader.waiting <= 32
            way = data.draw(st.sampled_from(["none", "read", "readexactly", "collect"]))
            if way == "read" and reader.waiting:
                taken += len(await reader.read(data.draw(st.integers(1, 60))))
            elif way == "readexactly":
                taken += len(await reader.readexactly(data.draw(st.integers(0, reader.waiting))))
            elif way == "collect":
                capture = Capture()
                reader.collect(capture, lambda: None)
                reader.feed_data(b"y")
                sent += 1
                reader.release(put_back=True)
            assert reader.waiting > 16 if transport.paused else reader.waiting <= 32
            assert reader.waiting == sent - taken

    asyncio.run(main())


def test_an_error_of_the_pipe_is_raised() -> None:
    """Once everything before it has been read."""

    async def main() -> None:
        both = readers(asyncio.get_running_loop())
        both[0].feed_data(b"line\nrest")
        both[0].set_exception(OSError(5, "broken"))
        both[1].feed_eof()
        lines = Lines(both, None, None)
        assert [await anext(lines) for _ in range(2)] == [("stdout", b"line\n"), ("stdout", b"rest")]
        with pytest.raises(OSError, match="broken"):
            await anext(lines)

    asyncio.run(main())
