"""What a machine is given: the checkout as it is, built, and the tests' programs."""

from __future__ import annotations

import tarfile
from pathlib import Path

from ..support.programs import build

__all__ = ["pack"]

_CHECKOUT = Path(__file__).parents[2]
_WANTED = ("treeguard", "tests", "examples", "docs", "README.md", "pyproject.toml")


def _clean(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uname = member.gname = ""
    return None if "__pycache__" in member.name.split("/") else member


def pack(work: Path) -> Path:
    """Writes the tar. The guest has no compiler, so the programs are built here."""
    programs = work / "programs"
    programs.mkdir()
    build(programs)
    path = work / "cargo.tar"
    with tarfile.open(path, "w") as tar:
        for name in _WANTED:
            tar.add(_CHECKOUT / name, name, filter=_clean)
        tar.add(programs, "programs", filter=_clean)
    return path
