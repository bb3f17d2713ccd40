"""Wine's desktop, which is up before a test can need it."""

from __future__ import annotations

import contextlib
import select
import subprocess
from collections.abc import Iterator

from .world import World

__all__ = ["desktop"]

_USER = "import ctypes, sys; ctypes.windll.user32.GetDesktopWindow(); print(flush=True); sys.stdin.read()"
#: Seconds that its start may take.
_PATIENCE = 300


@contextlib.contextmanager
def desktop(world: World) -> Iterator[None]:
    """Keeps the desktop of a world that is running, by a program that uses it.

    Otherwise Wine starts the desktop's process when a program first looks at windows, as ``treeguard run`` does to ask
    COMMAND to end. The new process keeps that program's standard error open while anybody uses the desktop, so a test
    that reads this from a pipe never sees its end.
    """
    with subprocess.Popen(
        ["wine", str(world.python / "python.exe"), "-S", "-c", _USER],
        env=world.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as user:
        try:
            assert user.stdout is not None
            if not (select.select([user.stdout], [], [], _PATIENCE)[0] and user.stdout.read(1)):
                raise SystemExit("Wine's desktop does not start")
            yield
        finally:
            user.kill()
