"""Adopting what falls out of trees, so that an escape is seen at once and nothing depends on this machine's init."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Container
from types import TracebackType

from .judge import ProcessInfo, children
from .patience import wait_until

__all__ = ["Adoption"]

_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _be_subreaper(on: bool) -> None:
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


class Adoption:
    """While it lasts, orphans of this process's descendants become children of this process.

    A process that escaped from a tree is a newcomer then, living or zombie, whatever it did to its name, group and
    descriptors.
    """

    def __enter__(self) -> Adoption:
        self._before = set(children())
        _be_subreaper(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reap_all()
        _be_subreaper(False)

    def newcomers(self) -> dict[int, ProcessInfo]:
        """The children that were not there in the beginning."""
        return {pid: seen for pid, seen in children().items() if pid not in self._before}

    def reap(self, but: Container[int] = ()) -> dict[int, int]:
        """Reaps the newcomers that have ended. Returns their exit codes, negative for a signal.

        ``but`` are those that others wait for: a manager, or a subprocess object.
        """
        codes = {}
        for pid, seen in self.newcomers().items():
            if seen.state != "Z" or pid in but:
                continue
            # One whose main thread alone has ended is not to be had yet.
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                codes[pid] = os.waitstatus_to_exitcode(status)
        return codes

    def reap_all(self) -> dict[int, int]:
        """Waits until every newcomer has ended, and reaps it. Returns the exit codes."""
        codes: dict[int, int] = {}

        def none_left() -> bool:
            codes.update(self.reap())
            return not self.newcomers()

        wait_until(none_left, "every orphan has ended")
        return codes
