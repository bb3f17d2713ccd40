"""What the subcommands share: finding out which one is meant, and loading no other."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Protocol, cast

from .page import Unwritable, complain

__all__ = ["main"]

_COMMANDS = {
    "run": "run a command, and end whatever it leaves behind",
    "doctor": "tell what this host gives, proved by trying",
    "demo": "show the main job on real processes",
}


#: As a shell shows a death by SIGPIPE, also where there is none.
_BROKEN_PIPE = 128 + 13
_FAILED = 1
#: Those whose status is another program's have one of their own for that.
_FAILED_AS_ANOTHER = {"run": 125}


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
        try:
            version = metadata.version("treeguard")
        except metadata.PackageNotFoundError:
            version = "unknown"
        print(f"treeguard {version}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status; bad usage raises SystemExit(2).

    What goes wrong is said in one line, whatever it is: nobody wants to read a traceback of a broken host.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    name, status = f"treeguard {asked}" if asked in _COMMANDS else "treeguard", 0
    try:
        try:
            status = _main(arguments, asked)
        finally:
            # What is said by argparse is still held back, and would fail at the interpreter's end, for which it has a
            # status of its own.
            _flush()
    except Unwritable as error:
        _let_go_of_output()
        if isinstance(error.__cause__, BrokenPipeError):
            # Whoever read our output has seen enough.
            return _BROKEN_PIPE
        complain(f"{name}: cannot write to standard output: {error}")
        return status or _FAILED
    except KeyboardInterrupt:
        _die_of_interrupt()
    except Exception as error:
        complain(f"{name}: {_told(error)}")
        return _FAILED_AS_ANOTHER.get(asked or "", _FAILED)
    return status


def _main(arguments: Sequence[str], asked: str | None) -> int:
    parser = argparse.ArgumentParser(
        prog="treeguard",
        description="Owns process trees: whatever you start, you can stop, all of it, and none of it outlives you.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="subcommand", required=True)
    for name, summary in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, allow_abbrev=False)
        if name == asked:
            _load(name).configure(subparser)
    options = parser.parse_args(arguments)
    return _load(options.subcommand).main(options)


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise Unwritable(str(error)) from error


def _let_go_of_output() -> None:
    """What is still buffered must not fail once more at the exit: it goes to a pipe that is read by nobody."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError):
            _, writing = os.pipe()
            os.dup2(writing, sys.stdout.fileno())


def _die_of_interrupt() -> None:
    """By the signal itself, so that a shell's loop ends too. Where there is none of POSIX: as the interpreter does."""
    if os.name != "posix":
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _told(error: Exception) -> str:
    """In one line, with the place that it comes from."""
    if isinstance(error, ImportError):
        return f"this installation of treeguard is broken: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"


def _load(name: str) -> _Command:
    return cast("_Command", importlib.import_module(f".{name}", __package__))
