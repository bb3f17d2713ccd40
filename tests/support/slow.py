"""Descriptors that take their time to be closed."""

from __future__ import annotations

from benchmarks.stranger import LINGER, slow_to_close, with_fds

__all__ = ["LINGER", "slow_to_close", "with_fds"]
