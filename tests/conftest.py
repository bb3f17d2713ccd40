"""What holds for every test, and what tests are for: each system has its own."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent

if sys.platform == "win32":
    from .windows.fixtures import *  # noqa: F403

    #: Of those with processes: the others are about signals, shells, descriptors and /proc by their very subject.
    _NEUTRAL = ("test_control.py", "test_control_attacks.py", "test_control_child.py", "test_manager.py")
    _OF_POSIX = (
        "kernels",
        "peers",
        "native",
        "servers",
        "property/test_lifeline.py",
        "property/test_like_subprocess.py",
        "property/test_like_asyncio.py",
        "property/test_like_starts.py",
        "property/test_spec.py",
        "property/test_trees.py",
        "unit/test_channel.py",
        "unit/test_closing.py",
        "unit/test_notify_socket.py",
        "unit/test_platforms.py",
        "unit/test_pump.py",
        "unit/test_guard_loss.py",
        "unit/test_spec.py",
        "unit/test_testing.py",
        "unit/test_testing_clock.py",
        "unit/test_testing_docs.py",
    )
    collect_ignore = [
        *(str(_HERE / name) for name in _OF_POSIX),
        *(str(path) for path in _HERE.joinpath("system").glob("test_*.py") if path.name not in _NEUTRAL),
    ]
else:
    from .support.fixtures import *  # noqa: F403

    collect_ignore = [str(path) for path in _HERE.joinpath("windows").glob("test_*.py")]
