"""Releasing trees and taking them over by the C core, on Linux. Loaded when a tree is released or taken over."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from .native import NativeEngine, NativeTree, _ffi, _lib, _told

__all__ = ["ORDER", "TAKE", "adopt", "answer", "release", "retain"]

#: ``struct tg_order``, and the order of a process that wants to be the supervisor (csrc/wire.h).
ORDER = "=ii"
TAKE, KILL = 4, 1


def release(tree: NativeTree, name: str) -> None:
    """Orders the guard to let its tree outlive this process; RELEASED will be delivered. Raises OSError."""
    _check(_lib.tg_tree_release(tree._cell[0], name.encode("ascii")))


def retain(tree: NativeTree) -> None:
    """Takes that back, or completes a take-over: the tree ends with this process. Raises OSError."""
    _check(_lib.tg_tree_retain(tree._cell[0]))


def answer(tree: NativeTree) -> int | None:
    """The guard's answer to the order to release: 0, or an errno; None as long as there is none."""
    number = int(_lib.tg_tree_answer(tree._cell[0])) if tree.begun else -1
    return None if number < 0 else number


def adopt(
    engine: NativeEngine,
    connection: int,
    guard: int,
    leaf: tuple[int, int],
    tag: int,
    among: MutableMapping[int, Any],
) -> NativeTree:
    """Takes over a released tree: STARTED will be delivered, or FAILED if the guard refuses.

    ``connection`` is a connected descriptor, which is the core's from now on. ``leaf`` is the directory that has the
    tree's leaf, and the name in it. Raises :class:`~treeguard._core.native.CoreError`.
    """
    made = NativeTree()
    among[tag] = made
    fault = _ffi.new("struct tg_fault *")
    _lib.tg_tree_adopt_kept(engine._cell[0], connection, guard, *leaf, tag, made._cell, fault)
    if fault.step:
        raise _told(fault)
    return made


def _check(ret: int) -> None:
    if ret < 0:
        raise OSError(-ret, os.strerror(-ret))
