"""A call that a pump makes when its time has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Timer"]


class Timer:
    """What :meth:`Pump.call_later` returns; the part of asyncio's that an engine needs."""

    __slots__ = ("_args", "_call", "_when")

    def __init__(self, when: float, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._when = when
        self._call: Callable[..., object] | None = call
        self._args = args

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        # It is dropped when its time has come.
        self._call = None
        self._args = ()

    def run(self) -> None:
        call, args = self._call, self._args
        if call is not None:
            call(*args)
