"""Trees that are released: they outlive their supervisor on purpose, and are taken over by their token."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import struct
from pathlib import Path

import msgspec
import pytest

from treeguard import PIPE, LocalProcessManager, ProcessEnded, SpawnParams, Tree
from treeguard._cli.guards import find_guards
from treeguard._core.cgroup.leftovers import sweep
from treeguard._core.native_release import ORDER, TAKE
from treeguard.released import ReleasedTree, ReleaseRefused, TakeOverRefused, TreeReleased
from treeguard.subprocess import Popen
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.blocking import own_managers
from ..support.judge import descriptors, look, put_down
from ..support.mechanisms import CONTAINING
from ..support.patience import until, wait_until
from ..support.releaser import Supervisor

__all__ = ["own_managers"]

every_end = pytest.mark.parametrize("end", ["SIGKILL", "exit", "close"])
escapee = pytest.mark.parametrize("adversary", ["session"], indirect=True)


def left_of(token: ReleasedTree) -> list[str]:
    """What is left of a released tree itself: guard, address, cgroup."""
    left = [f"guard {token.guard}"] if is_guard(token) else []
    left += ["address"] if token.name in Path("/proc/net/unix").read_text("utf-8", "replace") else []
    if token.cgroup is not None:
        left += [str(path) for path in (Path(token.cgroup), Path(token.cgroup).parent) if path.exists()]
    return left


def is_guard(token: ReleasedTree) -> bool:
    """Whether the guard lives."""
    seen = look(token.guard)
    return seen is not None and seen.started == token.started and seen.state != "Z"


def command_line(pid: int) -> list[str]:
    """What ``ps`` shows."""
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8").rstrip("\0").split("\0")


def wait_over(adversary: Adversary, token: ReleasedTree, adoption: Adoption) -> None:
    """Waits until nothing is left at all."""
    adversary.wait_gone()
    wait_until(lambda: not is_guard(token), "the guard has ended")
    adoption.reap_all()
    assert left_of(token) == []


async def spawned(manager: LocalProcessManager, adversary: Adversary) -> Tree:
    """The adversary as a tree."""
    tree = manager.tree((await manager.spawn_child(adversary.params())).pid)
    await adversary.ready()
    return tree


@every_end
@escapee
def test_released_tree_outlives_its_supervisor(
    containing: Mechanism, adversary: Adversary, adoption: Adoption, end: str
) -> None:
    """However its supervisor ends, the tree lives on under its guard, which ``ps`` shows as released."""
    with Supervisor(containing, adversary=adversary, release=True, end=end) as supervisor:
        token = supervisor.token
    assert is_guard(token)
    assert adversary.traces
    shown, name = command_line(token.guard)
    assert shown.split()[:2] == ["treeguard-guard", "released"]
    assert name == token.name
    assert [(each.owner, each.state) for each in find_guards() if each.pid == token.guard] == [(0, "released")]
    # It still has the tree whole: another supervisor can end it.
    with Supervisor(containing, token=token, end="close") as supervisor:
        assert supervisor.told["root"] == token.root
        wait_until(lambda: command_line(token.guard)[1:] == [f"owner={supervisor.pid}"], "the guard names its owner")
        (seen,) = (each for each in find_guards() if each.pid == token.guard)
        assert (seen.owner, seen.state) == (supervisor.pid, "supervised")
    wait_over(adversary, token, adoption)


@every_end
@escapee
def test_tree_that_is_not_released_does_not(
    containing: Mechanism, adversary: Adversary, adoption: Adoption, end: str
) -> None:
    """Control."""
    with Supervisor(containing, adversary=adversary, end=end):
        pass
    adversary.wait_gone()
    adoption.reap_all()


@every_end
@escapee
def test_tree_that_was_taken_over_ends_with_its_supervisor(
    containing: Mechanism, adversary: Adversary, adoption: Adoption, end: str
) -> None:
    """All guarantees hold again."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    with Supervisor(containing, token=token, end=end):
        assert adversary.traces
    wait_over(adversary, token, adoption)


@escapee
def test_tree_is_released_and_taken_over_again_and_again(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Each release gives a token of its own."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    for _ in range(3):
        with Supervisor(containing, token=token, release=True, end="close") as supervisor:
            assert supervisor.token.name != token.name
            token = supervisor.token
        assert adversary.traces
    with Supervisor(containing, token=token):
        pass
    wait_over(adversary, token, adoption)


@escapee
async def test_supervisor_that_lives_on_reaps_the_guard(containing: Mechanism, adversary: Adversary) -> None:
    """The guard stays its child. When the tree ends, by itself, nothing is left of it, no zombie either."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await spawned(manager, adversary)
        token = await tree.release()
        assert manager._trees.records == {}
    assert adversary.traces
    put_down(adversary.marker)
    await until(lambda: not adversary.traces and look(token.guard) is None, "all has ended, and the guard is reaped")
    await until(lambda: left_of(token) == [], "nothing is left")


@escapee
async def test_released_tree_answers_so(
    containing: Mechanism, adversary: Adversary, caplog: pytest.LogCaptureFixture
) -> None:
    """Its verbs raise what says so, and so do waits that have begun before; its block lets it go. The log tells."""
    caplog.set_level(logging.WARNING)
    async with LocalProcessManager(containment=containing) as manager:
        tree = await spawned(manager, adversary)
        waiters = [asyncio.ensure_future(wait) for wait in (tree.wait(), tree.wait_empty())]
        await asyncio.sleep(0)
        async with tree:
            token = await tree.release()
        for waiter in waiters:
            with pytest.raises(TreeReleased, match=token.name):
                await waiter
        for verb in (tree.kill, tree.terminate, lambda: tree.send_signal(signal.SIGTERM)):
            with pytest.raises(TreeReleased):
                verb()
        with pytest.raises(TreeReleased):
            await manager.kill_tree(tree.id)
        with pytest.raises(TreeReleased):
            await manager.wait_for_exit(tree.id)
        with pytest.raises(TreeReleased):
            await tree.members()
        with pytest.raises(TreeReleased):
            await tree.release()
        assert repr(tree).endswith("released>")
        (record,) = caplog.records
        assert token.name in record.message
        assert record.process_id == str(tree.id)  # type: ignore[attr-defined]
        assert adversary.traces
        await (await manager.take_over(token)).shutdown(0)
    await until(lambda: not adversary.traces, "it has ended")


async def test_what_cannot_be_released_is_refused_before_anything(containing: Mechanism) -> None:
    """A tree without a guard, one whose streams this process holds, and one that has children."""
    async with LocalProcessManager(containment="process_group") as manager:
        tree = await manager.spawn("sleep", "60")
        with pytest.raises(ReleaseRefused, match="no guard"):
            await tree.release()
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn("sleep", "60", stdout=PIPE)
        with pytest.raises(ReleaseRefused, match="pipes"):
            await tree.release()
        tree = await manager.spawn("sleep", "60", pty=True)
        with pytest.raises(ReleaseRefused, match="terminal"):
            await tree.release()
        tree = await manager.spawn("sleep", "60")
        child = await manager.spawn("sleep", "60", parent=tree.id)
        with pytest.raises(ReleaseRefused, match="children"):
            await tree.release()
        child.kill()
        tree.kill()
        with pytest.raises(ProcessEnded):
            await tree.release()
        assert await tree.wait_empty()


async def test_guard_that_can_open_nothing_says_so(containing: Mechanism) -> None:
    """Another process of the user has lowered its limit on descriptors: the tree is its supervisor's as before."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn("sleep", "60")
        guard = manager._running.engine.leader_pid(tree._record.tag)  # type: ignore[union-attr]
        resource.prlimit(guard, resource.RLIMIT_NOFILE, (0, 0))
        with pytest.raises(ReleaseRefused, match="Too many open files"):
            await tree.release()
        assert await tree.members() == (tree.pid,)
        tree.kill()
        assert await tree.wait_empty(20)
        assert tree.returncode == -signal.SIGKILL


@escapee
async def test_stopped_guard_goes_on_to_answer(containing: Mechanism, adversary: Adversary) -> None:
    """Any process of the user may have stopped it."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await spawned(manager, adversary)
        os.kill(manager._running.engine.leader_pid(tree._record.tag), signal.SIGSTOP)  # type: ignore[union-attr]
        token = await tree.release()
        os.kill(token.guard, signal.SIGSTOP)
        await (await manager.take_over(token)).shutdown(0)
    assert not adversary.traces


@escapee
@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_release_is_none_or_whole(containing: Mechanism, adversary: Adversary, turns: int) -> None:
    """Whenever it is cancelled, either there is a token, or the tree is this manager's as before."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await spawned(manager, adversary)
        task = asyncio.ensure_future(tree.release())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            token = await task
        except asyncio.CancelledError:
            assert await tree.members()
            # The manager's end is the proof.
        else:
            await manager.take_over(token)
    assert not adversary.traces


@escapee
@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_take_over_is_none_or_whole(
    containing: Mechanism, adversary: Adversary, turns: int, adoption: Adoption
) -> None:
    """Whenever it is cancelled, the tree is released as before, or this manager's."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    async with LocalProcessManager(containment=containing) as manager:
        task = asyncio.ensure_future(manager.take_over(token))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            tree = await task
        except asyncio.CancelledError:
            assert manager._trees.records == {}
            assert adversary.traces
            tree = await manager.take_over(token)
        assert tree.pid == token.root
    assert not adversary.traces
    wait_over(adversary, token, adoption)


@escapee
async def test_one_of_two_takers_wins(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """The others are told so."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    async with contextlib.AsyncExitStack() as stack:
        managers = [await stack.enter_async_context(LocalProcessManager(containment=containing)) for _ in range(4)]
        won = await asyncio.gather(*(manager.take_over(token) for manager in managers), return_exceptions=True)
        refused = [result for result in won if isinstance(result, TakeOverRefused)]
        (tree,) = (result for result in won if isinstance(result, Tree))
        assert len(refused) == len(managers) - 1
        assert all("another process" in str(error) for error in refused)
        assert await tree.members()
    wait_over(adversary, token, adoption)


@escapee
async def test_token_of_something_else_is_refused(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Of another boot, pid namespace, user, mechanism, or process of that number; and the error says which."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    other = msgspec.structs.replace
    name = f"treeguard-released.1.{token.guard}.{token.started + 1}.0"
    wrong = {
        "booted": other(token, boot_id="0" * 36),
        "pid namespace": other(token, pid_namespace=1),
        "user": other(token, user=token.user + 1),
        "mechanism|containment": other(token, mechanism="process_group"),
        "contradict": other(token, guard=os.getpid()),
        "nameless cannot be taken over: its parts contradict": other(token, name="nameless"),
        "listens": other(token, name=f"{token.name}0"),
    }
    async with LocalProcessManager(containment=containing) as manager:
        for words, each in wrong.items():
            with pytest.raises(TakeOverRefused, match=words):
                await manager.take_over(each)
        with pytest.raises(ProcessEnded, match="another one"):
            await manager.take_over(other(token, started=token.started + 1, name=name))
        with pytest.raises(TypeError):
            await manager.take_over("token")  # type: ignore[arg-type]
        assert manager._trees.records == {}
        assert adversary.traces
        await (await manager.take_over(token)).shutdown(0)
        await until(lambda: not is_guard(token), "the guard has ended")
        with pytest.raises(ProcessEnded):
            await manager.take_over(token)
    wait_over(adversary, token, adoption)


@escapee
async def test_impostor_is_refused(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """A process that listens at an address that looks like the guard's is not taken for it."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    false = msgspec.structs.replace(token, name=f"{token.name}0", cgroup=None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as impostor:
        impostor.bind(f"\0{false.name}")
        impostor.listen()
        async with LocalProcessManager(containment=containing) as manager:
            with pytest.raises(TakeOverRefused, match=f"process {os.getpid()}"):
                await manager.take_over(false)
            await manager.take_over(token)
    wait_over(adversary, token, adoption)


def _asked(token: ReleasedTree, message: bytes) -> bytes:
    """What a guard says to a message; nothing if it hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(20)
        connection.connect(f"\0{token.name}")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(message)
            return connection.recv(4096)
        return b""


@escapee
@pytest.mark.skipif(os.geteuid() != 0, reason="takes the right to become another user")
def test_another_user_is_refused_by_the_guard(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """Also one that knows the address and says the right words, which the own user's are seen to be."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    take = struct.pack(ORDER, TAKE, 0)
    pid = os.fork()
    if pid == 0:
        answer = b"?"
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            answer = _asked(token, take)
        finally:
            os._exit(len(answer) and 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert _asked(token, b"what is not an order") == b""
    assert adversary.traces
    assert _asked(token, take)
    with Supervisor(containing, token=token):
        pass
    wait_over(adversary, token, adoption)


@escapee
def test_guard_that_is_killed_takes_the_root_along(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Nobody is there to end the rest, until another manager sweeps the cgroup."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    os.kill(token.guard, signal.SIGKILL)
    wait_until(lambda: (seen := look(token.root)) is None or seen.state == "Z", "the root is gone")
    assert adversary.traces
    if token.cgroup is not None:
        sweep(Path(token.cgroup).parent.parent)
        wait_over(adversary, token, adoption)


@escapee
@pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup for the tests")
def test_sweep_of_leftovers_leaves_released_trees_alone(adversary: Adversary, adoption: Adoption) -> None:
    """The owner of its cgroup is dead. What else is in it is swept."""
    with Supervisor("cgroup", adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    assert token.cgroup is not None
    stranger = Path(token.cgroup).with_name("999")
    stranger.mkdir()
    sweep(Path(token.cgroup).parent.parent)
    assert adversary.traces
    assert Path(token.cgroup).exists()
    assert not stranger.exists()
    # Nor is the next supervisor the owner.
    with Supervisor("cgroup", token=token):
        sweep(Path(token.cgroup).parent.parent)
        assert adversary.traces
    wait_over(adversary, token, adoption)


@escapee
async def test_guard_of_a_tree_that_was_taken_over_may_be_killed(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """What is found of the tree is ended as of any other: the mark and the cgroup are in the token."""
    with Supervisor(containing, adversary=adversary, release=True) as supervisor:
        token = supervisor.token
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.take_over(token)
        os.kill(token.guard, signal.SIGKILL)
        await until(lambda: not adversary.traces, "it is ended without its guard")
        await until(lambda: tree._record.left, "the search is over")


async def test_root_that_has_ended_is_told_to_the_next_supervisor(containing: Mechanism) -> None:
    """Its exit code too, since its guard knows it."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn("sh", "-c", "setsid sleep 60 & exit 7")
        assert await tree.wait() == 7
        token = await tree.release()
        taken = await manager.take_over(token)
        assert await taken.wait() == 7
        assert taken.pid == token.root
        assert len(await taken.members()) == 1


async def test_manager_that_promises_more_takes_nothing_over(containing: Mechanism) -> None:
    """The guard was started without a lease, and would not keep one."""
    async with LocalProcessManager(containment=containing) as manager:
        token = await (await manager.spawn("sleep", "60")).release()
        async with LocalProcessManager(containment=containing, lease=5.0) as other:
            with pytest.raises(TakeOverRefused, match="lease"):
                await other.take_over(token)
        await manager.take_over(token)


@pytest.mark.parametrize("containment", CONTAINING)
def test_popen_is_released(containment: Mechanism) -> None:
    """Without an event loop, the same."""
    with Popen(["sleep", "60"], containment=containment) as process:
        token = process.release()
        with pytest.raises(TreeReleased):
            process.wait()
        with pytest.raises(TreeReleased):
            process.poll()
    assert is_guard(token)
    with Supervisor(containment, token=token):
        pass
    wait_until(lambda: look(token.guard) is None, "the guard has ended, and is reaped")
    with Popen(["sleep", "60"], containment=containment, stdout=PIPE) as process:
        with pytest.raises(ReleaseRefused, match="pipes"):
            process.release()
        process.kill()


async def test_token_travels() -> None:
    """As a word, and as JSON and MessagePack."""
    token = ReleasedTree(1, 2, "boot", 3, 4, "treeguard-released.1.1.2.0", "subreaper", 5)
    assert ReleasedTree.parse(f"{token}\n") == token
    assert " " not in str(token)
    assert msgspec.json.decode(msgspec.json.encode(token), type=ReleasedTree) == token
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(token), type=ReleasedTree) == token
    for text in ("", str(token)[:-3], "treeguard-released:?", "treeguard-released:e30", SpawnParams):
        with pytest.raises((ValueError, AttributeError)):
            ReleasedTree.parse(text)  # type: ignore[arg-type]


def _lifeline() -> socket.socket:
    """A copy of this process's end of its only lifeline."""
    for fd, what in descriptors().items():
        if what.startswith("socket:"):
            copy = socket.socket(fileno=os.dup(fd))
            if copy.type == socket.SOCK_SEQPACKET:
                return copy
            copy.close()
    raise AssertionError("there is no lifeline")


@escapee
async def test_only_the_supervisor_can_release(containing: Mechanism, adversary: Adversary) -> None:
    """A process that has got hold of the lifeline cannot let a tree outlive its supervisor. The supervisor can."""
    name = f"treeguard-released.test.{os.getpid()}"
    message = struct.pack("=ii80s", 2, 0, name.encode())

    def order_twice() -> None:
        for _ in range(2):
            lifeline.send(message)

    def listens() -> bool:
        return name in Path("/proc/net/unix").read_text("utf-8", "replace")

    async with LocalProcessManager(containment=containing) as manager:
        tree = await spawned(manager, adversary)
        with _lifeline() as lifeline:
            pid = os.fork()
            if pid == 0:
                try:
                    order_twice()
                finally:
                    os._exit(0)
            await asyncio.to_thread(os.waitpid, pid, 0)
            # The guard reads in order: it has dealt with them when it answers to this.
            tree.send_signal(signal.SIGSTOP)
            await until(lambda: tree._record.stopped, "the guard has told of the stop")
            assert not listens()
            order_twice()
            await until(listens, "control: the supervisor's orders are obeyed")
            lifeline.send(struct.pack(ORDER, 3, 0))
            await until(lambda: not listens(), "they are taken back")
    assert not adversary.traces
