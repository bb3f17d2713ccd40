"""What the subcommands share: finding out which one is meant, and loading no other."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol, cast

__all__ = ["main"]

_COMMANDS = {
    "run": "run a command, and end whatever it leaves behind",
    "doctor": "tell what this host gives, proved by trying",
    "demo": "show the main job on real processes",
}


#: As a shell shows a death by SIGPIPE, also where there is none.
_BROKEN_PIPE = 128 + 13


class _Command(Protocol):
    """What each subcommand's module has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the subcommand's arguments."""

    def main(self, options: argparse.Namespace) -> int:
        """Does it, and returns the exit status."""


class _Version(argparse.Action):
    """Reads the version only when it is asked for: importing what reads it takes as long as starting a tree."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        metadata = importlib.import_module("importlib.metadata")
        parser.exit(message=f"treeguard {metadata.version('treeguard')}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status; bad usage raises SystemExit(2)."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="treeguard",
        description="Owns process trees: whatever you start, you can stop, all of it, and none of it outlives you.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="subcommand", required=True)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, allow_abbrev=False)
        if name == asked:
            _load(name).configure(subparser)
    options = parser.parse_args(arguments)
    try:
        return _load(options.subcommand).main(options)
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _load(name: str) -> _Command:
    return cast("_Command", importlib.import_module(f".{name}", __package__))
