"""Connecting from the child's side: what is refused, and what is closed if it is cancelled or fails."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from treeguard import child
from treeguard.child import aio

from ..support.marks import posix
from ..support.patience import until


async def a_coroutine_function(reason: object) -> None:
    """Takes what a method and on_shutdown take."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection. Whoever closes them, these objects keep them from the collector."""
    ends = socket.socketpair()
    yield ends
    for each in ends:
        each.close()


@posix
async def test_the_end_is_closed_that_is_found_after_the_cancellation(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A thread looks for it, and may find it when nobody waits any more."""
    looking, go_on = threading.Event(), threading.Event()

    def find() -> tuple[socket.socket, None]:
        looking.set()
        go_on.wait()
        return pair[0], None

    monkeypatch.setattr(aio, "find", find)
    connecting = asyncio.ensure_future(aio.connect().__aenter__())
    await asyncio.get_running_loop().run_in_executor(None, looking.wait)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert pair[0].fileno() >= 0  # Control: it is not found yet.
    go_on.set()
    await until(lambda: pair[0].fileno() < 0, "it is closed")


@posix
async def test_the_end_is_closed_at_once_when_hello_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """While the supervisor's greeting has not come."""
    monkeypatch.setattr(aio, "find", lambda: (pair[0], None))
    connecting = asyncio.ensure_future(aio.connect().__aenter__())
    await until(lambda: not pair[0].getblocking(), "it is on the loop")
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert pair[0].fileno() < 0


@posix
async def test_the_end_is_closed_that_no_loop_can_watch(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """An error between finding and saying hello."""

    def fail(*_: object) -> None:
        raise OSError("no transport")

    monkeypatch.setattr(aio, "find", lambda: (pair[0], None))
    monkeypatch.setattr(aio, "transport_on", fail)
    with pytest.raises(OSError, match="no transport"):
        await aio.connect().__aenter__()
    assert pair[0].fileno() < 0


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("on_shutdown", {"on_shutdown": 3}),
    ("methods", {"methods": [print]}),
    (r"methods\['page.show'\]", {"methods": {"page.show": 3}}),
    ("methods: a name", {"methods": {1: print}}),
    ("name", {"name": 3}),
    ("version", {"version": None}),
    ("timeout", {"timeout": None}),
    ("timeout", {"timeout": float("nan")}),
    ("timeout", {"timeout": -1}),
]


@pytest.mark.parametrize(("name", "given"), WRONG)
async def test_wrong_arguments_are_refused_before_the_connection_is_taken(name: str, given: dict[str, Any]) -> None:
    """By both kinds of connect, which would otherwise say that there is no connection."""
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
        child.connect(**given)
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
        await aio.connect(**given).__aenter__()


@pytest.mark.parametrize("given", [{"on_shutdown": a_coroutine_function}, {"methods": {"x": a_coroutine_function}}])
def test_threads_serve_no_coroutine_functions(given: dict[str, Any]) -> None:
    """Nobody would await them."""
    with pytest.raises(TypeError, match="must be a function, not a coroutine function"):
        child.connect(**given)
