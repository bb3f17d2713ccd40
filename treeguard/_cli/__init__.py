"""The command line: ``treeguard run``, ``treeguard doctor``, ``treeguard demo``."""

from .main import main

__all__ = ["main"]
