"""A manager with a control server, children that send what they are told to, and a child that must not be disturbed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from treeguard import CapabilityBundle, CapabilitySet, ChildHandle, ControlServer, LocalProcessManager, ProcessId
from treeguard.capability import CapabilityToken, MethodRule, MethodSelector
from treeguard.control import Call

from .patience import SLOWNESS, until
from .speaker import Speaker

__all__ = [
    "EVERYTHING",
    "HELLO_TIMEOUT",
    "MODES",
    "STUBBORN",
    "Spoken",
    "Stage",
    "echo",
    "encoded",
    "hang",
    "request",
]

EVERYTHING = CapabilitySet({"storage": (MethodRule(MethodSelector.any()),)})
MODES = [True, "stdin", "path"]
#: Seconds in which a child may come up and say hello.
HELLO_TIMEOUT = 30.0 * SLOWNESS
#: Parameters of a child that does not leave when it is asked to. On Windows none does here: it shares no console.
STUBBORN: dict[str, Any] = {} if sys.platform == "win32" else {"ignore_signals": (signal.SIGTERM,)}


def request(method: str, key: object = 1, **params: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": key, "method": method, "params": params})


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def echo(call: Call) -> object:
    """Gives back what it was given."""
    return call.params


async def hang(call: Call) -> object:
    """Never comes back."""
    await asyncio.get_running_loop().create_future()
    return None


class Spoken:
    """A child that was spawned, and what it can be told to do."""

    def __init__(self, stage: Stage, speaker: Speaker, handle: ChildHandle) -> None:
        self._stage = stage
        self._speaker = speaker
        self.pid = handle.pid
        self.os_pid = handle.os_pid

    async def do(self, order: str, *args: Any) -> Any:
        return await asyncio.to_thread(self._speaker.do, order, *args)

    def do_at_once(self, order: str, *args: Any) -> Any:
        """The same without a turn of the event loop."""
        return self._speaker.do(order, *args)

    async def answer(self) -> dict[str, Any]:
        """The next message for it."""
        line = await self.do("read")
        assert line is not None, "the connection is closed"
        message: dict[str, Any] = json.loads(line)
        return message

    async def hello(self, token: object = None) -> dict[str, Any]:
        """Says hello, with its own token or another one, and returns the answer."""
        own = await self.do("token")
        await self.do("say", request("hello", "hello", token=own if token is None else token))
        return await self.answer()

    async def attach(self) -> Spoken:
        answer = await self.hello()
        assert "result" in answer, answer
        return self

    async def is_cut_off(self) -> bool:
        """Whether nothing more comes on its connection."""
        await self.do("skip")
        return self.pid not in {each.pid for each in self._stage.server.connections()}

    async def is_served(self) -> bool:
        """Whether a call of its own is answered."""
        await self.do("say", request("storage.echo", "mine", a=1))
        return (await self.answer()) == {"jsonrpc": "2.0", "id": "mine", "result": {"a": 1}}


class Stage:
    """A manager with a server, and a bystander who uses it all the time."""

    def __init__(self, manager: LocalProcessManager, server: ControlServer, caplog: pytest.LogCaptureFixture) -> None:
        self.manager = manager
        self.server = server
        self._caplog = caplog
        self._speakers = contextlib.ExitStack()
        self.served = 0

    async def child(self, mode: Any = True, capabilities: CapabilitySet = EVERYTHING, **params: Any) -> Spoken:
        speaker = self._speakers.enter_context(Speaker(mode))
        bundle = CapabilityBundle(CapabilityToken.generate(), capabilities)
        handle = await self.manager.spawn_child(speaker.params(capabilities=bundle, **params))
        speaker.spawned()
        return Spoken(self, speaker, handle)

    def logged(self, pid: ProcessId, words: str) -> bool:
        """Whether something was told of this child, in a record that names it."""
        return any(
            words in record.getMessage()
            and getattr(record, "process_id", None) == str(pid)
            and record.levelno >= logging.WARNING
            for record in self._caplog.records
        )

    @contextlib.asynccontextmanager
    async def undisturbed(self) -> AsyncIterator[None]:
        """Somebody else is served meanwhile, again and again, and afterwards."""
        bystander = await (await self.child()).attach()

        async def use() -> None:
            while True:
                assert await bystander.is_served()
                self.served += 1

        using = asyncio.create_task(use())
        try:
            await until(lambda: self.served or using.done(), "the bystander is served")
            yield
            before = self.served
            await until(lambda: self.served > before + 1 or using.done(), "the bystander is served afterwards")
            assert not using.done(), using.exception()
            assert bystander.pid in {each.pid for each in self.server.connections()}
        finally:
            using.cancel()
            await asyncio.wait({using})
            # What it is doing in a thread comes to an end when it does.
            await self.manager.kill_tree(bystander.pid)

    def close(self) -> None:
        self._speakers.close()
