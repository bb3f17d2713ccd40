"""Builds two things: the cffi extension (stable ABI) and the guard, a small executable beside it in the package."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build_ffi

# The free-threaded build has no stable ABI (PEP 703).
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")


# A job object needs none: the kernel is the guard.
GUARDED = sys.platform != "win32"


class BuildNative(build_ext):
    """``build_ext``, and the guard after it, to the same place."""

    def run(self) -> None:
        """Builds both."""
        super().run()
        if not GUARDED:
            return
        guard = self.guard()
        guard.parent.mkdir(parents=True, exist_ok=True)
        self.build_guard(guard)

    def guard(self) -> Path:
        """Where it is built: in the build directory, or in the source tree of an editable installation."""
        return Path(self.get_ext_fullpath("treeguard._treeguard")).with_name("treeguard-guard")

    def build_guard(self, path: Path) -> None:
        """Builds the guard."""
        cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        # Built aside and moved in: a guard that is running must not be written to (ETXTBSY).
        fresh = path.with_name(path.name + ".new")
        self.spawn(build_ffi.guard_command(cc[:1], platform.machine(), str(fresh)))
        fresh.chmod(0o755)
        fresh.replace(path)

    def get_outputs(self) -> list[str]:
        """Names both, so that they are installed and uninstalled."""
        if not GUARDED:
            return super().get_outputs()
        return [*super().get_outputs(), str(self.guard())]

    def get_output_mapping(self) -> dict[str, str]:
        """Names both in an editable installation that links to each file (``editable_mode=strict``)."""
        mapping: dict[str, str] = super().get_output_mapping()
        if GUARDED and self.inplace:
            mapping[str(Path(self.build_lib, "treeguard", "treeguard-guard"))] = str(self.guard())
        return mapping


setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if LIMITED else {},
)
