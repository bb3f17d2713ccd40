"""An exception at every line of ``treeguard.run``, as Ctrl-C raises it.

To be run apart (:mod:`tests.support.apart`).
"""

from __future__ import annotations

import faulthandler
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from treeguard import run
from treeguard._blocking import manager as managers
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard.types import Mechanism

from .belongings import belongings
from .blocking import asleep, sleeper
from .lines import ERRORS, LAYER, Raiser
from .patience import PATIENCE

__all__ = ["SCENARIOS", "every_line_raises"]

#: How long, in seconds, what is closed by others may take.
_MOMENT = 3.0

_LAYER = (
    *LAYER,
    "subprocess.py",
    *(f"_blocking/{name}.py" for name in ("arguments", "command", "manager", "pipes", "popen", "pump", "waker")),
    *("_blocking/terminal.py", "_core/terminals.py"),
    *(f"_core/inspection/{name}.py" for name in ("holders", "left", "members")),
)


def _capture(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", f"setsid {sleeping} & echo hi"], capture_output=True, timeout=PATIENCE, **options)


def _feed(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", "cat >/dev/null"], input=bytes(200_000), stderr=-1, timeout=PATIENCE, **options)


def _expire(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", f"echo hi; {sleeping}"], stdout=-1, timeout=0.05, **options)


def _at_terminal(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", f"setsid {sleeping} & cat"], input=b"hi", stdout=-1, pty=True, timeout=PATIENCE, **options)


def _finish(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", "(sleep 0.02; echo late) &"], stdout=-1, on_root_exit="wait", timeout=PATIENCE, **options)


def _fail(sleeping: str, **options: Any) -> None:
    run(["/nonexistent/program"], stdout=-1, **options)


SCENARIOS: dict[str, Callable[..., None]] = {
    "capture": _capture,
    "feed": _feed,
    "expire": _expire,
    "finish": _finish,
    "fail": _fail,
    "at terminal": _at_terminal,
}


def _leaves() -> set[str]:
    try:
        return {str(path) for path in own_cgroup().glob(f"treeguard.*.{os.getpid()}.*/*") if path.is_dir()}
    except FileNotFoundError:
        return set()


def _left(before: set[str], sleeping: str, containment: Mechanism) -> list[str]:
    deadline = time.monotonic() + _MOMENT
    while True:
        left = [*(belongings() - before), *_leaves(), *(f"process {pid}" for pid in asleep(sleeping))]
        if not left or time.monotonic() > deadline:
            return left
        # What was interrupted in the engine goes on when somebody waits the next time, within a second or two.
        time.sleep(0.02)
        run(["true"], containment=containment)


def every_line_raises(
    containment: Mechanism, scenario: str, error: str, first: int, step: int, broken: bool
) -> tuple[int, list[str]]:
    """Raises at every ``step``-th line or call, from the first on. In how many lives, and what each has left.

    ``broken``: with an interrupted command whose tree is not ended.
    """
    # What an engine's callback is raised is reported, and not the caller's.
    sys.unraisablehook = lambda _: None
    sys.excepthook = lambda *_: None
    logging.disable()
    if broken:
        managers.BlockingManager.end = lambda *_: True  # type: ignore[method-assign]
    faults: list[str] = []
    sleeping = sleeper()
    run(["true"], containment=containment)
    before = belongings()
    for lives in itertools.count():
        raiser = Raiser(first + lives * step, ERRORS[error], _LAYER)
        faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
        try:
            with raiser.armed():
                SCENARIOS[scenario](sleeping, containment=containment)
        except (Exception, KeyboardInterrupt):
            pass
        faulthandler.cancel_dump_traceback_later()
        if not raiser.where:
            return lives, faults
        left = _left(before, sleeping, containment)
        if left:
            faults.append(f"{raiser.where}: {left}")
            before |= set(left)
            sleeping = sleeper()
    raise AssertionError("unreachable")
