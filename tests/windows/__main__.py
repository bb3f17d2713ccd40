"""Runs the suite on Windows' Python under Wine: ``python -m tests.windows [ARGUMENT OF PYTEST…]``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import IO

from .desktop import desktop
from .stage import PROGRAMS, STAGE, stage
from .world import World

#: How much slower than on Linux alone, unless the environment says so; and seconds for all.
_SLOWNESS = os.environ.get("TREEGUARD_TEST_SLOWNESS", "3")
_PATIENCE = 600 * float(_SLOWNESS)


def main(arguments: list[str]) -> int:
    """Makes the world and the stage, and plays. Returns the exit status."""
    world = World()
    world.make()
    with world.running(), desktop(world):
        # A second run must not change the files that the first one uses.
        stage(world)
        command = ["wine", str(world.python / "python.exe"), *arguments]
        env = {
            **world.env,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": ".",
            "TREEGUARD_TEST_PROGRAMS": str(PROGRAMS),
            "TREEGUARD_TEST_SLOWNESS": _SLOWNESS,
        }
        process = subprocess.Popen(
            command,
            cwd=STAGE,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        # Wine's services may hold the pipe open for longer than the program runs.
        reading = threading.Thread(target=_pass_on, args=(process.stdout,), daemon=True)
        reading.start()
        status = process.wait(_PATIENCE)
        reading.join(1)
    return status


def _pass_on(output: IO[bytes]) -> None:
    while data := output.read(4096):
        sys.stdout.buffer.write(data.replace(b"\r", b""))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
