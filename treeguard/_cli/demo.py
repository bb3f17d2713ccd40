"""``treeguard demo``: what treeguard does, on real processes. Each line is checked by looking at the system."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from .._core.containment.guarantees import MECHANISMS, Containment
from ..errors import ContainmentWarning, TreeguardError
from ..local import LocalProcessManager
from ..shutdown.driver import graceful_shutdown_tree
from ..shutdown.ladder import ShutdownTreeRequest, ShutdownTreeResponse
from ..types import ProcessId
from . import marked_processes, sample_supervisor
from .marked_processes import ProcessInfo, StagingError
from .output import Page, complain, milliseconds

__all__ = ["configure", "main"]

_REASON = "the demo is over"
# Long timeouts where an answer is expected, for a busy host. Short ones where the demo only waits.
_ACK_TIMEOUT = 5.0
_NO_ACK_TIMEOUT = 0.2
_EXIT_TIMEOUT = 5.0
_FAULT_PATIENCE = 5.0
_DOUBT = 0.5
_WIDTH = 72


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``treeguard demo``."""
    parser.description = "Shows on real processes what treeguard does. Exits with 1 if any of it turns out to be false."
    parser.add_argument(
        "--containment", choices=("auto", *MECHANISMS), default="auto", help="the mechanism to show (default: auto)"
    )


def main(options: argparse.Namespace) -> int:
    """Runs the demo. Returns 0 if every line of it is true."""
    # The demo itself shows what is weaker with this containment.
    warnings.simplefilter("ignore", ContainmentWarning)
    logging.getLogger("treeguard").addHandler(logging.NullHandler())
    try:
        containment = LocalProcessManager(containment=options.containment).containment
    except TreeguardError as e:
        return _refused(str(e))
    problem = marked_processes.blindness()
    if problem is not None:
        return _refused(problem)
    story = Story(Page(), containment)
    story.page.print(
        f"treeguard demo · {containment.mechanism} · every line is checked by looking at {marked_processes.WHERE}"
    )
    begun = time.perf_counter()
    asyncio.run(_tell(story))
    return story.conclude(time.perf_counter() - begun)


def _refused(problem: str) -> int:
    complain(f"treeguard demo: {problem}")
    return 1


class Story:
    """A story told in lines that are true or false."""

    def __init__(self, page: Page, containment: Containment) -> None:
        self.page = page
        self.mechanism = containment.mechanism
        # If no process of ours reaps them, dead processes stay with init for a while. That is no escape.
        self.unreaped = containment.reaps_orphans
        self.fault_patience = _FAULT_PATIENCE if containment.outlives_supervisor else _DOUBT
        self._lines: list[bool] = []

    def title(self, text: str) -> None:
        """Prints a title."""
        self.page.print()
        self.page.print(self.page.paint(text, "bold"))

    def show(self, root: ProcessInfo, others: Sequence[ProcessInfo]) -> None:
        """Prints a root, its children, and the processes that no longer have their original parent."""
        children = [seen for seen in others if seen.parent == root.pid]
        self.page.print(f"  {root.name} {root.pid}")
        for seen in children:
            self.page.print(f"  {'└─' if seen is children[-1] else '├─'} {seen.name} {seen.pid}")
        for seen in others:
            if seen not in children:
                self.page.print(f"  {seen.name} {seen.pid}, now a child of {seen.parent}")

    def line(self, true: bool, text: str, seconds: float) -> None:
        """Prints a line with its mark, and how long it took."""
        self._lines.append(true)
        took = self.page.paint(f"{milliseconds(seconds):>9}", "dim")
        self.page.print(f"  {self.page.mark(true)} {text:<{_WIDTH}} {took}")

    def conclude(self, seconds: float) -> int:
        """Prints the verdict. Returns the exit status for it."""
        true, all_of_them = sum(self._lines), len(self._lines)
        good = true == all_of_them
        verdict = "nothing outlived its owner" if good else "not every promise was kept"
        self.page.print()
        self.page.print(f"{self.page.mark(good)} {true} of {all_of_them} lines are true: {verdict} ({seconds:.1f} s)")
        return 0 if good else 1


class Control:
    """A control connection over two pipes: the supervisor's ends, and the child's ends as :attr:`theirs`.

    A third pipe carries a note that the child leaves.
    """

    def __init__(self) -> None:
        asked, self._ask = os.pipe()
        self._answer, answer = os.pipe()
        self._note, note = os.pipe()
        self.theirs: tuple[int, ...] = (asked, answer, note)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.spawned()
        for fd in (self._ask, self._answer, self._note):
            os.close(fd)

    def spawned(self) -> None:
        """Closes the child's ends after the spawn, so that the answers end when the child ends."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = ()

    def note(self) -> str:
        """The note that the child has left. Call it when the tree is empty, so that no process can write any more."""
        return os.read(self._note, 4096).decode(errors="replace")

    async def ask(self) -> ShutdownTreeResponse:
        """Asks for a shutdown and waits for the answer."""
        os.write(self._ask, msgspec.json.encode(ShutdownTreeRequest(_REASON)))
        answer = await asyncio.get_running_loop().run_in_executor(None, os.read, self._answer, 4096)
        return msgspec.json.decode(answer, type=ShutdownTreeResponse)


async def _tell(story: Story) -> None:
    async with LocalProcessManager(containment=story.mechanism) as manager:
        await _scene(story, _renderer(story, manager))
        await _scene(story, _cooperative(story, manager))
        await _scene(story, _stubborn(story, manager))
    await _scene(story, _supervisor(story))


async def _scene(story: Story, scene: Awaitable[None]) -> None:
    begun = time.perf_counter()
    try:
        await scene
        # A process that has exited by itself was not ended by treeguard.
        if _since(begun) > sample_supervisor.LIFE:
            raise StagingError("it took so long that the processes may have ended by themselves")
    except (StagingError, TreeguardError, OSError, RuntimeError) as e:
        # RuntimeError is raised when no thread is available.
        story.line(False, str(e), time.perf_counter() - begun)


async def _renderer(story: Story, manager: LocalProcessManager) -> None:
    story.title("A renderer, its workers, and a daemon that slipped away")
    with marked_processes.clean("demo") as marker:
        begun = time.perf_counter()
        parts = ("worker", "worker", "daemon")
        child = await sample_supervisor.perform(manager, marker, "renderer", *parts, kind="renderer")
        members = await marked_processes.cast(marker, ("renderer", *parts), sample_supervisor.watched(child))
        named = {seen.name: seen for seen in members}
        story.show(named["renderer"], [seen for seen in members if seen.name != "renderer"])
        story.line(
            marked_processes.has_escaped(named["daemon"], [seen for seen in members if seen.name != "daemon"]),
            f"4 alive; the daemon shares no {sample_supervisor.SHED} with them",
            _since(begun),
        )
        begun = time.perf_counter()
        await manager.kill_tree(child.pid)
        await manager.wait_for_exit(child.pid, _EXIT_TIMEOUT)
        took = _since(begun)
        left = marked_processes.left(marker, members, unreaped=story.unreaped)
        story.line(not left, f"killed: {_told(left, members)}", took)


async def _cooperative(story: Story, manager: LocalProcessManager) -> None:
    story.title("A child that is asked to leave, and cooperates")
    with marked_processes.clean("demo") as marker, Control() as control:
        passed = control.theirs
        habit = f"cooperative={','.join(map(str, passed))}"
        child = await sample_supervisor.perform(
            manager, marker, "storage", "worker", habit, kind="storage", pass_fds=passed
        )
        control.spawned()
        members = await marked_processes.cast(marker, ("storage", "worker"), sample_supervisor.watched(child))
        begun = time.perf_counter()
        outcome = await _shut_down(manager, child.pid, control.ask, _ACK_TIMEOUT)
        took = _since(begun)
        left = marked_processes.left(marker, members, unreaped=story.unreaped)
        written = "" if left else control.note()
        story.line(written == f"saved: {_REASON}", f"wrote its note before it left: {written!r}", took)
        story.line(not left and outcome == (True, True, False), f"{_words(outcome)}: {_told(left, members)}", took)


async def _stubborn(story: Story, manager: LocalProcessManager) -> None:
    story.title(f"A child that ignores {sample_supervisor.GENTLE}, and never answers")
    with marked_processes.clean("demo") as marker, Control() as control:
        parts = ("deaf", "worker")
        child = await sample_supervisor.perform(
            manager, marker, "network", *parts, kind="network", pass_fds=control.theirs
        )
        control.spawned()
        members = await marked_processes.cast(marker, ("network", "worker"), sample_supervisor.watched(child))

        async def ask() -> ShutdownTreeResponse:
            await manager.terminate_tree(child.pid, force=False)
            return await control.ask()

        begun = time.perf_counter()
        outcome = await _shut_down(manager, child.pid, ask, _NO_ACK_TIMEOUT)
        took = _since(begun)
        left = marked_processes.left(marker, members, unreaped=story.unreaped)
        story.line(not left and outcome == (False, True, True), f"{_words(outcome)}: {_told(left, members)}", took)


async def _supervisor(story: Story) -> None:
    story.title(f"A supervisor that gets {sample_supervisor.FORCE}, with a tree full of escapees")
    parts = sample_supervisor.ESCAPEES
    with (
        marked_processes.clean("demo") as marker,
        sample_supervisor.Supervisor(story.mechanism, marker, "renderer", *parts) as supervisor,
    ):
        begun = time.perf_counter()
        members = await marked_processes.cast(marker, ("renderer", *parts), supervisor.ended)
        story.line(True, f"{len(members)} alive: {', '.join(seen.name for seen in members)}", _since(begun))
        begun = time.perf_counter()
        supervisor.kill()
        await marked_processes.gone(members, patience=story.fault_patience, unreaped=story.unreaped)
        took = _since(begun)
        left = marked_processes.left(marker, members, unreaped=story.unreaped)
        supervisor.check_killed()
        story.line(not left, f"supervisor killed: {_told(left, members)}", took)


async def _shut_down(
    manager: LocalProcessManager,
    pid: ProcessId,
    ask: Callable[[], Awaitable[ShutdownTreeResponse]],
    ack_timeout: float,
) -> tuple[bool, bool, bool]:
    outcome = await graceful_shutdown_tree(manager, pid, ask, ack_timeout, _EXIT_TIMEOUT)
    return outcome.acknowledged, outcome.exited, outcome.forced


def _words(outcome: tuple[bool, bool, bool]) -> str:
    words = zip(outcome, ("acknowledged", "exited", "forced"), strict=True)
    return ", ".join(word if yes else f"not {word}" for yes, word in words)


def _told(left: Sequence[ProcessInfo], members: Sequence[ProcessInfo]) -> str:
    if not left:
        return f"nothing is left of {len(members)}"
    return f"{len(left)} of {len(members)} left: {', '.join(seen.name for seen in left)}"


def _since(begun: float) -> float:
    return time.perf_counter() - begun
