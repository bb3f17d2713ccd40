"""Hostile trees that attack whoever they can find, from inside of a PID namespace; and what is seen of the attacks."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from pathlib import Path

from treeguard.types import Mechanism

from .adoption import Adoption
from .hostile import ATTACKS, BOUND, FROZEN_FOR_ANYBODY, Hostile
from .judge import children, look
from .programs import Programs
from .siege import Siege
from .verbs import Answer

__all__ = ["ENDS", "FROM_INSIDE", "Prison", "condition", "outlive_nothing"]

#: The tree itself stands still then, so nothing is attacked after them.
_FREEZE = ["freeze_leaf", "freeze_all"]
#: Those that need a place that the test gives are left out, and those that never come to a second victim.
FROM_INSIDE = [
    name
    for name, attack in ATTACKS.items()
    if not attack.place
    and name
    not in {
        *_FREEZE,
        "stop_newborns",
        "one_busy_cpu",
        "be_daemon",
        "leave_leader",
        "leave_leader_in_session",
        "grow_heads",
        *FROZEN_FOR_ANYBODY,
    }
]
#: Steps that succeed on nobody: not on guard and supervisor, which have no number, and not on the init.
_IMPOSSIBLE = {"pidfd_getfd", "seize", "attach", "process_vm_writev", "send", "shutdown", "recv", "setns"}
ENDS = ("kill", "leave", "supervisor", "guard", "init")


def _file(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/{name}").read_text("utf-8").splitlines()


def condition(pid: int) -> dict[str, object]:
    """All of a process that attacks change. Signals for which a guard waits are pending now and then."""
    status = dict(line.split(":", 1) for line in _file(pid, "status"))
    stat = _file(pid, "stat")[0].rpartition(")")[2].split()
    expected = 1 << signal.SIGCHLD - 1 | 1 << signal.SIGCONT - 1
    return {
        "stands": status["State"].split()[0] in "Tt",
        "tracer": status["TracerPid"],
        "cpus": status["Cpus_allowed_list"],
        "pending": int(status["ShdPnd"], 16) & ~expected,
        "limits": _file(pid, "limits"),
        "oom_score_adj": _file(pid, "oom_score_adj"),
        "overwritten": not any(map(str.isalnum, "".join(_file(pid, "cmdline")))),
        "nice": stat[16],
        "policy": stat[38],
    }


class Prison(Siege):
    """A siege whose tree is told the numbers of guard and supervisor, and is lent handles of them."""

    def __init__(
        self, programs: Programs, mechanism: Mechanism, attacks: list[str], uid: int, adoption: Adoption, victim: str
    ) -> None:
        super().__init__(programs, mechanism, attacks, "once", uid, adoption)
        self._victim = victim
        self.before: list[dict[str, object]] = []

    def __enter__(self) -> Prison:
        super().__enter__()
        return self

    def spawn(self, number: int, tree: Hostile) -> Answer:
        """See :meth:`Siege.spawn`. The tree attacks when it has what it is told."""
        tree.victim = self._victim
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs, contextlib.ExitStack() as stack:
            argv = ["fd" if word == str(tree.report_fd) else word for word in tree.argv]
            root = self.perform("spawn", number, argv, "fds", None, fds=[tree.report_fd, theirs.fileno()])
            seen = look(root) if isinstance(root, int) else None
            assert seen is not None
            victims = [seen.parent, self.supervisor]
            self.before = [condition(pid) for pid in victims]
            handles = [os.pidfd_open(pid) for pid in victims]
            for handle in handles:
                stack.callback(os.close, handle)
            socket.send_fds(ours, [b"%d %d" % tuple(victims)], handles)
        tree.spawned()
        return root

    def reached(self) -> list[str]:
        """What the attacks have changed of guard and supervisor, and what they say to have done."""
        found = []
        for pid, before in zip((self.guard, self.supervisor), self.before, strict=True):
            try:
                after = condition(pid)
            except OSError:
                # The kernel kills an init that is above its limit, and a guard has no more to do then.
                if pid == self.guard and self._has_ended() and "limit_cpu" in self._attacks:
                    continue
                raise
            found += [
                f"{name} of {pid}: {before[name]} is {after[name]}" for name in after if before[name] != after[name]
            ]
        for attack, steps in self.tree.told.items():
            found += [f"{attack}: {step}" for step, error in steps if step in _IMPOSSIBLE and error == 0]
        return found

    def end(self, how: str) -> None:
        """Ends the tree in one of several ways."""
        if how == "supervisor":
            self.kill_supervisor()
        elif how == "leave":
            assert self.perform("leave") == "done"
        else:
            if how == "kill":
                assert self.perform("kill", 1) in ("done", "ProcessEnded")
            else:
                inits = [pid for pid, seen in children(self.guard).items() if seen.name == "treeguard-init"]
                for pid in [self.guard] if how == "guard" else inits:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert self.perform("wait", 1, BOUND) in (True, "GuardLost")


def outlive_nothing(programs: Programs, uid: int, adoption: Adoption, seed: str) -> None:
    """One round: some attacks on all that can be found, and an end, drawn by lot."""
    lots = random.Random(seed)
    attacks = lots.sample(FROM_INSIDE, lots.randint(2, 6))
    attacks += lots.sample(["leave_leader_in_session", "grow_heads"], lots.randint(0, 1))
    attacks += lots.sample(_FREEZE, 1) if lots.random() < 0.1 else []
    victim, end = lots.choice(["anybody", "capable"]), lots.choice(ENDS)
    with Prison(programs, "pid_namespace", attacks, uid, adoption, victim) as prison:
        reached = prison.reached()
        assert not reached, (seed, attacks, victim, reached)
        begun = time.monotonic()
        prison.end(end)
        prison.wait_gone(begun)
