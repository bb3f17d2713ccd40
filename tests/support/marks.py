"""Marks for tests of what not every system has."""

from __future__ import annotations

import sys

import pytest

__all__ = ["posix", "thousands"]

posix = pytest.mark.skipif(sys.platform == "win32", reason="is about signals, shells or /proc")
thousands = pytest.mark.skipif(sys.platform == "win32", reason="starts thousands of processes, which takes long there")
