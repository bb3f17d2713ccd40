"""Marks for what only Windows itself does."""

from __future__ import annotations

import os

import pytest

__all__ = ["REAL_WINDOWS", "UNDER_WINE", "real_windows"]

UNDER_WINE = "WINEPREFIX" in os.environ
#: In the reason of each such skip.
REAL_WINDOWS = "real_windows"

#: Wine neither delivers CTRL_BREAK, nor accounts CPU time, nor keeps limits of jobs.
real_windows = pytest.mark.skipif(UNDER_WINE, reason=f"{REAL_WINDOWS}: Wine does not do this")
