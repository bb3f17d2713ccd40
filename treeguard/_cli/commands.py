"""The entry point: finds the subcommand that was asked for, and loads no other."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Container, Iterable, Sequence
from typing import Any, NoReturn, Protocol, cast

from .dying import die_of
from .output import Unwritable, complain, say

__all__ = ["full_parser", "main"]

_COMMANDS = {
    "run": "run a command, and end whatever it leaves behind",
    "ps": "show the guarded trees of this system",
    "kill": "end guarded trees",
    "doctor": "try out what treeguard can guarantee on this host",
    "demo": "show on real processes what treeguard does",
    "completion": "print the completions of a shell",
}


#: The status that a shell shows for a death by SIGPIPE, also on systems without that signal.
_BROKEN_PIPE = 128 + 13
_INTERRUPTED = 128 + 2
_FAILED = 1
_WRONG_USAGE = 2
#: The failure status of subcommands whose status 1 says something else, or is that of another program.
_FAILED_AS_ANOTHER = {"run": 125, "ps": 125, "kill": 125}


class _Command(Protocol):
    """The interface of a subcommand's module."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Adds the subcommand's arguments."""

    def main(self, options: argparse.Namespace) -> int:
        """Runs the subcommand and returns the exit status."""


class _Version(argparse.Action):
    """Reads the version only if it is asked for: importing the module for it takes as long as starting a tree."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        metadata = importlib.import_module("importlib.metadata")
        try:
            version = metadata.version("treeguard")
        except metadata.PackageNotFoundError:
            version = "unknown"
        say(f"treeguard {version}\n")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Raises an error if its help cannot be written, and ignores complaints that cannot be written.

    An unknown option is an error of the subcommand that it was given to, not of the whole program.
    """

    def error(self, message: str) -> NoReturn:
        status = _FAILED_AS_ANOTHER.get(self.prog.removeprefix("treeguard "), _WRONG_USAGE)
        self.print_usage(sys.stderr)
        self.exit(status, f"{self.prog}: error: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            kind = "option" if unknown[0].startswith("-") else "argument"
            self.error(f"unknown {kind} {unknown[0]!r}{_suggestion(unknown[0], known)}")
        return options, unknown

    def print_help(self, file: Any = None) -> None:
        del file
        say(self.format_help())

    def _print_message(self, message: str, file: Any = None) -> None:
        del file
        for line in message.removesuffix("\n").split("\n"):
            complain(line)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status; bad usage raises SystemExit, with status 2, or 125 for ``run``.

    Any error is reported in one line, since a traceback does not help on a broken host.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    name = f"treeguard {asked}" if asked in _COMMANDS else "treeguard"
    try:
        return _main(arguments, asked)
    except Unwritable as error:
        _let_go_of_output()
        if isinstance(error.__cause__, BrokenPipeError):
            # The reader of our output has seen enough.
            return _BROKEN_PIPE
        complain(f"{name}: cannot write to standard output: {error}")
        return _FAILED_AS_ANOTHER.get(asked or "", _FAILED)
    except KeyboardInterrupt:
        return _die_of_interrupt()
    except Exception as error:
        complain(f"{name}: {_in_one_line(error)}")
        return _FAILED_AS_ANOTHER.get(asked or "", _FAILED)


def full_parser() -> argparse.ArgumentParser:
    """The parser with the options of all subcommands, for manuals and completions."""
    return _parser(_COMMANDS)


def _main(arguments: Sequence[str], asked: str | None) -> int:
    parser = _parser(() if asked is None else (asked,))
    if asked is not None and asked not in _COMMANDS:
        parser.error(f"unknown command {asked!r}{_suggestion(asked, _COMMANDS)} (commands: {', '.join(_COMMANDS)})")
    options = parser.parse_args(arguments)
    command = _load(options.subcommand)
    if options.subcommand != "run" and os.name == "posix":
        # They clean up after themselves.
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if os.getpid() == 1:
            from .init import release_signals  # noqa: PLC0415 - for containers

            release_signals()
    return command.main(options)


def _parser(configured: Container[str]) -> _Parser:
    """The parser, with the options of these subcommands."""
    parser = _Parser(
        prog="treeguard",
        description="Owns process trees: whatever you start, you can stop, all of it, and none of it outlives you.",
        epilog="'treeguard COMMAND --help' shows the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="subcommand", required=True)
    for name, summary in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, allow_abbrev=False)
        if name in configured:
            _load(name).configure(subparser)
    return parser


def _suggestion(given: str, known: Iterable[str]) -> str:
    """What was probably meant, as the end of a sentence."""
    import difflib  # noqa: PLC0415 - only errors need it

    meant = difflib.get_close_matches(given.partition("=")[0], known, n=1)
    return f"; did you mean {meant[0]!r}?" if meant else ""


def _let_go_of_output() -> None:
    """Sends buffered output to a pipe without a reader, so that it does not fail again at exit."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError):
            _, writing = os.pipe()
            os.dup2(writing, sys.stdout.fileno())


def _die_of_interrupt() -> int:
    """Dies of SIGINT itself on POSIX systems, so that a shell's loop ends too. Elsewhere returns the status for it."""
    if os.name == "posix":
        die_of(signal.SIGINT)
    return _INTERRUPTED


def _in_one_line(error: Exception) -> str:
    """The error in one line, with the place that it comes from."""
    if isinstance(error, ImportError):
        return f"this installation of treeguard is broken: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"


def _load(name: str) -> _Command:
    return cast("_Command", importlib.import_module(f".{name}", __package__))
