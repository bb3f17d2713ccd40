"""The ladder of a shutdown: steps from asking to killing, and a state machine that climbs it, without I/O or clocks.

:func:`advance` is the state machine: it takes a state, an answer and the time, and returns the next state. The states
also collect the contents of the :class:`ShutdownReport`. :mod:`treeguard.shutdown.driver` drives the machine.
"""

from __future__ import annotations

import enum
import math
import signal as _signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

from .._core.validation import flag, function, instance, one_of, seconds, signal_number, wrong_type
from ..types import ProcessId, SignalTarget

__all__ = [
    "GENTLE",
    "AskShutdown",
    "CloseStdin",
    "Kill",
    "Ladder",
    "ShutdownReport",
    "ShutdownStep",
    "ShutdownTreeRequest",
    "ShutdownTreeResponse",
    "StepOutcome",
    "StepReport",
    "Terminate",
    "Until",
]


class ShutdownTreeRequest(msgspec.Struct, frozen=True):
    """The request to a child, as sent on the wire, to end itself and its tree."""

    reason: str | None = None

    def __post_init__(self) -> None:
        instance("reason", self.reason, str | None, "a string or None")


class ShutdownTreeResponse(msgspec.Struct, frozen=True):
    """A child's answer: whether it agrees."""

    acknowledged: bool

    def __post_init__(self) -> None:
        flag("acknowledged", self.acknowledged)


SendShutdown = Callable[[], Awaitable[ShutdownTreeResponse]]

#: When a step has had its effect: when the tree is empty, or already when its root has ended.
Until = Literal["empty", "root"]


class AskShutdown(msgspec.Struct, frozen=True):
    """Asks the child to end, by whatever ``send_shutdown`` sends to it.

    If the child agrees within ``ack_timeout`` seconds, the tree gets ``exit_timeout`` seconds to become empty. A
    refusal, an error, or silence leads to the next step at once. So does the end of the root with ``until="root"``,
    for a child whose descendants do not end with it.
    """

    send_shutdown: SendShutdown
    ack_timeout: float
    exit_timeout: float
    until: Until = "empty"

    def __post_init__(self) -> None:
        function("send_shutdown", self.send_shutdown)
        seconds("ack_timeout", self.ack_timeout)
        seconds("exit_timeout", self.exit_timeout)
        one_of("until", self.until, ("empty", "root"))


class CloseStdin(msgspec.Struct, frozen=True):
    """Closes the child's standard input. Many programs exit then: filters, servers of language protocols.

    ``close``, a function or coroutine function, closes the writing end. It has ``exit_timeout`` seconds to do so. The
    tree then has as many seconds to become empty. With ``until="root"`` the next step follows once the root has ended.
    """

    close: Callable[[], object]
    exit_timeout: float
    until: Until = "empty"

    def __post_init__(self) -> None:
        function("close", self.close)
        seconds("exit_timeout", self.exit_timeout)
        one_of("until", self.until, ("empty", "root"))


class Terminate(msgspec.Struct, frozen=True):
    """Sends SIGTERM (CTRL_BREAK on Windows) and gives the tree ``exit_timeout`` seconds to become empty.

    * ``to``: who gets the signal, once each. ``"group"``: the groups of the root and of the children below.
      ``"root"``: the root alone, for programs that ask their workers themselves. ``"all"``: every process that can be
      found. None: the groups, and as soon as a root has ended and nobody is left in its group, as after the start of a
      classic daemon, the main process that was announced (``MAINPID``), or else all of its tree. ``whole_tree`` is
      another way to say ``"all"`` (True) or ``"group"`` (False).
    * ``signal``: another signal, such as SIGINT, which PostgreSQL takes for a fast shutdown.
    * ``until="root"``: the next step follows once the root has ended.

    A stopped process gets SIGCONT after the signal, which it would not hear.
    """

    exit_timeout: float
    whole_tree: bool | msgspec.UnsetType = msgspec.UNSET
    to: SignalTarget | None = None
    signal: int = _signal.SIGTERM
    until: Until = "empty"

    def __post_init__(self) -> None:
        seconds("exit_timeout", self.exit_timeout)
        if (
            self.whole_tree is not msgspec.UNSET
            and flag("whole_tree", self.whole_tree)
            and self.to not in (None, "all")
        ):
            raise ValueError(f"to must be 'all' or None with whole_tree, not {self.to!r}")
        one_of("to", self.to, (None, "group", "root", "all"))
        # A plain number, so that the step is the same when it has travelled.
        msgspec.structs.force_setattr(self, "signal", signal_number("signal", self.signal))
        one_of("until", self.until, ("empty", "root"))

    @property
    def target(self) -> SignalTarget | None:
        """Who gets the signal."""
        if self.to is not None or self.whole_tree is msgspec.UNSET:
            return self.to
        return "all" if self.whole_tree else "group"


class Kill(msgspec.Struct, frozen=True):
    """Ends the tree by force, and waits up to ``exit_timeout`` seconds until it is empty. This is the last step."""

    exit_timeout: float

    def __post_init__(self) -> None:
        seconds("exit_timeout", self.exit_timeout)


ShutdownStep = AskShutdown | CloseStdin | Terminate | Kill

#: Steps of a shutdown, or the name of :data:`GENTLE`.
Ladder = Sequence[ShutdownStep] | Literal["gentle"]

#: The default ladder.
GENTLE: tuple[ShutdownStep, ...] = (Terminate(exit_timeout=10.0), Kill(exit_timeout=10.0))

_NAMES: dict[type[ShutdownStep], str] = {
    AskShutdown: "ask",
    CloseStdin: "close_stdin",
    Terminate: "terminate",
    Kill: "kill",
}

#: The outcome of a step. ``"empty"``: the tree became empty. ``"root_ended"``: the tree is not empty, but its root has
#: ended, which the step waited for. ``"stayed"``: neither happened in time. ``"refused"``: the child refused.
#: ``"unanswered"``: the child did not answer in time, or the step's own work was not done in time. ``"failed"``: there
#: was an error.
StepOutcome = Literal["empty", "root_ended", "stayed", "refused", "unanswered", "failed"]


class StepReport(msgspec.Struct, frozen=True):
    """A step that was tried. Times are in seconds since the shutdown began.

    * ``step``: ``"ask"``, ``"close_stdin"``, ``"terminate"`` or ``"kill"``.
    * ``began``, ``ended``: when the step began, and when its outcome was known.
    * ``done``: when the request was acknowledged, the input closed, or the signal sent. None if this never happened.
    * ``error``: what went wrong, for the outcome ``"failed"``.
    * ``left``: the process ids that were left of the tree after the step. None if they are unknown, or were not found
      within a quarter of a second: the next step does not wait longer for a report.
    """

    step: str
    outcome: StepOutcome
    began: float
    ended: float
    done: float | None = None
    error: str | None = None
    left: tuple[int, ...] | None = None


class ShutdownReport(msgspec.Struct, frozen=True):
    """The steps that were tried to shut a tree down, when and with what outcome, and the processes that were left.

    * ``steps``: the steps that were tried, in their order. Empty for a tree that was already empty.
    * ``acknowledged``: whether the child agreed to a request. ``exited``: whether the tree is empty. ``forced``:
      whether it was killed.
    * ``seconds``: how long the shutdown took.
    * ``left``: the process ids that are left of a tree that is not empty. None if they are unknown.
    """

    pid: ProcessId
    steps: tuple[StepReport, ...]
    acknowledged: bool
    exited: bool
    forced: bool
    seconds: float
    left: tuple[int, ...] | None = ()


#: Seconds before a deadline that count as past it: a loop's timer may fire one tick of its clock early, and shares of a
#: deadline are rounded. A child is not asked anything in this last moment.
_TICK = 1e-9


class Phase(enum.Enum):
    """What the shutdown waits for."""

    LOOKING = "whether the tree is empty already"
    TRYING = "what the step does"
    WAITING = "the tree to become empty"
    DONE = "nothing any more"


class Answer(msgspec.Struct, frozen=True):
    """The outcome that a phase waited for. None: the tree is not empty, or the step is done and worth a wait."""

    outcome: StepOutcome | None = None
    error: str | None = None
    left: tuple[int, ...] | None = None


class Shutdown(msgspec.Struct, frozen=True):
    """The state of a shutdown. Times are in seconds since its beginning.

    After ``deadline`` the only step still taken is the kill.
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
        """The current step."""
        return self.ladder[self.rung]


def until(step: ShutdownStep) -> Until:
    """What a step waits for."""
    return "empty" if isinstance(step, Kill) else step.until


def patience(state: Shutdown, now: float) -> float:
    """Returns how many seconds the phase may take."""
    step = state.step
    if state.phase is Phase.LOOKING:
        return 0.0
    if isinstance(step, Kill):  # A kill that is being issued is never abandoned.
        return step.exit_timeout if state.phase is Phase.WAITING else math.inf
    asking = state.phase is Phase.TRYING and isinstance(step, AskShutdown)
    own = step.ack_timeout if asking and isinstance(step, AskShutdown) else step.exit_timeout
    return max(0.0, min(own, state.deadline - now))


def advance(state: Shutdown, answer: Answer, now: float) -> Shutdown:
    """Returns the next state, given the answer that the phase waited for."""
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
    # If the step did not wait for the tree to become empty, it may be empty now. In that case no further step is taken.
    return _begin(state, state.rung + 1, Phase.TRYING if waited else Phase.LOOKING, now)


def _begin(state: Shutdown, rung: int, phase: Phase, now: float) -> Shutdown:
    if rung == len(state.ladder):
        return msgspec.structs.replace(state, phase=Phase.DONE)
    if now >= state.deadline - _TICK:
        rung = len(state.ladder) - 1
    forced = isinstance(state.ladder[rung], Kill)
    # No look precedes a kill: a kill of an empty tree does no harm, and a look may take time.
    phase = Phase.TRYING if forced else phase
    return msgspec.structs.replace(state, phase=phase, rung=rung, began=now, done=None, forced=forced)


def checked_ladder(ladder: object) -> tuple[ShutdownStep, ...]:
    """Returns the steps of a valid ladder. Raises TypeError or ValueError that names the argument otherwise."""
    if ladder == "gentle":
        return GENTLE
    if isinstance(ladder, str | bytes) or not isinstance(ladder, Sequence):
        raise wrong_type("ladder", "a sequence of steps, such as a tuple", ladder)
    for step in ladder:
        if not isinstance(step, AskShutdown | CloseStdin | Terminate | Kill):
            raise wrong_type("ladder", "a sequence of AskShutdown, CloseStdin, Terminate and Kill", step)
    if [isinstance(step, Kill) for step in ladder] != [False] * (len(ladder) - 1) + [True]:
        raise ValueError("ladder must end with its one Kill")
    return tuple(ladder)
