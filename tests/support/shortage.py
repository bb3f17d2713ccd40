"""A moment without descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_descriptors"]


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
