"""``test.test_asyncio.test_subprocess`` with treeguard's functions in the place of asyncio's."""

from __future__ import annotations

import asyncio
import asyncio.subprocess

import treeguard

from .suite import LeftOut, load, run

__all__ = ["LEFT_OUT", "main"]

#: By the name of the test method.
LEFT_OUT: dict[str, LeftOut] = {
    "test_pid_not_reaped_before_exit_published": LeftOut("private", "looks at the loop's watcher and its threads"),
    "test_pause_reading": LeftOut("private", "looks at Process._transport; test_streams.py tests back-pressure"),
    "test_popen_error": LeftOut("mock", "replaces subprocess.Popen, which nothing here calls"),
    "test_popen_error_with_stdin_pipe": LeftOut("mock", "replaces subprocess.Popen, which nothing here calls"),
    "test_create_subprocess_fails_with_inactive_watcher": LeftOut(
        "mock", "replaces asyncio's child watcher, which nothing here needs"
    ),
}


def main(arguments: list[str]) -> int:
    """Runs it. Returns an exit status."""
    module = load("test.test_asyncio.test_subprocess")
    if module is None:
        return 0
    # One test of 3.12 relies on this having been called, by a test that is left out.
    asyncio.set_event_loop(None)
    for place in (asyncio, asyncio.subprocess):
        for name in ("create_subprocess_exec", "create_subprocess_shell"):
            setattr(place, name, getattr(treeguard, name))
    return run(module, LEFT_OUT, arguments)
