"""systemd's notification protocol: real daemons become ready, alive or hung; strangers are not heard."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from treeguard import ChildHandle, LocalProcessManager, ProcessEnded, ProcessId, SpawnParams, UnknownProcess
from treeguard.notify import NotifyStatus
from treeguard.types import Mechanism

from ..support.judge import children, descriptors, look
from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs
from ..support.witness import hear
from .test_shutdowns import diary

ROOT = Path(__file__).parents[2]
SHORT = 0.3

needs_systemd_notify = pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="systemd-notify is not here")
needs_dbus_daemon = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def notifier(
    manager: LocalProcessManager,
    *steps: str,
    out: int | str = "null",
    watchdog: float | None = None,
    max_extension: float = 300.0,
) -> ChildHandle:
    """A child that notifies as it is told."""
    return await manager.spawn_child(
        SpawnParams(
            sys.executable,
            ("-m", "tests.support.notifier", *steps),
            cwd=str(ROOT),
            stdout=out,  # type: ignore[arg-type]
            notify=True,
            watchdog=watchdog,
            max_extension=max_extension,
        )
    )


def status(manager: LocalProcessManager, child: ChildHandle) -> NotifyStatus:
    """What a child told last."""
    told = manager.notify_status(child.pid)
    assert told is not None
    return told


def address(child: ChildHandle) -> str:
    """Where a child's notifications go, as its environment says."""
    entries = Path(f"/proc/{child.os_pid}/environ").read_bytes().split(b"\0")
    return next(entry for entry in entries if entry.startswith(b"NOTIFY_SOCKET=")).partition(b"=")[2].decode()


#: A program that sends a datagram to an address.
SEND = (
    "import socket, sys;"
    "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), '\\0' + sys.argv[1][1:])"
)


def send_and_end(to: str, text: str, user: int) -> None:
    """Blocks the event loop, so that nothing is read before the sender has ended."""
    subprocess.run(["/usr/bin/python3", "-c", SEND, to, text], user=user, check=True)


@needs_systemd_notify
@pytest.mark.parametrize("options", ["", "--no-block"])
async def test_systemd_notify_makes_ready(mechanism: Mechanism, options: str) -> None:
    """An unmodified program that speaks the protocol is heard, waiting for being read or ending at once."""
    async with LocalProcessManager(containment=mechanism) as manager:
        script = f"systemd-notify {options} --ready --status='all is well'; exec sleep 1000"
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), notify=True))
        assert await manager.wait_ready(child.pid, PATIENCE)
        assert status(manager, child) == NotifyStatus(ready=True, status="all is well")


@needs_systemd_notify
async def test_a_silent_watchdog_is_killed(containing: Mechanism) -> None:
    """An unmodified program that is ready and gives signs of life lives; when they stop its tree is killed."""
    hung: list[tuple[ProcessId, list[str]]] = []
    with diary() as (lines, out):
        async with LocalProcessManager(
            containment=containing, on_hung=lambda pid: hung.append((pid, lines.lines))
        ) as manager:
            script = (
                "setsid sleep 1000 & systemd-notify --ready; n=0;"
                "while [ $n -lt 35 ]; do systemd-notify WATCHDOG=1; n=$((n + 1)); sleep 0.1; done;"
                "echo silent; wait"
            )
            params = SpawnParams("sh", ("-c", script), stdout=out, notify=True, watchdog=3.0)
            child = await manager.spawn_child(params)
            assert await manager.wait_ready(child.pid, PATIENCE)
            assert not status(manager, child).hung
            assert await manager.wait_for_root(child.pid, PATIENCE)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            # Not before it was silent, and once.
            assert hung == [(child.pid, ["silent"])]
            assert status(manager, child).hung
            assert look(child.os_pid) is None


@needs_systemd_notify
async def test_control_without_a_watchdog_silence_is_no_fault(mechanism: Mechanism) -> None:
    """The same silence, where no watchdog was asked for, or before the child is ready, ends nobody."""
    async with LocalProcessManager(containment=mechanism) as manager:
        silent = await manager.spawn_child(
            SpawnParams("sh", ("-c", "systemd-notify --ready; exec sleep 1000"), notify=True)
        )
        starting = await manager.spawn_child(SpawnParams("sleep", ("1000",), notify=True, watchdog=SHORT / 3))
        assert await manager.wait_ready(silent.pid, PATIENCE)
        assert not await manager.wait_for_exit(silent.pid, 2 * SHORT)
        assert not await manager.wait_for_exit(starting.pid, 0)


@needs_dbus_daemon
async def test_a_daemon_of_debian_becomes_ready(mechanism: Mechanism) -> None:
    """dbus-daemon, as it is, tells that it is ready when it is."""
    async with LocalProcessManager(containment=mechanism) as manager:
        name = f"unix:abstract=treeguard-test-{uuid.uuid4()}"
        args = ("--session", "--nofork", "--nopidfile", "--systemd-activation", f"--address={name}")
        child = await manager.spawn_child(SpawnParams("dbus-daemon", args, stderr="null", notify=True))
        assert await manager.wait_ready(child.pid, PATIENCE)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + name.removeprefix("unix:abstract="))


async def test_what_a_child_tells(mechanism: Mechanism) -> None:
    """Status, reload, stop and main process are known when the child has seen that they were read."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await notifier(manager, "text:STATUS=begins", "barrier", "say:begun", "stay", out=out)
            await lines.until("begun")
            assert status(manager, child) == NotifyStatus(status="begins")
            assert not await manager.wait_ready(child.pid, 0)
            other = await notifier(
                manager,
                "pid:READY=1\\nMAINPID=%d",
                "text:RELOADING=1\\nSTATUS=reads anew",
                "barrier",
                "say:reloading",
                "text:READY=1",
                "text:STOPPING=1\\nMAINPID=1",
                "barrier",
                "say:stopping",
                "stay",
                out=out,
            )
            assert await manager.wait_ready(other.pid, PATIENCE)
            await lines.until("stopping")
            assert status(manager, other) == NotifyStatus(
                ready=True, stopping=True, status="reads anew", main_pid=other.os_pid
            )


async def test_last_words_are_heard(mechanism: Mechanism) -> None:
    """What a tree told before it was empty is known after, although nobody had read it then."""
    before = set(children())
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await notifier(manager, "text:READY=1\\nSTATUS=bye")
        # The event loop stands still until the root, and its guard, have ended, so that their end is read first.
        wait_until(
            lambda: all(seen.state == "Z" for pid, seen in children().items() if pid not in before), "all have ended"
        )
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert status(manager, child) == NotifyStatus(ready=True, status="bye")
        assert await manager.wait_ready(child.pid, 0)


async def test_a_blocked_supervisor_kills_nobody(mechanism: Mechanism) -> None:
    """Signs of life that it had no time to read for several times the watchdog's are no silence."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await notifier(manager, "text:READY=1", "beat:0.05", out=out, watchdog=2.0)
            assert await manager.wait_ready(child.pid, PATIENCE)
            for beats in (60, 120):
                wait_until(lambda beats=beats: len(lines.lines) > beats, "it goes on beating")  # type: ignore[misc]
                assert not await manager.wait_for_exit(child.pid, SHORT)
            assert not status(manager, child).hung


async def test_calling_for_help(mechanism: Mechanism, caplog: pytest.LogCaptureFixture) -> None:
    """``WATCHDOG=trigger`` has the tree killed at once, however long its watchdog would wait."""
    hung: list[ProcessId] = []
    async with LocalProcessManager(containment=mechanism, on_hung=hung.append) as manager:
        child = await notifier(manager, "text:READY=1", "text:WATCHDOG=trigger", "stay", watchdog=3600)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert hung == [child.pid]
    words = f"the watchdog of {child.pid} reported that it hangs; its tree is killed"
    assert words in [record.getMessage() for record in caplog.records]


async def test_a_child_may_set_its_watchdog(mechanism: Mechanism) -> None:
    """``WATCHDOG_USEC`` is the time from then on; one that was not asked for stays off."""
    async with LocalProcessManager(containment=mechanism) as manager:
        quick = await notifier(manager, "text:READY=1\\nWATCHDOG_USEC=200000", "stay", watchdog=3600)
        none = await notifier(manager, "text:READY=1\\nWATCHDOG_USEC=200000", "stay")
        assert await manager.wait_ready(none.pid, PATIENCE)
        assert await manager.wait_for_exit(quick.pid, PATIENCE)
        assert status(manager, quick).hung
        assert not await manager.wait_for_exit(none.pid, 0)


async def test_a_child_may_ask_for_time(mechanism: Mechanism) -> None:
    """``EXTEND_TIMEOUT_USEC`` makes a waiting caller wait longer. Without it the wait ends in time."""
    async with LocalProcessManager(containment=mechanism) as manager:
        with diary() as (lines, out):
            slow = await notifier(manager, "text:EXTEND_TIMEOUT_USEC=60000000", "barrier", "say:asked", "stay", out=out)
            await lines.until("asked")
            waiting = asyncio.ensure_future(manager.wait_ready(slow.pid, SHORT))
            never = await notifier(manager, "stay")
            assert not await manager.wait_ready(never.pid, 2 * SHORT)
            assert not waiting.done()
            await manager.kill_tree(slow.pid)
            with pytest.raises(ProcessEnded):
                await waiting


async def test_more_time_has_an_end(mechanism: Mechanism) -> None:
    """However much is asked for, so much more is waited as the supervisor allows, counted from its own time."""
    year = 365 * 86400 * 10**6
    async with LocalProcessManager(containment=mechanism) as manager:
        with diary() as (lines, out):
            slow = await notifier(
                manager,
                f"text:EXTEND_TIMEOUT_USEC={year}",
                "barrier",
                "say:asked",
                "stay",
                out=out,
                max_extension=SHORT,
            )
            await lines.until("asked")
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert not await manager.wait_ready(slow.pid, SHORT)
            assert loop.time() - began > 1.5 * SHORT
        watched = await notifier(
            manager, f"text:READY=1\\nWATCHDOG_USEC={year}", "stay", watchdog=SHORT, max_extension=SHORT
        )
        assert await manager.wait_for_exit(watched.pid, PATIENCE)
        assert status(manager, watched).hung


async def test_times_are_the_main_processs_to_set(mechanism: Mechanism, caplog: pytest.LogCaptureFixture) -> None:
    """Another process of the tree can neither lengthen nor shorten them; all else it may say."""
    year = 365 * 86400 * 10**6
    async with LocalProcessManager(containment=mechanism) as manager:
        watched = await notifier(
            manager, "text:READY=1", f"other:WATCHDOG_USEC={year}\\nSTATUS=mine", "stay", watchdog=4 * SHORT
        )
        await until(lambda: status(manager, watched).status == "mine", "the other is heard")
        assert await manager.wait_for_exit(watched.pid, PATIENCE)
        assert status(manager, watched).hung
        assert [r for r in caplog.records if "not its main one" in r.getMessage()]
        with diary() as (lines, out):
            slow = await notifier(manager, f"other:EXTEND_TIMEOUT_USEC={year}", "barrier", "say:asked", "stay", out=out)
            await lines.until("asked")
            assert not await asyncio.wait_for(manager.wait_ready(slow.pid, SHORT), PATIENCE)


@pytest.mark.parametrize("what", ["datagrams", "descriptors", "long"])
async def test_a_flood_of_strangers_kills_no_child(mechanism: Mechanism, what: str) -> None:
    """A child that gives signs of life lives, whatever other processes send, those of another user included."""
    hung: list[ProcessId] = []
    async with LocalProcessManager(containment=mechanism, on_hung=hung.append) as manager:
        with diary() as (lines, out):
            child = await notifier(manager, "text:READY=1", "beat:0.05", out=out, watchdog=1.0)
            assert await manager.wait_ready(child.pid, PATIENCE)
            stranger = await manager.spawn_child(
                SpawnParams(
                    sys.executable,
                    ("-m", "benchmarks.stranger", what, address(child), "60"),
                    cwd=str(ROOT),
                    stdout=out,
                )
            )
            await lines.until("floods")
            assert not await manager.wait_for_exit(child.pid, 3)
            assert not hung
            await manager.kill_tree(stranger.pid)
            assert await manager.wait_for_exit(stranger.pid, PATIENCE)
        # It goes on to be watched.
        os.kill(child.os_pid, signal.SIGSTOP)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert hung == [child.pid]


async def test_who_can_be_waited_for(mechanism: Mechanism) -> None:
    """A child that has ended, does not notify or never existed is an error. A wait for one that ends meanwhile ends."""
    async with LocalProcessManager(containment=mechanism) as manager:
        with pytest.raises(UnknownProcess):
            await manager.wait_ready(ProcessId(uuid.uuid4()))
        with pytest.raises(UnknownProcess):
            manager.notify_status(ProcessId(uuid.uuid4()))
        mute = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        with pytest.raises(ValueError, match="notify"):
            await manager.wait_ready(mute.pid)
        assert manager.notify_status(mute.pid) is None
        brief = await manager.spawn_child(SpawnParams("true", notify=True))
        with pytest.raises(ProcessEnded):
            await manager.wait_ready(brief.pid, PATIENCE)
        with pytest.raises(ProcessEnded):
            await manager.wait_ready(brief.pid, PATIENCE)
        with pytest.raises(ValueError, match=r"^timeout must"):
            await manager.wait_ready((await notifier(manager, "stay")).pid, -1)


async def test_descriptors_are_not_kept(mechanism: Mechanism, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is sent to be stored is closed, and that is said once."""
    file = tmp_path / "file"
    file.touch()
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await notifier(manager, *[f"store:{file}"] * 3, "barrier", "say:sent", "stay", out=out)
            await lines.until("sent")
            await until(lambda: str(file) not in descriptors().values(), "it is closed")
            said = [record for record in caplog.records if "to be stored" in record.getMessage()]
            assert [vars(record)["process_id"] for record in said] == [str(child.pid)]


async def test_noise_hinders_nobody(mechanism: Mechanism) -> None:
    """Any bytes, any length, any number of descriptors: the child is heard after them, and nothing is left of them."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await notifier(manager, "noise:300", "text:READY=1", "stay")
        assert await manager.wait_ready(child.pid, PATIENCE)
        assert status(manager, child).status is None


async def test_strangers_are_not_heard(mechanism: Mechanism, caplog: pytest.LogCaptureFixture) -> None:
    """A living process outside of the tree, one of another tree too, is refused; that is logged, once."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await notifier(manager, "say:up", "stay", out=out)
            await lines.until("up")
            name = address(child)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
                for text in (b"READY=1", b"STATUS=forged\nWATCHDOG=trigger", b"\xff" * 4000):
                    mine.sendto(text, "\0" + name[1:])
            script = f"{SEND}; import signal; print('sent', flush=True); signal.pause()"
            other = await manager.spawn_child(
                SpawnParams(sys.executable, ("-c", script, name, "READY=1"), stdout=out, notify=True)
            )
            await lines.until("sent")
            assert not await manager.wait_ready(child.pid, SHORT)
            assert status(manager, child) == NotifyStatus()
            assert status(manager, other) == NotifyStatus()
            said = [record for record in caplog.records if "outside of its tree" in record.getMessage()]
            assert [(vars(record)["process_id"], record.levelno) for record in said] == [
                (str(child.pid), logging.WARNING)
            ]


async def test_control_without_the_check_strangers_are_heard(
    mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the same datagram from the same stranger makes the child ready if the sender is not checked."""
    monkeypatch.setattr("treeguard.notify.listener.is_member", lambda who, belongs: True)
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await notifier(manager, "say:up", "stay", out=out)
            await lines.until("up")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
                mine.sendto(b"READY=1", "\0" + address(child)[1:])
            assert await manager.wait_ready(child.pid, PATIENCE)


@needs_root
async def test_the_dead_are_heard_only_of_the_same_user(mechanism: Mechanism) -> None:
    """Of one that has ended nobody knows whose it was. Another user's is refused; what this user's says is heard."""
    async with LocalProcessManager(containment=mechanism) as manager:
        with diary() as (lines, out):
            child = await notifier(manager, "say:up", "stay", out=out)
            await lines.until("up")
        name = address(child)
        send_and_end(name, "STATUS=forged", user=65534)
        assert not await manager.wait_ready(child.pid, SHORT)
        assert status(manager, child) == NotifyStatus()
        send_and_end(name, "STATUS=of the same user", user=os.geteuid())
        await until(lambda: status(manager, child).status == "of the same user", "it is heard")


async def test_the_environment(mechanism: Mechanism, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has its own socket and its own watchdog's time, nothing of its supervisor's, and all else as usual."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "the supervisor's")
    monkeypatch.setenv("OTHER", "inherited")
    async with LocalProcessManager(containment=mechanism) as manager:
        plain = await hear(manager, programs)
        assert not plain.env.keys() & {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
        added = await hear(manager, programs, env={"NOTIFY_SOCKET": "given"})
        assert added.env["NOTIFY_SOCKET"] == "given"
        assert not added.env.keys() & {"WATCHDOG_PID", "WATCHDOG_USEC"}
        told = await hear(manager, programs, notify=True, env={"MORE": "added"})
        assert told.env["NOTIFY_SOCKET"].startswith("@treeguard/")
        assert not told.env.keys() & {"WATCHDOG_PID", "WATCHDOG_USEC"}
        assert (told.env["OTHER"], told.env["MORE"]) == ("inherited", "added")
        watched = await hear(manager, programs, notify=True, watchdog=1.5)
        assert watched.env["WATCHDOG_USEC"] == "1500000"
        assert watched.env["NOTIFY_SOCKET"] != told.env["NOTIFY_SOCKET"]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"watchdog": 1}, ValueError),
        ({"notify": True, "watchdog": 0}, ValueError),
        ({"notify": True, "watchdog": -1}, ValueError),
        ({"notify": True, "watchdog": float("inf")}, ValueError),
        ({"notify": True, "watchdog": float("nan")}, ValueError),
        ({"notify": True, "watchdog": "1"}, TypeError),
        ({"notify": 1}, TypeError),
        ({"max_extension": -1}, ValueError),
        ({"max_extension": float("inf")}, ValueError),
        ({"max_extension": float("nan")}, ValueError),
        ({"max_extension": None}, TypeError),
        ({"max_extension": True}, TypeError),
    ],
)
def test_bad_parameters(params: dict[str, object], error: type[Exception]) -> None:
    """What cannot be kept is refused by name."""
    with pytest.raises(error, match=r"^(watchdog|notify|max_extension) "):
        SpawnParams("true", **params)  # type: ignore[arg-type]
