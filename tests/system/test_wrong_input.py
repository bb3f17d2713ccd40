"""What is of the wrong kind is refused at once, by an error that names the argument, and starts nothing."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from treeguard import CapabilityBundle, ChildHandle, ConnectionId, LocalProcessManager, ProcessId, SpawnParams, Tree
from treeguard.capability import CapabilityToken
from treeguard.shutdown import AskShutdown, CloseStdin

from ..support.judge import children
from ..support.programs import Programs

VALUES: dict[str, Callable[[], object]] = {
    "on_hung": lambda: LocalProcessManager(on_hung=3),  # type: ignore[arg-type]
    "providers": lambda: LocalProcessManager(providers=3),  # type: ignore[arg-type]
    "providers ": lambda: LocalProcessManager(providers=(3,)),  # type: ignore[arg-type]
    "lease": lambda: LocalProcessManager(lease=math.nan),
    "lease ": lambda: LocalProcessManager(lease=math.inf),
    "lease  ": lambda: LocalProcessManager(lease=10**400),
    "require": lambda: LocalProcessManager(require=5),  # type: ignore[arg-type]
    "control  ": lambda: LocalProcessManager(control=5),  # type: ignore[arg-type]
    "close": lambda: CloseStdin(3, 1),  # type: ignore[arg-type]
    "send_shutdown": lambda: AskShutdown(3, 1, 1),  # type: ignore[arg-type]
    "token": lambda: CapabilityBundle("token"),  # type: ignore[arg-type]
    "capabilities": lambda: CapabilityBundle(CapabilityToken.generate(), {}),  # type: ignore[arg-type]
    "control": lambda: SpawnParams("x", control=3),  # type: ignore[arg-type]
    "args": lambda: SpawnParams("x", "args"),
}

Ask = Callable[[LocalProcessManager, ChildHandle], Any]
CALLS: dict[str, Ask] = {
    "pid": lambda manager, child: manager.wait_for_exit(child),  # type: ignore[arg-type]
    "pid ": lambda manager, child: manager.kill_tree(str(child.pid)),  # type: ignore[arg-type]
    "pid  ": lambda manager, child: manager.members(child.os_pid),  # type: ignore[arg-type]
    "params": lambda manager, child: manager.spawn_child("sleep"),  # type: ignore[arg-type]
    "number": lambda manager, child: manager.signal_tree(child.pid, "TERM"),  # type: ignore[arg-type]
    "conn": lambda manager, child: manager.attach_connection(child.pid, "conn"),  # type: ignore[arg-type]
    "timeout": lambda manager, child: manager.wait_for_exit(child.pid, math.nan),
    "timeout ": lambda manager, child: manager.wait_for_root(child.pid, 10**400),
    "timeout  ": lambda manager, child: manager.freeze(child.pid, 10**400),
    "ladder": lambda manager, child: manager.shutdown(child.pid, 3),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", VALUES)
def test_values_refuse_what_they_are_not_made_of(name: str) -> None:
    """When they are made, not when they are used."""
    with pytest.raises((TypeError, ValueError), match=rf"\b{name.strip()}\b"):
        VALUES[name]()


@pytest.mark.parametrize("name", CALLS)
async def test_calls_refuse_what_is_of_another_kind(name: str, programs: Programs) -> None:
    """A handle in the place of its id, a string in that of parameters."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny))
        before = children()
        with pytest.raises((TypeError, ValueError), match=rf"\b{name.strip()}\b"):
            await CALLS[name](manager, child)
        assert children().keys() == before.keys()
        assert [each.pid for each in await manager.list_children()] == [child.pid]


async def test_a_right_id_of_nobody_is_unknown(programs: Programs) -> None:
    """Control: what is of the right kind is looked up."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny))
        await manager.attach_connection(child.pid, ConnectionId(uuid.uuid4()))
        assert isinstance(manager.tree(child.pid), Tree)
        with pytest.raises(LookupError):
            await manager.members(ProcessId(uuid.uuid4()))


def test_parameters_can_be_keys() -> None:
    """Equal ones are the same key."""
    one, other = (SpawnParams("x", ["a"], env={"A": "1", "B": "2"}) for _ in range(2))
    assert {one: 1}[other] == 1
    assert len({one, SpawnParams("x", ["b"]), SpawnParams("x", ["a"], env={"B": "2", "A": "1"})}) == 2
