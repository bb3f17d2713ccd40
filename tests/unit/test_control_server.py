"""What a control server takes from the application."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from treeguard import ControlServer, ProcessId
from treeguard.control import Call


async def echo(call: Call) -> object:
    """Gives back what it was given."""
    return call.params


@pytest.mark.parametrize("name", ["get", "", "process.kill", "storage.echo", ".x"])
def test_services_have_names(name: str) -> None:
    """What no child could call, is treeguard's own, or is there already is refused."""
    server = ControlServer({"storage.echo": echo})
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        server.service(name)(echo)
    with pytest.raises(TypeError):
        server.service("storage.put")("nothing")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["hello_timeout", "grace"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), None, True, "1"])
def test_times_are_checked(name: str, value: Any) -> None:
    """They are positive numbers of seconds; the error names the argument."""
    with pytest.raises((TypeError, ValueError), match=name):
        ControlServer(**{name: value})


def test_services_can_be_decorated() -> None:
    """A handler is what it was, and is there at once."""
    server = ControlServer()
    assert server.service("storage.get")(echo) is echo
    assert dict(server.services) == {"storage.get": echo}


async def test_nobody_is_attached_who_was_not_spawned() -> None:
    """Waiting for a stranger is over at once."""
    assert not await ControlServer().wait_attached(ProcessId(UUID(int=1)))
