"""Broken environments, for programs to be run in: each a command that runs the one that follows it."""

from __future__ import annotations

import os
import shutil

import pytest

from .blind import PROCS

__all__ = ["HOSTS", "STREAMS", "WORLDS", "enter"]


def _mounted(script: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", f'{script}; exec "$@"', "sh"]


def _redirected(how: str) -> list[str]:
    return ["sh", "-c", f'exec "$@" {how}', "sh"]


def _limited(how: str) -> list[str]:
    return ["sh", "-c", f'{how}; exec "$@"', "sh"]


_READ_ONLY = "while read -r _ at _; do mount -o remount,bind,ro $at 2>&-; done </proc/self/mounts"
_NO_TMP = "for at in /tmp /var/tmp /usr/tmp; do mount -t tmpfs -o ro none $at 2>&-; done; cd /proc"

#: What is missing of a host. Takes privileges.
HOSTS: dict[str, list[str]] = {
    **PROCS,
    "no /dev/null": _mounted("mount -t tmpfs none /dev"),
    "a full /dev/null": _mounted("mount --bind /dev/full /dev/null"),
    "a file as /dev/null": _mounted("mount -t tmpfs none /dev; : >/dev/null"),
    "no /tmp": _mounted(_NO_TMP),
    "everything read-only": _mounted(_READ_ONLY),
    "no /dev/null, no /tmp, no /proc": _mounted(f"{_NO_TMP}; mount -t tmpfs none /dev; mount -t tmpfs none /proc"),
}
#: What a program's streams may be.
STREAMS: dict[str, list[str]] = {
    "a full output": _redirected(">/dev/full"),
    "full streams": _redirected(">/dev/full 2>&1"),
    "no input": _redirected("<&-"),
    "no output": _redirected(">&-"),
    "no errors": _redirected("2>&-"),
    "no streams": _redirected("<&- >&- 2>&-"),
}
#: What it may find in its environment, and how little it may have.
WORLDS: dict[str, list[str]] = {
    "an empty environment": ["env", "-i"],
    "no TERM, no HOME, 40 columns": ["env", "-u", "TERM", "-u", "HOME", "COLUMNS=40", "LANG=C"],
    "one column": ["env", "COLUMNS=1", "TERM="],
    "a locale that is none": ["env", "LC_ALL=xx_YY", "PYTHONIOENCODING=ascii", "COLUMNS=many"],
    "warnings as errors": ["env", "PYTHONWARNINGS=error"],
    "32 descriptors": _limited("ulimit -n 32"),
    "16 descriptors": _limited("ulimit -n 16"),
    "no files to be written": _limited("ulimit -f 0"),
}


def enter(name: str) -> list[str]:
    """The beginning of a command line that runs the rest in that environment; skips where it cannot be made."""
    if name not in HOSTS:
        return (STREAMS | WORLDS)[name]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounts and namespaces of one's own take privileges, and unshare(1)")
    return HOSTS[name]
