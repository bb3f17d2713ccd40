"""A Windows Python on Linux: genuine CPython libraries under Wine, put together from the registries, kept in a cache.

The panda3d wheel carries the Windows libraries and extension modules of CPython; the standard library is that of the
Python that runs this, of the same minor version; the headers for Windows are in Debian's source package. What is
missing besides, ``python.exe`` and the ``python3.dll`` that stable ABI modules import, is a few lines for a compiler.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CC", "World", "call"]

CC = "x86_64-w64-mingw32-gcc"
#: Of the libraries in the wheel below.
PYTHON = (3, 11)
TAG = "".join(map(str, PYTHON))
LIBRARIES = "panda3d==1.10.16"
HEADERS = f"python{PYTHON[0]}.{PYTHON[1]}"
#: What the suite imports there.
PACKAGES = (
    "cffi>=1.17",
    "hypothesis",
    "msgspec>=0.19",
    "pytest",
    "pytest-asyncio",
    "pytest-rerunfailures",
    "pytest-timeout",
)
_SOURCE_LIST = (
    "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main"
)
_EXE = """\
#include <wchar.h>
__declspec(dllimport) int Py_Main(int argc, wchar_t **argv);
int wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }
"""
_QUIET: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_DLL = """\
int __stdcall DllMain(void *self, unsigned reason, void *reserved);
int __stdcall DllMain(void *self, unsigned reason, void *reserved) { return self || reason || reserved || 1; }
"""
#: Seconds that any one step may take.
_PATIENCE = 900


def call(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Runs a step. What it prints is shown only if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        # A pipe: standard output of a Windows program must not be a regular file.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        raise SystemExit(f"exit status {done.returncode}: {' '.join(map(str, command))}")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "treeguard"


class World:
    """A Windows Python below ``root``. The cache is named by the recipe, which is this file."""

    def __init__(self) -> None:
        recipe = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=6).hexdigest()
        self.root = _cache() / f"windows-{recipe}"
        self.python = self.root / "python"
        self.include = self.root / "include"
        self.lib = self.root / "lib"
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in ("DISPLAY", "PYTHONPATH")},
            "WINEPREFIX": str(self.root / "prefix"),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            # Neither a .NET nor an HTML engine is asked for, so that nothing offers to download them.
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
        }

    def make(self) -> None:
        """Puts it together, unless it is there."""
        made = self.root / "made"
        if made.exists():
            return
        if sys.version_info[:2] != PYTHON:
            raise SystemExit(f"the standard library of Python {PYTHON[0]}.{PYTHON[1]} is needed: run this with it")
        if self.root.exists():
            shutil.rmtree(self.root)
        for directory in (self.python / "DLLs", self.include, self.lib):
            directory.mkdir(parents=True)
        for what, step in (
            ("Windows libraries of CPython", self._libraries),
            ("standard library", self._standard_library),
            ("headers", self._headers),
            ("python.exe and python3.dll", self._programs),
            ("packages", self._packages),
            ("Wine's own directory", self._prefix),
        ):
            print(f"making a Windows Python: {what}", flush=True)
            step()
        made.touch()

    def _libraries(self) -> None:
        call([sys.executable, "-m", "pip", "download", "-q", "--no-deps", *_FOR_WINDOWS, LIBRARIES, "-d", self.root])
        (wheel,) = self.root.glob("panda3d-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                directory, _, file = name.rpartition("/")
                if directory != "deploy_libs" or file.startswith("api-ms-") or file[:2] in ("tc", "tk"):
                    continue
                beside = file.lower() in (f"python{TAG}.dll", "vcruntime140.dll", "vcruntime140_1.dll")
                target = self.python if beside else self.python / "DLLs"
                (target / file).write_bytes(archive.read(name))
        wheel.unlink()

    def _standard_library(self) -> None:
        ignored = shutil.ignore_patterns("__pycache__", "lib-dynload", "config-*", "test", "site-packages", "idlelib")
        shutil.copytree(sysconfig.get_path("stdlib"), self.python / "Lib", ignore=ignored)

    def _headers(self) -> None:
        lists = self.root / "lists"
        (lists / "partial").mkdir(parents=True)
        source = self.root / "source.list"
        source.write_text(_SOURCE_LIST + "\n", encoding="ascii")
        apt = ["apt-get", "-qq", "-o", f"Dir::Etc::SourceList={source}", "-o", "Dir::Etc::SourceParts=/dev/null"]
        apt += ["-o", f"Dir::State::Lists={lists}", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
        call([*apt, "update"])
        call([*apt, "source", "--download-only", HEADERS], cwd=self.root)
        (archive,) = self.root.glob("*.orig.tar.*")
        with tarfile.open(archive) as tar:
            for member in tar:
                place = member.name.partition("/")[2]
                if member.isfile() and (place.startswith("Include/") or place in ("PC/pyconfig.h", "PC/python3dll.c")):
                    member.name = place.removeprefix("Include/").removeprefix("PC/")
                    tar.extract(member, self.include, filter="data")
        for left in (archive, *self.root.glob("*.dsc"), *self.root.glob("*.debian.tar.*")):
            left.unlink()
        shutil.rmtree(lists)

    def _programs(self) -> None:
        text = (self.include / "python3dll.c").read_text(encoding="utf-8")
        names = [(name, kind) for kind, name in re.findall(r"^EXPORT_(FUNC|DATA)\((\w+)\)", text, re.MULTILINE)]
        exports = [f"{name}{' DATA' if kind == 'DATA' else ''}" for name, kind in names]
        forwards = [f"{name} = python{TAG}.{name}{' DATA' if kind == 'DATA' else ''}" for name, kind in names]
        self._import_library(f"python{TAG}", ["Py_Main"])
        self._import_library("python3", exports)
        definition = self.lib / "forwards.def"
        definition.write_text("\n".join(["LIBRARY python3.dll", "EXPORTS", *forwards]) + "\n", encoding="ascii")
        nothing = self.lib / "nothing.c"
        nothing.write_text(_DLL, encoding="ascii")
        call([CC, "-shared", "-nostdlib", "-e", "DllMain", "-o", self.python / "python3.dll", nothing, definition])
        source = self.lib / "python.c"
        source.write_text(_EXE, encoding="ascii")
        call([CC, "-municode", "-O1", source, "-L", self.lib, f"-lpython{TAG}", "-o", self.python / "python.exe"])

    def _import_library(self, name: str, exports: Sequence[str]) -> None:
        definition = self.lib / f"{name}.def"
        definition.write_text("\n".join([f"LIBRARY {name}.dll", "EXPORTS", *exports]) + "\n", encoding="ascii")
        call([CC.replace("gcc", "dlltool"), "-d", definition, "-l", self.lib / f"lib{name}.a"])

    def _packages(self) -> None:
        site = self.python / "Lib" / "site-packages"
        call([sys.executable, "-m", "pip", "install", "-q", *_FOR_WINDOWS, "--target", site, *PACKAGES])

    def _prefix(self) -> None:
        with self.running():
            for command in (("wineboot", "-i"), ("winecfg", "-v", "win10"), _WINDOWS_WITHOUT_SCREEN):
                # They leave services running that keep their streams, so there must be no pipe to wait for the end of.
                subprocess.run(["wine", *command], env=self.env, timeout=_PATIENCE, check=True, **_QUIET)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keeps Wine's server up, without which each program would start it. Afterwards nothing of Wine is left.

        For one user at a time: whoever comes second waits.
        """
        self.root.joinpath("prefix").mkdir(exist_ok=True)
        with self.root.joinpath("lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # One that was left by a run that was killed.
            self._server("-k", check=False)
            self._server("-p")
            try:
                yield
            finally:
                self._server("-k", check=False)

    def _server(self, order: str, *, check: bool = True) -> None:
        """Of this directory's server alone. Its end is the end of all that runs on it."""
        subprocess.run(["wineserver", order], env=self.env, timeout=_PATIENCE, check=check, **_QUIET)


#: Programs can make windows, which nobody sees.
_DRIVERS = r"HKEY_CURRENT_USER\Software\Wine\Drivers"
_WINDOWS_WITHOUT_SCREEN = ("reg", "add", _DRIVERS, "/v", "Graphics", "/d", "null", "/f")
_FOR_WINDOWS = ("--platform", "win_amd64", "--only-binary=:all:", "--python-version", f"{PYTHON[0]}.{PYTHON[1]}")


if __name__ == "__main__":
    World().make()
