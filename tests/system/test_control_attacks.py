"""Children that attack the supervisor through their control connection: refused, logged, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from treeguard import CapabilityBundle, CapabilitySet, ControlServer, LocalProcessManager, SpawnParams
from treeguard._transport.credentials import Sender, ask_for_senders, descriptors, is_member, sender
from treeguard._wire.jsonrpc import BUSY, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR
from treeguard._wire.protocol import NOT_ATTACHED, REFUSED
from treeguard.capability import CapabilityToken, InMemoryTokenValidator, MethodRule, MethodSelector
from treeguard.errors import InvalidArgument, RequestFailed
from treeguard.shutdown import AskShutdown, Kill

from ..support.clock import Clock
from ..support.marks import posix
from ..support.patience import PATIENCE, until
from ..support.shortage import no_descriptors
from ..support.stage import (
    EVERYTHING,
    HELLO_TIMEOUT,
    MODES,
    STUBBORN,
    Spoken,
    Stage,
    echo,
    encoded,
    hang,
    request,
)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def stage(caplog: pytest.LogCaptureFixture, clock: Clock) -> AsyncIterator[Stage]:
    """A stage on which another child is served all the time."""
    caplog.set_level(logging.INFO, "treeguard")
    tokens = InMemoryTokenValidator(clock=clock)
    services = {"storage.echo": echo, "storage.hang": hang}
    server = ControlServer(services, tokens=tokens, hello_timeout=HELLO_TIMEOUT)
    async with LocalProcessManager(control=server) as manager:
        with contextlib.closing(Stage(manager, server, caplog)) as stage:
            async with stage.undisturbed():
                yield stage


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("params", [{}, {"token": ""}, {"token": None}, {"token": 1}, {"token": ["a"]}])
async def test_no_token(stage: Stage, mode: Any, params: dict[str, Any]) -> None:
    """A hello without a token is refused."""
    child = await stage.child(mode)
    await child.do("token")
    await child.do("say", request("hello", **params))
    assert (await child.answer())["error"] == {"code": REFUSED, "message": "refused"}
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "not well-formed")


@pytest.mark.parametrize("mode", MODES)
async def test_no_hello(stage: Stage, mode: Any) -> None:
    """Whoever wants something else first is refused, also if it is a heartbeat."""
    for method in ("storage.echo", "heartbeat", "process.shutdown_own_tree", "process.shutdown_tree"):
        child = await stage.child(mode)
        await child.do("token")
        await child.do("say", request(method))
        assert (await child.answer())["error"]["code"] == NOT_ATTACHED
        assert await child.is_cut_off()
        assert stage.logged(child.pid, "before it said hello")


@pytest.mark.parametrize("mode", MODES)
async def test_wrong_token(stage: Stage, mode: Any) -> None:
    """A token that was never issued is refused, in the same words as any other."""
    child = await stage.child(mode)
    answer = await child.hello(CapabilityToken.generate().text)
    assert answer["error"] == {"code": REFUSED, "message": "refused"}
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "unknown, used or revoked")


async def test_replayed_token(stage: Stage) -> None:
    """A token that was used is worth nothing to anybody, and a second hello makes no second connection."""
    owner = await (await stage.child()).attach()
    used = await owner.do("token")
    thief = await stage.child()
    assert (await thief.hello(used))["error"]["code"] == REFUSED
    assert await thief.is_cut_off()
    assert stage.logged(thief.pid, "unknown, used or revoked")
    assert (await owner.hello())["error"]["code"] == METHOD_NOT_FOUND
    assert await owner.is_served()


@posix
async def test_replayed_token_at_the_path(stage: Stage) -> None:
    """Where one connection has been attached nobody listens any more."""
    child = await (await stage.child("path")).attach()
    path = await child.do("path")
    assert not Path(path).parent.exists()


async def test_expired_token(stage: Stage, clock: Clock) -> None:
    """A token that comes too late is refused."""
    child = await stage.child()
    clock.now += 61
    assert (await child.hello())["error"]["code"] == REFUSED
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "has expired")


@pytest.mark.parametrize("mode", MODES)
async def test_another_childs_token(stage: Stage, mode: Any) -> None:
    """It is refused, and still good for the child that it was given to."""
    owner, thief = await stage.child(mode), await stage.child(mode)
    assert (await thief.hello(await owner.do("token")))["error"]["code"] == REFUSED
    assert await thief.is_cut_off()
    assert stage.logged(thief.pid, f"is that of {owner.pid}")
    await owner.attach()
    assert await owner.is_served()


@posix
async def test_the_right_token_from_outside_at_the_path(stage: Stage) -> None:
    """Another process of this user that knows path and token is refused before it can send anything."""
    child = await stage.child("path")
    token, path = await child.do("token"), await child.do("path")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(PATIENCE)
        await asyncio.to_thread(stranger.connect, path)
        with contextlib.suppress(OSError):
            stranger.sendall(request("hello", token=token).encode() + b"\n")
        assert await asyncio.to_thread(received, stranger) == b""
    assert stage.logged(child.pid, f"process {os.getpid()}, which is not of the tree")
    await child.attach()
    assert await child.is_served()


def received(sock: socket.socket) -> bytes:
    """What comes until the end; a reset is one."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(1000):
            data += piece
    return data


@contextlib.asynccontextmanager
async def given_away(child: Spoken, tmp_path: Path) -> AsyncIterator[socket.socket]:
    """The child's own connection, in this process's hands."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "away"))
        listener.listen()
        giving = asyncio.create_task(child.do("give_to", str(tmp_path / "away")))
        receiver, _ = await asyncio.to_thread(listener.accept)
        with receiver:
            _, (fd,), _, _ = await asyncio.to_thread(socket.recv_fds, receiver, 1, 1)
            receiver.send(b"x")
            await giving
    with socket.socket(fileno=fd) as sock:
        sock.settimeout(PATIENCE)
        yield sock


@posix
@pytest.mark.parametrize("mode", MODES)
async def test_the_right_token_from_outside_on_the_right_connection(stage: Stage, mode: Any, tmp_path: Path) -> None:
    """A process outside the tree that holds both is refused: it is not the one that was meant."""
    child = await stage.child(mode)
    token = await child.do("token")
    async with given_away(child, tmp_path) as stolen:
        stolen.sendall(request("hello", token=token).encode() + b"\n")
        await child.do("close")
        assert await asyncio.to_thread(received, stolen) == b""
    assert stage.logged(child.pid, f"process {os.getpid()}, which is not of the tree, sent something")
    assert child.pid not in {each.pid for each in stage.server.connections()}


@posix
async def test_the_kernels_word_is_what_refuses(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anybody counts as of the tree, the same stranger is attached."""
    monkeypatch.setattr(stage.manager, "_has_member", lambda pid, os_pid: True)
    child = await stage.child()
    token = await child.do("token")
    async with given_away(child, tmp_path) as stolen:
        stolen.sendall(request("hello", token=token).encode() + b"\n")
        assert await stage.server.wait_attached(child.pid, PATIENCE)


@posix
@pytest.mark.parametrize("mode", MODES)
async def test_a_descendant_may_speak(stage: Stage, mode: Any) -> None:
    """The tree is what counts, not the one process that was started."""
    child = await stage.child(mode)
    token = await child.do("token")
    await child.do("by_another", encoded(request("hello", token=token) + "\n"))
    assert await stage.server.wait_attached(child.pid, PATIENCE)


@pytest.mark.parametrize("mode", MODES)
async def test_a_connection_that_says_nothing(stage: Stage, mode: Any) -> None:
    """It is closed after a while; the tree lives on."""
    # From now on; whoever is served has said it. Who has to come to a path has the time from then on.
    if mode != "path":
        stage.server._children.hello_timeout = 0.3
    child = await stage.child(mode)
    stage.server._children.hello_timeout = 0.3
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "did not say hello")
    assert child.pid in {each.pid for each in await stage.manager.list_children()}


@pytest.mark.parametrize("attached", [False, True])
async def test_a_megabyte_without_a_newline(stage: Stage, attached: bool) -> None:
    """It is not kept, and the connection is closed, with an error if that can still be read."""
    child = await stage.child()
    if attached:
        await child.attach()
    await child.do("send", encoded("x" * 1000), 1000)
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "a line of more than 262144 bytes")


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_json_ten_thousand_deep(stage: Stage, attached: bool, opening: str) -> None:
    """It is an error of the protocol's; whoever is attached may go on."""
    child = await stage.child()
    token = await child.do("token")
    if attached:
        await child.attach()
    await child.do("say", opening * 10_000)
    answer = await child.answer()
    assert answer["id"] is None
    assert answer["error"]["code"] == PARSE_ERROR
    assert stage.logged(child.pid, "nested deeper than 64")
    if not attached:
        assert "result" in await child.hello(token)
    assert await child.is_served()


async def test_a_hundred_thousand_pending_requests(stage: Stage) -> None:
    """Calls up to the limit are served, others refused. A child that reads no answers is cut off. Memory is bounded."""
    child = await (await stage.child()).attach()
    tracemalloc.start()
    try:
        for i in range(100):
            batch = "".join(request("storage.hang", 1000 * i + j) + "\n" for j in range(1000))
            if not await child.do("send", encoded(batch)):
                break
        assert await child.is_cut_off()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
    assert stage.logged(child.pid, "too many requests under way")
    assert stage.logged(child.pid, "was cut off: the other side does not read what it is sent")


async def test_pending_requests_of_one_who_reads(stage: Stage) -> None:
    """A child that reads the refusals is not cut off for asking too much."""
    child = await (await stage.child()).attach()
    for i in range(140):
        await child.do("say", request("storage.hang", i))
    refused = [await child.answer() for _ in range(12)]
    assert [each["id"] for each in refused] == list(range(128, 140))
    assert {each["error"]["code"] for each in refused} == {BUSY}
    await child.do("say", json.dumps({"jsonrpc": "2.0", "method": "heartbeat"}))
    assert child.pid in {each.pid for each in stage.server.connections()}


async def test_a_peer_that_never_reads(stage: Stage) -> None:
    """What waits for it to read is bounded, and then it is cut off."""
    child = await (await stage.child()).attach()
    line = request("storage.echo", "x", blob="x" * 100_000) + "\n"
    for _ in range(100):
        if not await child.do("send", encoded(line)):
            break
    assert await child.is_cut_off()
    await until(lambda: child.pid not in {each.pid for each in stage.server.connections()}, "it is cut off")
    assert stage.logged(child.pid, "was cut off: the other side does not read what it is sent")


ODD = [
    *("", ".", "..", "storage", "storage.", ".echo", "storage..echo", "storage.echo.", "0.0", "hello", "welcome"),
    *("storage.echo\0", "storage.\u202eecho", "storage.echo\n", " storage.echo", "storage.é", "storage.\x1b[31mecho"),
    *("../storage.echo", "storage/echo", "storage.*", "__class__.__init__", "%s%n.%s", "storage.echo;rm"),
    *("storage." + "x" * 1000, "s" * 200_000),
]


async def test_odd_method_names(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """None is a method; they are logged in one line of printable ASCII each; the connection lives on."""
    child = await (await stage.child()).attach()
    for i, name in enumerate(ODD):
        await child.do("say", request(name, i))
        answer = await child.answer()
        assert answer["id"] == i
        assert answer["error"]["code"] in (METHOD_NOT_FOUND, -32001)
    assert await child.is_served()
    messages = [r.getMessage() for r in caplog.records if getattr(r, "process_id", None) == str(child.pid)]
    assert sum("no method's name" in message for message in messages) >= 10
    assert all(message.isascii() and message.isprintable() and len(message) < 300 for message in messages)


async def test_refusals_do_not_fill_the_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Of the same child so many are told, and how many were not."""
    child = await (await stage.child()).attach()
    for i in range(100):
        await child.do("say", request("nothing.here", i))
        assert (await child.answer())["error"]["code"] == -32001
    told = [record for record in caplog.records if "nothing.here" in record.getMessage()]
    assert 10 <= len(told) <= 50
    await stage.manager.kill_tree(child.pid)
    assert await stage.manager.wait_for_exit(child.pid, PATIENCE)
    assert stage.logged(child.pid, "more refusals were not logged")


@pytest.mark.parametrize("answer", ['"id":7,"result":1', '"id":"a","error":{"code":1,"message":""}'])
async def test_answers_that_nobody_asked_for(stage: Stage, answer: str) -> None:
    """The connection is closed."""
    child = await (await stage.child()).attach()
    await child.do("say", f'{{"jsonrpc":"2.0",{answer}}}')
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "a response that nobody asked for")


async def test_an_id_used_twice(stage: Stage) -> None:
    """The second request is refused while the first is under way."""
    child = await (await stage.child()).attach()
    await child.do("say", request("storage.hang", 1) + "\n" + request("storage.hang", 1))
    answer = await child.answer()
    assert answer["id"] is None
    assert answer["error"]["code"] == INVALID_REQUEST


async def test_rubbish(stage: Stage) -> None:
    """So much of it is answered; then the connection is closed."""
    child = await (await stage.child()).attach()
    await child.do("send", encoded("rubbish\n"), 1000)
    assert await child.is_cut_off()
    assert stage.logged(child.pid, "not JSON")


@posix
@pytest.mark.parametrize("mode", MODES)
async def test_descriptors_that_come_along(stage: Stage, mode: Any) -> None:
    """Open files that are sent to the supervisor do not stay open there."""
    child = await stage.child(mode)
    token = await child.do("token")
    before = open_descriptors()
    for _ in range(5):
        await child.do("send_descriptors")
    assert "result" in await child.hello(token)
    for _ in range(5):
        await child.do("send_descriptors")
    assert await child.is_served()
    assert open_descriptors() <= before + 5  # Not five hundred: those of this test itself come and go.


@pytest.mark.parametrize("mode", MODES)
async def test_blank_lines_without_end(stage: Stage, mode: Any) -> None:
    """Whoever sends them is read less and less; nobody else notices (the bystander), and it is served after them."""
    child = await stage.child(mode)
    token = await child.do("token")
    sending = asyncio.create_task(child.do("send", encoded("\n" * 65536), 200))
    loop = asyncio.get_running_loop()
    longest, began = 0.0, loop.time()
    while loop.time() < began + 1:
        before, used = loop.time(), time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, min(loop.time() - before, time.thread_time() - used))
    assert longest < 0.05
    await sending
    assert "result" in await child.hello(token)
    assert await child.is_served()


async def test_asking_for_the_end_in_a_loop(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """It is not logged more often than refusals are."""
    child = await (await stage.child(**STUBBORN)).attach()
    wish = json.dumps({"jsonrpc": "2.0", "method": "process.shutdown_own_tree"}) + "\n"
    await child.do("send", encoded(wish * 1000), 3)
    await until(lambda: [r for r in caplog.records if "to be shut down" in r.getMessage()], "it is heard")
    await stage.manager.kill_tree(child.pid)
    assert await stage.manager.wait_for_exit(child.pid, PATIENCE)
    assert len([r for r in caplog.records if "to be shut down" in r.getMessage()]) <= 50


async def test_the_words_of_an_error_are_no_commands(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """What a child answers goes into errors, reports and logs, on one line and without what a terminal obeys."""
    child = await (await stage.child()).attach()
    nasty = "no\x1b[2J\r\nINFO all is well \u202e\x9b31m"
    call = asyncio.create_task(stage.server.call(child.pid, "storage.x"))
    message = await child.answer()
    await child.do("say", json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": 1, "message": nasty}}))
    with pytest.raises(RequestFailed) as caught:
        await call
    assert str(caught.value).isprintable()
    ask = AskShutdown(stage.server.shutdown_request(child.pid), PATIENCE, PATIENCE)
    ending = asyncio.create_task(stage.manager.shutdown(child.pid, [ask, Kill(PATIENCE)]))
    message = await child.answer()
    await child.do("say", json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": 1, "message": nasty}}))
    report = await ending
    assert [str(step.error).isprintable() for step in report.steps] == [True, True]
    assert all(record.getMessage().isprintable() for record in caplog.records)


@pytest.mark.parametrize("deep", [False, True])
async def test_what_no_hello_could_carry(stage: Stage, deep: bool) -> None:
    """Capabilities that a child could not be told are refused before anything is started; the error names them."""
    if deep:
        wide = EVERYTHING
        for _ in range(1000):
            wide = wide.attenuate()
    else:
        wide = CapabilitySet({f"s{i}": (MethodRule(MethodSelector.exact("x" * 100)),) for i in range(2000)})
    before = await stage.manager.list_children()
    with pytest.raises(InvalidArgument, match="capabilities"):
        await stage.manager.spawn_child(
            SpawnParams("true", control=True, capabilities=CapabilityBundle(CapabilityToken.generate(), wide))
        )
    assert await stage.manager.list_children() == before


async def test_control_what_a_hello_can_carry(stage: Stage) -> None:
    """Many, and often attenuated: it is told."""
    wide = CapabilitySet({f"s{i}": (MethodRule(MethodSelector.exact("x" * 100)),) for i in range(200)}).attenuate()
    child = await stage.child(capabilities=wide)
    assert len((await child.hello())["result"]["capabilities"]["allowed"]) == 200


@posix
@pytest.mark.parametrize("mode", MODES)
async def test_a_moment_without_descriptors_condemns_nobody(stage: Stage, mode: Any) -> None:
    """A right hello that comes then is heard later."""
    child = await stage.child(mode)
    token = await child.do("token")
    with no_descriptors():
        child.do_at_once("say", request("hello", "hello", token=token))
        for _ in range(20):
            await asyncio.sleep(0.001)
    assert "result" in await child.answer()
    assert await child.is_served()


async def test_many_connections_at_the_path(stage: Stage) -> None:
    """Of those that have not said hello a tree has a few at a time."""
    child = await stage.child("path")
    for _ in range(20):
        await child.do("connect")
    await until(lambda: stage.logged(child.pid, "too many connections"), "some are turned away")


@posix
def test_credentials_are_as_the_kernel_writes_them() -> None:
    """A number and a handle of the sender arrive with what it sent, where the kernel has handles."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask_for_senders(ours)
        theirs.send(b"x")
        _, ancillary, _, _ = ours.recvmsg(10, 1024)
        who = sender(ancillary)
        assert (who.pid, who.uid) == (os.getpid(), os.getuid())
        assert is_member(who, lambda pid: pid == os.getpid())
        assert is_member(who._replace(handle=None), lambda pid: pid == os.getpid())
        assert not is_member(who, lambda pid: False)
        assert not is_member(who._replace(pid=0), lambda pid: True)
        for fd in descriptors(ancillary)[1]:
            os.close(fd)


@posix
def test_a_process_that_has_ended_is_no_member() -> None:
    """A number alone says nothing: its process may have ended since, and another one have it."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    handle = os.pidfd_open(child)
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert not is_member(Sender(child, 0, handle), lambda pid: True)
        assert not is_member(Sender(child, 0, None), lambda pid: True)
    finally:
        os.close(handle)
        os.waitpid(child, 0)
    assert not is_member(Sender(child, 0, None), lambda pid: True)
