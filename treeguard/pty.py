"""Pseudo-terminals of trees: the classes of ``tree.pty`` and ``process.pty``. Not on Windows.

See ``pty`` of :class:`~treeguard.SpawnParams`, and docs/subprocess.md.
"""

from ._blocking.terminal import BlockingPty
from ._core.streams.pty import Pty

__all__ = ["BlockingPty", "Pty"]
