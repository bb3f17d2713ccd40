"""The mechanisms that the tests run with."""

from __future__ import annotations

__all__ = ["CONTAINING", "EVERY"]

#: Those that end escapees too.
CONTAINING = ["subreaper"]

EVERY = [*CONTAINING, "process_group"]
