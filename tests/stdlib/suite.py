"""Running a suite of the interpreter without the tests that are left out, each of which has a reason."""

from __future__ import annotations

import importlib
import sys
import unittest
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Literal, NamedTuple

__all__ = ["LeftOut", "load", "run"]


class LeftOut(NamedTuple):
    """Why a test does not apply. ``other``: a user could meet it, so there may be few."""

    kind: Literal["preexec_fn", "private", "mock", "other"]
    reason: str


def load(name: str) -> ModuleType | None:
    """The suite's module. None, said on standard error, if this interpreter came without it."""
    try:
        return importlib.import_module(name)
    except (ImportError, unittest.SkipTest) as error:
        print(f"skipped: {sys.executable} has no {name}: {error}", file=sys.stderr)
        return None


def run(module: ModuleType, left_out: Mapping[str, LeftOut], arguments: list[str]) -> int:
    """Runs a suite's tests, those whose names contain an argument if there are any. Returns an exit status."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    suite = unittest.TestSuite()
    skipped = set()
    for test in _tests(unittest.defaultTestLoader.loadTestsFromModule(module)):
        method = test.id().rpartition(".")[2]
        if method in left_out:
            skipped.add(method)
        elif not names or any(name in test.id() for name in names):
            suite.addTest(test)
    outcome = unittest.TextTestRunner(verbosity=2 if "-v" in arguments else 1).run(suite)
    for method in sorted(skipped):
        print(f"left out: {method} ({left_out[method].kind}): {left_out[method].reason}", file=sys.stderr)
    return 0 if outcome.wasSuccessful() else 1


def _tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from _tests(each)
        else:
            yield each
