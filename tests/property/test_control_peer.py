"""A child that says anything in any order, without processes: what it may not do is not done, and nothing raises."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from treeguard import (
    CapabilityBundle,
    CapabilitySet,
    ChildHandle,
    ConnectionId,
    ControlServer,
    ProcessId,
    SpawnParams,
)
from treeguard._transport import inherited, line_on
from treeguard.capability import CapabilityToken, InMemoryTokenValidator, MethodRule, MethodSelector
from treeguard.control import Call, ControlLimits

PID = ProcessId(UUID(int=1))
LIMITS = ControlLimits(line=500, depth=6, pending=3, output=2000, faults=3)
TURNS = 12
#: Whether the system says who sends. Windows does not: who has the end of an inherited pipe is taken for the child.
TELLS_SENDERS = sys.platform != "win32"


class Owner:
    """Has one child, of which this process is a member, or is not."""

    def __init__(self, member: bool) -> None:
        self.member = member
        self.connected: list[ConnectionId] = []
        self.ended = 0

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        await asyncio.sleep(0)
        self.connected.append(conn)

    def detach_connection(self, conn: ConnectionId) -> None:
        if conn in self.connected:
            self.connected.remove(conn)

    def has_member(self, pid: ProcessId, os_pid: int) -> bool:
        assert os_pid == os.getpid()
        return self.member

    async def kill_tree(self, pid: ProcessId) -> None:
        self.ended += 1

    async def list_children(self) -> list[ChildHandle]:
        return []

    async def shutdown(self, pid: ProcessId, ladder: Any) -> Any:
        self.ended += 1
        await asyncio.get_running_loop().create_future()

    async def shutdown_all(self, ladder: Any) -> Any:
        self.ended += 100


class Sentence:
    """What the child does next: says something, perhaps with its token in it, or closes."""

    def __init__(self, text: str, *, right: bool = False) -> None:
        self.text = text
        self.right = right

    def __repr__(self) -> str:
        return f"Sentence({self.text!r}, right={self.right})"


def call(method: str, key: object = None, params: object = None) -> str:
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
    if key is not None:
        message["id"] = key
    if params is not None:
        message["params"] = params
    return json.dumps(message)


keys = st.sampled_from([None, 1, 2, "a"])
names = st.sampled_from(
    ["storage.get", "storage.hang", "storage.raise", "storage.no", "other.get", "heartbeat", "x", ""]
)
own = st.sampled_from(["process.shutdown_own_tree", "process.shutdown_tree", "hello"])
sentences = st.one_of(
    st.builds(call, names | own, keys, st.sampled_from([None, {}, [], {"reason": 1}, {"reason": "x"}, {"token": "x"}])),
    st.sampled_from(["rubbish", "[]", "{}", "[" * 20, "x" * 600, "", '{"jsonrpc":"2.0","id":1,"result":1}']),
).map(Sentence)
hello = st.just(Sentence(call("hello", "hello", {"token": "TOKEN"}), right=True))
scripts = st.lists(sentences | hello | st.none(), max_size=12)


class Application:
    """Remembers what was called, by whom."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.tokens = InMemoryTokenValidator()
        self.server = ControlServer(
            {f"{service}.{name}": self.handle for service in ("storage", "other") for name in ("get", "hang", "raise")},
            limits=LIMITS,
            tokens=self.tokens,
        )

    async def handle(self, call: Call) -> object:
        self.calls.append(call.method)
        if call.method.endswith("hang"):
            await asyncio.get_running_loop().create_future()
        if call.method.endswith("raise"):
            raise ValueError("an error of the application")
        return call.params


if sys.platform == "win32":

    class End:
        """The child's end, a pipe."""

        def __init__(self, fd: int) -> None:
            self._line = line_on(inherited(fd))

        def __enter__(self) -> End:
            return self

        def __exit__(self, *_: object) -> None:
            self._line.close()

        def send(self, data: bytes) -> None:
            """There is room for all that is sent here."""
            self._line.write(bytearray(data))

        def finish(self) -> None:
            """Sends no more."""
            self._line.close()

    async def pause() -> None:
        """A thread tells the loop what has come."""
        for _ in range(TURNS):
            await asyncio.sleep(0.001)

else:

    class End(socket.socket):
        """The child's end, a socket."""

        def __init__(self, fd: int) -> None:
            super().__init__(fileno=os.dup(fd))
            self.setblocking(False)

        def finish(self) -> None:
            """Sends no more."""
            self.shutdown(socket.SHUT_WR)

    async def pause() -> None:
        """The loop sees by itself what has come."""
        for _ in range(TURNS):
            await asyncio.sleep(0)


class Scene:
    """An application, its child, and what went wrong."""

    def __init__(self, member: bool) -> None:
        self.raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.raised.append(context))
        self.application, self.owner = Application(), Owner(member)
        self.server = self.application.server
        allowed = CapabilitySet({"storage": (MethodRule(MethodSelector.any()),)})
        bundle = CapabilityBundle(CapabilityToken.generate(), allowed)
        self.token = bundle.token.text
        provision = self.server._children.provide(self.owner, PID, SpawnParams("x", control=True, capabilities=bundle))
        assert provision is not None
        self.provision = provision

    async def play(self, script: list[Sentence | None]) -> None:
        with End(self.provision.pass_fds[0]) as child:
            self.provision.started(ChildHandle(PID, "x", None, None, os.getpid()))
            for sentence in script:
                with contextlib.suppress(OSError):  # It was cut off.
                    if sentence is None:
                        child.finish()
                    else:
                        child.send(sentence.text.replace("TOKEN", self.token).encode() + b"\n")
                await pause()
                self.check(script)

    def check(self, script: list[Sentence | None]) -> None:
        """What holds at every moment."""
        assert not self.raised
        assert len(self.server.connections()) == len(self.owner.connected)
        assert {name.partition(".")[0] for name in self.application.calls} <= {"storage"}
        assert self.owner.ended <= 1  # Asked for once or often; and what is privileged was never granted.
        for peer in self.server._children._peers.values():
            assert len(peer._tasks) <= LIMITS.pending
        heard = self.owner.member or not TELLS_SENDERS
        if not (heard and any(each is not None and each.right for each in script)):
            assert (self.server.connections(), self.application.calls, self.owner.ended) == ((), [], 0)

    async def end(self) -> None:
        """What is left when the tree is over: nothing."""
        self.provision.withdraw()
        await pause()
        assert (self.server.connections(), self.owner.connected, self.raised) == ((), [], [])
        assert len(self.application.tokens) == 0


async def perform(script: list[Sentence | None], member: bool) -> Scene:
    scene = Scene(member)
    try:
        await scene.play(script)
    finally:
        await scene.end()
    return scene


@given(scripts, st.sampled_from([True, True, True, False]))
@settings(max_examples=40 if sys.platform == "win32" else 150)
def test_whatever_a_child_says(script: list[Sentence | None], member: bool) -> None:
    """Handlers are called for an attached child and within its capabilities only; no error gets out; all is undone."""
    logging.getLogger("treeguard.control").disabled = True
    try:
        asyncio.run(perform(script, member))
    finally:
        logging.getLogger("treeguard.control").disabled = False


def test_the_right_words_are_heard() -> None:
    """Control: the same stage serves a child that says hello, so the silence above means something."""
    hello = Sentence(call("hello", 1, {"token": "TOKEN"}), right=True)
    script = [hello, Sentence(call("storage.get", 2)), Sentence(call("other.get", 3))]
    assert asyncio.run(perform([*script], True)).application.calls == ["storage.get"]
    stranger = asyncio.run(perform([*script], False)).application.calls
    assert stranger == ([] if TELLS_SENDERS else ["storage.get"])
