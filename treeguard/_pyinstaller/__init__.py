"""What PyInstaller is told of treeguard; it finds this by an entry point, wherever treeguard is installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The directory with the hook."""
    return [str(Path(__file__).parent)]
