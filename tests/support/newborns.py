"""Meeting processes as soon as they are listed, perhaps before they have executed anything."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["newborns_meet"]


@contextlib.contextmanager
def newborns_meet(hunter: Callable[[int], None], *, grandchildren: bool = False) -> Iterator[None]:
    """Calls ``hunter``, in a thread, with each child that this thread makes from now on, or with each child of those.

    A process that is met before its exec still has the name of what it was forked from.
    """
    over = threading.Event()
    listing = os.open(f"/proc/self/task/{threading.get_native_id()}/children", os.O_RDONLY | os.O_CLOEXEC)

    def hunt() -> None:
        met: set[int] = set()
        while not over.is_set():
            for child in map(int, os.pread(listing, 65536, 0).split()):
                for pid in set(_children(child) if grandchildren else [child]) - met:
                    met.add(pid)
                    hunter(pid)

    thread = threading.Thread(target=hunt)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.close(listing)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
