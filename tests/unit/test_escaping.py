"""Texts of others on one line."""

from __future__ import annotations

from typing import Any

import pytest

from treeguard._core.escaping import printable
from treeguard._wire.jsonrpc import ErrorObject, Notification, Request
from treeguard._wire.protocol import Hello, Welcome, raised
from treeguard.shutdown.driver import _within

NASTY = "\x1b[2Jall\nis\rwell\x9b31m \u202eoot\u2028\x00\x7f"


def test_what_is_readable_stays() -> None:
    """In any language."""
    assert printable("it is well, ça va, 元気") == "it is well, ça va, 元気"


def test_what_would_be_obeyed_is_escaped() -> None:
    """Newlines, escape sequences of one byte and of two, and what turns the direction of writing."""
    assert printable(NASTY) == r"\x1b[2Jall\nis\rwell\x9b31m \u202eoot\u2028\x00\x7f"


def test_it_has_an_end() -> None:
    """Whoever sends may send any."""
    assert printable("x" * 10_000, 10) == "x" * 10 + "…"


@pytest.mark.parametrize("code", [-32000, -32001, -32002, -32003, -32005])
def test_errors_of_the_other_side(code: int) -> None:
    """Their words go into logs and reports."""
    assert str(raised(ErrorObject(code, NASTY))).isprintable()


async def test_errors_in_a_report() -> None:
    """Whoever raised them, and wherever they had the words from."""

    async def fail() -> bool:
        raise ValueError(NASTY)

    error = (await _within(10, fail)).error
    assert error is not None
    assert error.isprintable()
    assert error.startswith("ValueError: ")


@pytest.mark.parametrize(
    "value",
    [
        Hello("secret"),
        Welcome("secret"),
        Request(1, "hello", {"token": "secret"}, 10),
        Notification("welcome", {"token": "secret"}, 10),
    ],
)
def test_a_token_is_not_shown(value: Any) -> None:
    """Neither by repr nor by who shows things in colours (rich)."""
    assert "secret" not in repr(value)
    assert "secret" not in repr(value.__rich_repr__())
