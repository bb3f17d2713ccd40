"""Trees that attack what keeps them, for tests to spawn: see ``tests/adversaries/hostile``."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import pytest

from treeguard.types import Mechanism

from . import judge
from .patience import LIFETIME, SLOWNESS, wait_until
from .playground import Playground
from .programs import Programs

__all__ = ["ATTACKS", "BOUND", "ESCAPE", "Attack", "Hostile", "Outcome", "Scene", "outcome"]

_PROC = Path("/proc")


class Scene(NamedTuple):
    """What an attack was made on, and by whom: process ids."""

    victim: int
    by: list[int]
    place: Path | None


def _status(pid: int, name: str) -> str:
    """A line of a process's status; empty when it is gone."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text("utf-8").splitlines():
            if line.startswith(name + ":"):
                return line.partition(":")[2].strip()
    return ""


def _text(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / name).read_text("utf-8", "replace")
    return ""


def _stat(pid: int, field: int) -> int:
    """A field of proc_pid_stat(5), counted from 1 as there."""
    return int(_text(pid, "stat").rpartition(")")[2].split()[field - 3])


def _is_stopped(scene: Scene) -> bool:
    return _status(scene.victim, "State")[:1] == "T"


def _is_traced(scene: Scene) -> bool:
    return _status(scene.victim, "State")[:1] in ("t", "T") and _status(scene.victim, "TracerPid") in map(str, scene.by)


def _is_limited(*names: str) -> Callable[[Scene], bool]:
    def seen(scene: Scene) -> bool:
        lines = _text(scene.victim, "limits").splitlines()
        hard = {line[:26].strip(): line[26:].split()[1] for line in lines[1:]}
        return all(hard.get(name) in ("0", "1") for name in names)

    return seen


def _has_pending(number: int) -> Callable[[Scene], bool]:
    return lambda scene: bool(int(_status(scene.victim, "ShdPnd") or "0", 16) >> (number - 1) & 1)


def _is_overwritten(scene: Scene) -> bool:
    """Its command line is, which lies in its memory; or it has ended of it."""
    return not any(character.isalnum() for character in _text(scene.victim, "cmdline"))


def _socket_was_taken(scene: Scene) -> bool:
    for fd in (_PROC / str(scene.by[0]) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is closed, and taken anew
            if os.readlink(fd).startswith("socket:"):  # noqa: PTH115 - no path
                return True
    return False


def _cgroup(pid: int, kind: str = "0::") -> str:
    lines = _text(pid, "cgroup").splitlines()
    return next((line.split(":", 2)[2] for line in lines if kind in line), "")


def _is_in_place(pid: int, place: Path | None) -> bool:
    return place is not None and _cgroup(pid).endswith(f"{place.parent.name}/{place.name}")


def _is_frozen_in(pid: int, place: Path | None) -> bool:
    return place is not None and _cgroup(pid, ":freezer:").endswith(place.name)


def _leaf(scene: Scene) -> list[Path]:
    """The cgroup of the attacker, where it is mounted."""
    lines = [line.split() for line in _text(os.getpid(), "mounts").splitlines()]
    return [Path(line[1], _cgroup(scene.by[0]).lstrip("/")) for line in lines if line[2] == "cgroup2"]


def _of_leaf(scene: Scene, name: str) -> list[str]:
    return [file.read_text("ascii") for leaf in _leaf(scene) if (file := leaf / name).exists()]


def _leaf_is_frozen(scene: Scene) -> bool:
    return any("frozen 1" in text for text in _of_leaf(scene, "cgroup.events"))


def _is_shut(scene: Scene) -> bool:
    return any((leaf / "cgroup.procs").stat().st_mode & 0o777 == 0 for leaf in _leaf(scene))


def _reads(name: str, value: str) -> Callable[[Scene], bool]:
    return lambda scene: _text(scene.victim, name).split()[:1] == [value]


def _has_left_its_leader(scene: Scene) -> bool:
    return any(_status(pid, "State")[:1] == "Z" and len(os.listdir(f"/proc/{pid}/task")) > 1 for pid in scene.by)  # noqa: PTH208


def _is_dead(scene: Scene) -> bool:
    return _status(scene.victim, "State")[:1] in ("Z", "X", "")


def _told(_: Scene) -> bool:
    """For attacks whose effect only the attacker reports."""
    return True


class Attack(NamedTuple):
    """An attack, and what is seen of it in ``/proc`` when it was made."""

    effect: Callable[[Scene], bool] = _told
    #: Whether it takes what tracing takes (ptrace(2)), which a process that is not dumpable is spared.
    traces: bool = False
    #: Needs a privilege, even against processes of the same user.
    privileged: bool = False
    victim: str = "guard"
    #: Where somebody is moved to: an attribute of the playground.
    place: str = ""
    #: The mechanism that it is about; any where it is empty.
    only: str = ""


ATTACKS: dict[str, Attack] = {
    "stop": Attack(_is_stopped),
    "stop_by_session": Attack(_is_stopped),
    "stop_newborns": Attack(),
    "resume": Attack(),
    "kill_guard": Attack(_is_dead),
    "flood": Attack(_has_pending(signal.SIGUSR1)),
    "flood_deaths": Attack(),
    "seize": Attack(_is_traced, traces=True),
    "attach": Attack(_is_traced, traces=True),
    "overwrite": Attack(_is_overwritten, traces=True),
    "overwrite_file": Attack(_is_overwritten, traces=True),
    "limit_nofile": Attack(_is_limited("Max open files")),
    "limit_as": Attack(_is_limited("Max address space")),
    "limit_data": Attack(_is_limited("Max data size")),
    "limit_stack": Attack(_is_limited("Max stack size")),
    "limit_cpu": Attack(_is_limited("Max cpu time")),
    "limit_fsize": Attack(_is_limited("Max file size")),
    "limit_sigpending": Attack(_is_limited("Max pending signals")),
    "limit_nproc": Attack(_is_limited("Max processes")),
    "limit_msgqueue": Attack(_is_limited("Max msgqueue size")),
    "limit_rttime": Attack(_is_limited("Max realtime timeout")),
    "limit_memlock": Attack(_is_limited("Max locked memory")),
    "limit_core": Attack(_is_limited("Max core file size")),
    "limit_all": Attack(_is_limited("Max open files", "Max address space", "Max stack size", "Max processes")),
    "take_descriptors": Attack(_socket_was_taken, traces=True),
    "flee_with_descriptors": Attack(_socket_was_taken, traces=True),
    "open_descriptors": Attack(traces=True),
    "forge_empty": Attack(_told, traces=True),
    "hang_up": Attack(_told, traces=True),
    "hang_up_above": Attack(victim="supervisor"),
    "give_orders": Attack(_socket_was_taken, victim="supervisor"),
    "steal_events": Attack(_socket_was_taken, victim="supervisor"),
    "move_guard_in": Attack(lambda scene: _cgroup(scene.victim) == _cgroup(scene.by[0]), only="cgroup"),
    "move_guard_out": Attack(lambda scene: _is_in_place(scene.victim, scene.place), place="elsewhere"),
    "move_guard_into_frozen": Attack(lambda scene: _is_in_place(scene.victim, scene.place), place="elsewhere"),
    "move_guard_into_freezer": Attack(lambda scene: _is_frozen_in(scene.victim, scene.place), place="freezer"),
    "move_self_out": Attack(lambda scene: _is_in_place(scene.by[0], scene.place), place="elsewhere"),
    "move_self_into_freezer": Attack(place="freezer"),
    "move_supervisor_in": Attack(
        lambda scene: _cgroup(scene.victim) == _cgroup(scene.by[0]), victim="supervisor", only="cgroup"
    ),
    "freeze_leaf": Attack(_leaf_is_frozen, only="cgroup"),
    "freeze_all": Attack(_leaf_is_frozen, only="cgroup"),
    "dig_deep": Attack(lambda scene: _cgroup(scene.by[0]).count("/d") >= 40, only="cgroup"),
    "shut_files": Attack(_is_shut, only="cgroup"),
    "forbid_cgroups": Attack(lambda scene: "0\n" in _of_leaf(scene, "../cgroup.max.descendants"), only="cgroup"),
    "oom_score": Attack(_reads("oom_score_adj", "1000"), traces=True),
    "coredump_filter": Attack(_reads("coredump_filter", "0000007f"), traces=True),
    "autogroup": Attack(lambda scene: _text(scene.victim, "autogroup").split()[-1:] == ["19"], traces=True),
    "timer_slack": Attack(_reads("timerslack_ns", "4000000000"), privileged=True),
    "nice_19": Attack(lambda scene: _stat(scene.victim, 19) == 19),
    "sched_idle": Attack(lambda scene: _stat(scene.victim, 41) == 5),
    "one_busy_cpu": Attack(lambda scene: _status(scene.victim, "Cpus_allowed_list").isdecimal()),
    "io_idle": Attack(),
    "set_group": Attack(),
    "leave_leader": Attack(_has_left_its_leader),
    "leave_leader_in_session": Attack(_has_left_its_leader),
    "grow_heads": Attack(),
    "be_daemon": Attack(),
    "enter": Attack(victim="anybody"),
}

#: A member that carries no mark and shares neither parent nor process group with the root: only the guard can find it.
ESCAPE = "be_daemon"

#: Seconds within which a kill, the end of a manager or of a supervisor must have ended a hostile tree: so long
#: a guard is waited for that does not obey, and a little longer.
BOUND = 5.0 + 3.0 * SLOWNESS


class Outcome(NamedTuple):
    """What docs/threats.md says may be left of a hostile tree, and for how long."""

    #: For as long as the attack lasts: ended by its own end, or when somebody thaws what it froze.
    lasts: bool = False
    #: For good: those that left the root's group and cleared their environment.
    stays: bool = False
    #: Nothing, but the supervisor cannot know.
    lost: bool = False


#: SIGKILL does not reach a process there before it is thawed.
FROZEN_FOR_ANYBODY = {"move_guard_into_freezer", "move_self_into_freezer"}
#: They kill a guard, have it harm itself, or have it killed since it cannot be believed any more. That is a second
#: fault: what it alone knew is lost with it.
LETHAL = {"kill_guard", "limit_cpu", "overwrite", "overwrite_file", "forge_empty", "hang_up"}
#: The supervisor hears no more of a guard that goes on.
DEAFENING = {"hang_up_above", "steal_events"}
#: A guard stands still as long as they last, and nobody else is left when the supervisor is killed.
#: stop_newborns goes on by itself: it may stop a guard right after the kernel has continued it.
LASTING = {"seize", "attach", "move_guard_into_frozen", "stop_newborns"}
#: The same, if they are made again and again. Once is undone by the kernel, which continues what the supervisor's end
#: orphans (setpgid(2)).
REPEATED = {"stop", "stop_by_session"}


def outcome(
    attacks: set[str], *, again: bool, mechanism: Mechanism, supervisor_lives: bool, beside: bool = False
) -> Outcome:
    """What may be left after ``attacks``, those of them that the kernel did not refuse.

    ``beside``: a second tree was started while they were made.
    """
    frozen = bool(attacks & FROZEN_FOR_ANYBODY)
    lethal = bool(attacks & LETHAL)
    if supervisor_lives:
        # A guard that was moved into its own leaf may die with that, which is a guard lost.
        lost = lethal or bool(attacks & DEAFENING) or "move_guard_in" in attacks
        return Outcome(frozen, lethal and mechanism != "cgroup", lost)
    lasting = LASTING | (REPEATED if again else set())
    frozen = frozen or ("move_guard_in" in attacks and bool(attacks & {"freeze_leaf", "freeze_all"}))
    # A guard that is born while its supervisor stands in another tree's leaf dies with that leaf.
    lethal = lethal or (beside and "move_supervisor_in" in attacks)
    # A supervisor that hears nothing of a guard has it killed, and may be killed itself before it has ended the tree.
    return Outcome(frozen or bool(attacks & lasting), lethal or bool(attacks & DEAFENING))


class Hostile:
    """One hostile tree. Leaving it puts down what a failed test left of it."""

    def __init__(
        self,
        programs: Programs,
        attacks: Sequence[str],
        mode: str,
        playground: Playground,
        *,
        victim: str = "",
        first: bool = False,
    ) -> None:
        """``mode`` is "once" or "loop"; ``victim`` "stand-in", or what the attacks are made on where it is empty.

        ``first``: the root stops its guard with its first instruction, and is this program then.
        """
        self.attacks = attacks
        self.marker = f"treeguard-test-{uuid.uuid4().hex}"
        self.victim = victim or next(
            (a.victim for a in map(ATTACKS.__getitem__, attacks) if a.victim != "guard"), "guard"
        )
        self.mode = mode
        #: A descriptor of the supervisor that is not to be taken: the test's connection with it.
        self.spared = -1
        self._program = [*([programs.first] if first else []), programs.hostile]
        self._playground = playground
        self._text = ""
        #: More than one thread reads.
        self._reading = threading.Lock()
        self._over = False

    def __enter__(self) -> Hostile:
        self._read, self.report_fd = os.pipe()
        os.set_blocking(self._read, False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spawned()
        with self._reading:
            os.close(self._read)
            self._read = -1
        self._playground.thaw()
        judge.put_down(self.marker)

    @property
    def argv(self) -> list[str]:
        """The command line, program first. The child must inherit :attr:`report_fd`."""
        words = [f"{name}={word}" if (word := self._word(name)) else name for name in self.attacks]
        fd, life = str(self.report_fd), str(LIFETIME)
        return [*self._program, self.marker, fd, life, ",".join(words), self.mode, self.victim]

    def _word(self, attack: str) -> str:
        if ATTACKS[attack].victim == "supervisor" and not ATTACKS[attack].only:
            return str(self.spared)
        return str(self.place(attack) or "")

    def place(self, attack: str) -> Path | None:
        """Where an attack moves somebody to."""
        name = ATTACKS[attack].place
        if not name:
            return None
        place: Path | None = getattr(self._playground, name)
        if place is None:
            pytest.skip(f"this host gives no cgroup for {attack}")
        return place

    def spawned(self) -> None:
        """To be called after the spawn: lets go of the pipe's other end."""
        if self.report_fd >= 0:
            os.close(self.report_fd)
            self.report_fd = -1

    def wait_ready(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Waits until every attack was made once, ``unless`` none can be made any more."""
        self.spawned()
        wait_until(lambda: unless() or all(map(self._was_made, self.attacks)), "every attack was made")

    def _was_made(self, attack: str) -> bool:
        """Whether it has said so; one that ends its own tree may have no time to."""
        told = self.told[attack]
        return ("ready", 0) in told or (any(step != "pid" for step, _ in told) and not self.attackers(attack))

    @property
    def told(self) -> dict[str, list[tuple[str, int]]]:
        """The steps of each attack, and what the kernel said to them: an errno, or 0."""
        with self._reading:
            with contextlib.suppress(BlockingIOError):
                while self._read >= 0 and (data := os.read(self._read, 65536)):
                    self._text += data.decode()
                self._over = True
            text = self._text
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for line in text.splitlines():
            name, step, number = line.split()
            found[name].append((step, int(number)))
        return found

    def attackers(self, attack: str) -> list[int]:
        """The processes that make it, and live."""
        living = judge.carriers(self.marker)
        return [pid for step, pid in reversed(self.told[attack]) if step == "pid" and pid in living]

    def errors(self, attack: str) -> set[int]:
        """What the kernel refused."""
        return {number for step, number in self.told[attack] if step != "pid" and not step.startswith("try_")} - {0}

    def refused(self, attack: str) -> bool:
        """Whether the kernel did not let it be made."""
        return bool(self.errors(attack) & {errno.EPERM, errno.EACCES})

    def landed(self, attack: str, victim: int) -> bool:
        """Whether its effect is seen."""
        return ATTACKS[attack].effect(Scene(victim, self.attackers(attack), self.place(attack)))

    def end_attacks(self) -> None:
        """Has the attackers take back what they did, and end."""
        for name in self.attacks:
            for pid in self.attackers(name) if name != ESCAPE else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        self._playground.thaw()

    @property
    def traces(self) -> list[str]:
        """What is left of it now; nothing when it is gone."""
        _ = self.told
        return judge.survivors(self.marker) + ([] if self._over else ["somebody holds the pipe"])
