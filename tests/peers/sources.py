"""The sources of other projects, with their tests: from Debian's mirror, checked against its signed lists."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from ..kernels.debian import apt_in, mirror, run

__all__ = ["fetch"]

_RELEASE = "bookworm"
_PATIENCE = 120


def fetch(package: str, target: Path) -> Path:
    """The directory of a package's sources as upstream has them. It is kept below ``target``."""
    place = target / package
    if not place.exists():
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as name:
            work = Path(name)
            unpacked = _unpack(_download(package, work), work / "sources")
            unpacked.rename(place)
    return place


def _download(package: str, work: Path) -> Path:
    """Upstream's archive."""
    options = apt_in(work, "deb-src", _RELEASE)
    listed = run("apt-get", *options, "source", "--download-only", "--print-uris", package)
    found = re.search(r"'([^']*\.orig\.tar\.\w+)' \S+ \d+ SHA256:(\w+)", listed)
    if found is None:
        raise SystemExit(f"{mirror()} has no sources of {package}")
    with urllib.request.urlopen(found[1], timeout=_PATIENCE) as stream:
        content = stream.read()
    if hashlib.sha256(content).hexdigest() != found[2]:
        raise SystemExit(f"{found[1]} is not what {mirror()} lists")
    archive = work / Path(found[1]).name
    archive.write_bytes(content)
    return archive


def _unpack(archive: Path, target: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    (unpacked,) = target.iterdir()
    return unpacked
