"""The ladder of a shutdown: steps from asking to killing, and a machine that climbs it, without I/O and clocks.

:func:`advance` is the machine: from where a shutdown stands, an answer and the time to where it stands then. What it
learns on its way is the :class:`ShutdownReport`. :mod:`treeguard.shutdown.driver` drives it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from .._core.waiting import checked_timeout
from ..types import ProcessId

__all__ = [
    "GENTLE",
    "AskShutdown",
    "CloseStdin",
    "Kill",
    "ShutdownReport",
    "ShutdownStep",
    "ShutdownTreeRequest",
    "ShutdownTreeResponse",
    "StepOutcome",
    "StepReport",
    "Terminate",
]


class ShutdownTreeRequest(msgspec.Struct, frozen=True):
    """What a child is asked on a wire: to end itself and its tree."""

    reason: str | None = None


class ShutdownTreeResponse(msgspec.Struct, frozen=True):
    """A child's answer: whether it will."""

    acknowledged: bool


SendShutdown = Callable[[], Awaitable[ShutdownTreeResponse]]


def _check(**timeouts: float) -> None:
    for name, timeout in timeouts.items():
        if checked_timeout(name, timeout) is None:
            raise TypeError(f"{name} must be a number of seconds, not None")


class AskShutdown(msgspec.Struct, frozen=True):
    """Asks the child, over whatever ``send_shutdown`` sends it.

    A yes within ``ack_timeout`` seconds is worth ``exit_timeout`` seconds for the tree to become empty. A no, an error,
    and silence lead to the next step at once.
    """

    send_shutdown: SendShutdown
    ack_timeout: float
    exit_timeout: float

    def __post_init__(self) -> None:
        _check(ack_timeout=self.ack_timeout, exit_timeout=self.exit_timeout)


class CloseStdin(msgspec.Struct, frozen=True):
    """Closes the child's standard input, on whose end many programs leave: filters, servers of language protocols.

    ``close``, a function or coroutine function, closes the end that is written to. It has ``exit_timeout`` seconds for
    that, and the tree as many to become empty.
    """

    close: Callable[[], object]
    exit_timeout: float

    def __post_init__(self) -> None:
        _check(exit_timeout=self.exit_timeout)


class Terminate(msgspec.Struct, frozen=True):
    """SIGTERM (CTRL_BREAK on Windows), and ``exit_timeout`` seconds for the tree to become empty.

    It goes to the root's group and to those of the children below, or with ``whole_tree`` also to every other process
    of the tree that can be found.
    """

    exit_timeout: float
    whole_tree: bool = False

    def __post_init__(self) -> None:
        _check(exit_timeout=self.exit_timeout)


class Kill(msgspec.Struct, frozen=True):
    """Ends the tree by force, and waits up to ``exit_timeout`` seconds until it is empty. The last step."""

    exit_timeout: float

    def __post_init__(self) -> None:
        _check(exit_timeout=self.exit_timeout)


ShutdownStep = AskShutdown | CloseStdin | Terminate | Kill

#: The ladder of who names none.
GENTLE: tuple[ShutdownStep, ...] = (Terminate(exit_timeout=10.0), Kill(exit_timeout=10.0))

_NAMES: dict[type[ShutdownStep], str] = {
    AskShutdown: "ask",
    CloseStdin: "close_stdin",
    Terminate: "terminate",
    Kill: "kill",
}

#: What came of a step: the tree became empty; it did not in time; the child said no; it did not answer in time, or what
#: the step does was not done in time; there was an error.
StepOutcome = Literal["empty", "stayed", "refused", "unanswered", "failed"]


class StepReport(msgspec.Struct, frozen=True):
    """A step that was tried. Times are seconds since the shutdown began.

    * ``step``: ``"ask"``, ``"close_stdin"``, ``"terminate"`` or ``"kill"``.
    * ``began``, ``ended``: when it was begun, and when its outcome was known.
    * ``done``: when it was acknowledged, or closed, or sent; None if it never was.
    * ``error``: what went wrong, for the outcome ``"failed"``.
    * ``left``: process ids of what was left of the tree after it; None where they are not known, or could not be found
      out within a quarter of a second: nobody is spared for a report.
    """

    step: str
    outcome: StepOutcome
    began: float
    ended: float
    done: float | None = None
    error: str | None = None
    left: tuple[int, ...] | None = None


class ShutdownReport(msgspec.Struct, frozen=True):
    """What was tried to shut a tree down, when, what came of it, and who was left.

    * ``steps``: those that were tried, in their order. None for a tree that was empty already.
    * ``acknowledged``: whether the child said yes to a request; ``exited``: whether the tree is empty; ``forced``:
      whether it was killed.
    * ``seconds``: how long it took.
    * ``left``: process ids of what is left of a tree that is not empty; None where they are not known.
    """

    pid: ProcessId
    steps: tuple[StepReport, ...]
    acknowledged: bool
    exited: bool
    forced: bool
    seconds: float
    left: tuple[int, ...] | None = ()


#: Seconds before a deadline that are none: a loop's timer may fire a tick of its clock early, and shares of a deadline
#: are rounded. A child is not asked something in its last moment.
_TICK = 1e-9


class Phase(enum.Enum):
    """What is being waited for."""

    LOOKING = "whether the tree is empty already"
    TRYING = "what the step does"
    WAITING = "the tree to become empty"
    DONE = "nothing any more"


class Answer(msgspec.Struct, frozen=True):
    """What a phase waited for, or None: the tree is not empty, or the step was done and is worth waiting for."""

    outcome: StepOutcome | None = None
    error: str | None = None
    left: tuple[int, ...] | None = None


class Shutdown(msgspec.Struct, frozen=True):
    """Where a shutdown stands, and what is known so far. Times are seconds since its beginning.

    After ``deadline`` nothing is tried any more but the kill.
    """

    ladder: tuple[ShutdownStep, ...]
    deadline: float = math.inf
    phase: Phase = Phase.LOOKING
    rung: int = 0
    began: float = 0.0
    done: float | None = None
    steps: tuple[StepReport, ...] = ()
    acknowledged: bool = False
    exited: bool = False
    forced: bool = False

    @property
    def step(self) -> ShutdownStep:
        """The step that is being taken."""
        return self.ladder[self.rung]


def patience(state: Shutdown, now: float) -> float:
    """How many seconds may pass until the phase has its answer."""
    step = state.step
    if state.phase is Phase.LOOKING:
        return 0.0
    if isinstance(step, Kill):  # An order that is being given is not given up.
        return step.exit_timeout if state.phase is Phase.WAITING else math.inf
    asking = state.phase is Phase.TRYING and isinstance(step, AskShutdown)
    own = step.ack_timeout if asking and isinstance(step, AskShutdown) else step.exit_timeout
    return max(0.0, min(own, state.deadline - now))


def advance(state: Shutdown, answer: Answer, now: float) -> Shutdown:
    """The next state, from the answer to what the phase waited for."""
    if state.phase is Phase.DONE:
        raise ValueError("the shutdown is done")
    if state.phase is Phase.LOOKING:
        if answer.outcome == "empty":
            return msgspec.structs.replace(state, phase=Phase.DONE, exited=True)
        return _begin(state, state.rung, Phase.TRYING, now)
    if state.phase is Phase.TRYING and answer.outcome is None:
        acknowledged = state.acknowledged or isinstance(state.step, AskShutdown)
        return msgspec.structs.replace(state, phase=Phase.WAITING, done=now, acknowledged=acknowledged)
    report = StepReport(
        _NAMES[type(state.step)],
        answer.outcome or "stayed",
        state.began,
        now,
        done=state.done,
        error=answer.error,
        left=answer.left,
    )
    waited = state.phase is Phase.WAITING
    state = msgspec.structs.replace(state, steps=(*state.steps, report))
    if report.outcome == "empty":
        return msgspec.structs.replace(state, phase=Phase.DONE, exited=True)
    # Where nobody has waited for the tree to become empty, it may have: then nothing more is asked of it.
    return _begin(state, state.rung + 1, Phase.TRYING if waited else Phase.LOOKING, now)


def _begin(state: Shutdown, rung: int, phase: Phase, now: float) -> Shutdown:
    if rung == len(state.ladder):
        return msgspec.structs.replace(state, phase=Phase.DONE)
    if now >= state.deadline - _TICK:
        rung = len(state.ladder) - 1
    forced = isinstance(state.ladder[rung], Kill)
    # A kill is not preceded by a look: it does no harm, and a look may take its time.
    phase = Phase.TRYING if forced else phase
    return msgspec.structs.replace(state, phase=phase, rung=rung, began=now, done=None, forced=forced)


def checked_ladder(ladder: object) -> tuple[ShutdownStep, ...]:
    """The steps, if a shutdown can climb them. Raises TypeError or ValueError that names the argument."""
    if isinstance(ladder, str | bytes) or not isinstance(ladder, Sequence):
        raise TypeError(f"ladder must be a sequence of steps, not {type(ladder).__name__}")
    for step in ladder:
        if not isinstance(step, AskShutdown | CloseStdin | Terminate | Kill):
            raise TypeError(f"ladder must hold steps of a shutdown, not {step!r}")
    if [isinstance(step, Kill) for step in ladder] != [False] * (len(ladder) - 1) + [True]:
        raise ValueError("ladder must end with its one Kill")
    return tuple(ladder)
