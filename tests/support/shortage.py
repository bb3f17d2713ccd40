"""Moments without descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["all_descriptors_taken", "no_descriptors"]


@contextmanager
def no_descriptors(but: int = 0) -> Iterator[None]:
    """Leaves room for only this many descriptors."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(but)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free, default=-1) + 1, hard))
    for fd in free:
        os.close(fd)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def all_descriptors_taken() -> Iterator[None]:
    """The limit is just above the lowest free number. Who closes a descriptor below it can have that one again."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(lowest)
