"""What takes minutes to make is kept, outside of the checkout, as long as its recipe is the same."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["directory", "kept"]


def directory() -> Path:
    """Where it is kept: below ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeguard" / "kernels"


def kept(name: str, recipe: str, make: Callable[[Path, Path], None]) -> Path:
    """A file that ``make`` made by that recipe, this time or before.

    ``make`` is called with the file to make and with an empty directory to work in. What earlier recipes left under
    this name is removed.
    """
    cache = directory()
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    # Two runs at the same time: the other one waits, and finds the file.
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for unfinished in cache.glob(f"{name}-*.*"):
                shutil.rmtree(unfinished)
            _make(path, make)
            for old in cache.glob(f"{name}-" + "?" * 16):
                if old != path:
                    old.unlink()
    return path


def _make(path: Path, make: Callable[[Path, Path], None]) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
    try:
        work.chmod(0o755)
        (work / "work").mkdir()
        make(work / "made", work / "work")
        (work / "made").rename(path)
    finally:
        shutil.rmtree(work)
