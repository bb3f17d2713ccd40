"""Pseudo-terminals of trees: the classes of ``tree.pty``, for type checkers and documentation. Not on Windows.

See ``pty`` of :class:`~treeguard.SpawnParams`, and docs/subprocess.md.
"""

from ._core.streams.pty import Pty

__all__ = ["Pty"]
