"""``test.test_subprocess`` with :mod:`treeguard.subprocess` in the place of the standard library's module."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import treeguard.subprocess

from .suite import LeftOut, load, run

__all__ = ["LEFT_OUT", "main"]

_PREEXEC = LeftOut("preexec_fn", "is about preexec_fn, which is refused")

#: By the name of the test method.
LEFT_OUT: dict[str, LeftOut] = {
    "test_close_fds_after_preexec": _PREEXEC,
    "test_preexec": _PREEXEC,
    "test_preexec_at_exit": _PREEXEC,
    "test_preexec_errpipe_does_not_double_close_pipes": _PREEXEC,
    "test_preexec_exception": _PREEXEC,
    "test_preexec_fork_failure": _PREEXEC,
    "test_preexec_gc_module_failure": _PREEXEC,
    "test_surrogates_error_message": _PREEXEC,
    "test__use_vfork": LeftOut("private", "sets subprocess._USE_VFORK and replaces what forks"),
    "test_leak_fast_process_del_killed": LeftOut("private", "looks at subprocess._active"),
    "test_zombie_fast_process_del": LeftOut("private", "looks at subprocess._active"),
    "test_exception_errpipe_bad_data": LeftOut("mock", "replaces os.read, by which nothing is told here"),
    "test_exception_errpipe_normal": LeftOut("mock", "replaces os.read, by which nothing is told here"),
    "test_run_keyboardinterrupt_no_kill": LeftOut("mock", "replaces Popen._communicate, which run() does not call"),
    "test_send_signal_race": LeftOut(
        "other", "waits for the root by os.waitpid: the root is its guard's child, not this process's"
    ),
    "test_stopped": LeftOut("mock", "replaces os.waitpid, by which nothing is waited for here"),
}

#: What the suite imports, and what is to keep the standard library's module.
_HELPERS = ("test.support", "test.support.import_helper", "test.support.os_helper", "test.support.script_helper")


def main(arguments: list[str]) -> int:
    """Runs it. Returns an exit status."""
    if any(load(name) is None for name in _HELPERS):
        return 0
    # Its classes derive from Popen as it is when the suite is imported.
    sys.modules["subprocess"] = treeguard.subprocess
    try:
        module = load("test.test_subprocess")
    finally:
        sys.modules["subprocess"] = subprocess
    if module is None:
        return 0
    assert module.subprocess is treeguard.subprocess
    with tempfile.TemporaryDirectory() as directory:
        before = Path.cwd()
        os.chdir(directory)  # it makes files
        try:
            return run(module, LEFT_OUT, arguments)
        finally:
            os.chdir(before)
