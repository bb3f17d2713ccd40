"""Descriptors that take their time to be closed, and a moment without any."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stranger import LINGER, slow_to_close, with_fds

__all__ = ["LINGER", "no_descriptors", "slow_to_close", "with_fds"]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """None more can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
