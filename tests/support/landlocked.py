"""What a supervisor does whose Landlock is missing or used up; run apart (:mod:`tests.support.apart`)."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct

import pytest

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnError, SpawnParams
from treeguard.types import Mechanism

from .judge import children
from .patience import PATIENCE
from .seccomp import LANDLOCK, forbid

__all__ = ["asked_for", "deep", "enter_domains", "too_late"]

_PR_SET_NO_NEW_PRIVS, _SCOPE_SIGNAL = 38, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(name: str, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(LANDLOCK[name].number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def enter_domains(number: int) -> None:
    """This thread, and what it starts, is in so many more."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for _ in range(number):
        rules = struct.pack("=QQQ", 0, 0, _SCOPE_SIGNAL)
        fd = _call("landlock_create_ruleset", rules, ctypes.c_size_t(len(rules)), 0)
        _call("landlock_restrict_self", fd, 0)
        os.close(fd)


async def _refusal(containment: Mechanism) -> str:
    try:
        async with LocalProcessManager(containment=containment, isolation="signals") as manager:
            await _life(manager)
    except ContainmentUnavailable as unavailable:
        return str(unavailable)
    return ""


async def _life(manager: LocalProcessManager) -> int | None:
    child = await manager.spawn_child(SpawnParams("true"))
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    root = await manager.wait_for_root(child.pid)
    assert root is not None
    return root.code


async def _asked_for(containment: Mechanism) -> list[object]:
    refusal = await _refusal(containment)
    async with LocalProcessManager(containment=containment) as manager:
        with pytest.raises(ContainmentUnavailable) as caught:
            await manager.spawn_child(SpawnParams("true", isolation="signals"))
        assert str(caught.value) == refusal
        return [refusal, await _life(manager)]


def asked_for(calls: list[str], error: int, containment: Mechanism) -> list[object]:
    """Why isolation is refused where these calls are, and how a child ends that is not isolated."""
    forbid(calls, error)
    return asyncio.run(_asked_for(containment))


def deep(number: int) -> str:
    """Why isolation is refused within so many domains; empty where it is not."""
    enter_domains(number)
    return asyncio.run(_refusal("subreaper"))


async def _too_late(number: int) -> list[object]:
    async with LocalProcessManager(containment="subreaper", isolation="signals") as manager:
        await _life(manager)
        enter_domains(number)
        with pytest.raises(SpawnError) as caught:
            await manager.spawn_child(SpawnParams("true"))
        assert "16 Landlock domains" in str(caught.value)
        assert caught.value.errno == errno.E2BIG
        return [caught.value.step, caught.value.errno, not children()]


def too_late(number: int) -> list[object]:
    """What a spawn says after a trial that went well, in so many domains more."""
    return asyncio.run(_too_late(number))
