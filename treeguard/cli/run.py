"""``treeguard run``: a stand-in for a command, that leaves nothing of it behind."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
import traceback

from ..containment import MECHANISMS
from ..errors import EmptyProgram, ProgramNotFound, SpawnError, TreeguardError
from ..local import LocalProcessManager
from ..params import SpawnParams
from . import inherited
from .supervision import Outcome, Supervision
from .terminal import Terminal

__all__ = ["configure", "main"]

_TIMED_OUT = 124
_OWN_FAILURE = 125
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_SIGNALLED = 128

_DESCRIPTION = """\
Runs COMMAND, and ends whatever it leaves behind: daemons, orphans, all of it. It is a stand-in for COMMAND: standard
streams, further descriptors, ignored signals, the terminal and signals sent to it are handed on. When it is killed
itself, the whole tree ends.
"""
_EPILOG = """\
exit status:
  that of COMMAND, or
  124    it timed out
  125    treeguard failed
  126    COMMAND cannot be executed
  127    COMMAND was not found
  128+N  it was ended by signal N

Ignored signals stay ignored in COMMAND, except SIGPIPE, SIGXFSZ and SIGCHLD.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``treeguard run``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "treeguard run [--timeout S] [--grace S] [--containment M] [--] COMMAND..."
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument(
        "--timeout", type=_duration, metavar="S", help="end the tree after S seconds: SIGTERM, grace, SIGKILL"
    )
    parser.add_argument(
        "--grace",
        type=_duration,
        default=10.0,
        metavar="S",
        help="how long the tree has to become empty after SIGINT, SIGTERM or SIGHUP (default: 10)",
    )
    parser.add_argument(
        "--containment",
        choices=("auto", *MECHANISMS),
        default="auto",
        metavar="M",
        help="what keeps the tree together (default: auto): " + ", ".join(MECHANISMS),
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="and its arguments, to the end")
    parser.set_defaults(usage_error=parser.error)


def main(options: argparse.Namespace) -> int:
    """Runs the command and returns the exit status."""
    # REMAINDER keeps the separator.
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        options.usage_error("COMMAND is missing")
    inherited.hold_standard_streams()
    inherited.drop_coerced_locale()
    # Ignored, it would let the kernel reap our own children, and their exits would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    terminal = Terminal.find()
    group = 0
    try:
        outcome = asyncio.run(_supervise(options, _params(command, terminal), terminal))
        group = outcome.group
    except SpawnError as error:
        return _failed(f"{command[0]}: {error.strerror}", _status_of_failure(error))
    except TreeguardError as error:
        return _failed(str(error), _OWN_FAILURE)
    except Exception:
        traceback.print_exc()
        return _OWN_FAILURE
    finally:
        # Also after a failed exec: the child takes the terminal before it tries.
        if terminal is not None:
            terminal.take_back(group)
    if terminal is not None and outcome.exit is not None and outcome.exit.signal is not None:
        terminal.restore_modes()
    return _status(outcome)


def _params(command: list[str], terminal: Terminal | None) -> SpawnParams:
    return SpawnParams(
        program=command[0],
        args=tuple(command[1:]),
        stdin="inherit",
        pass_fds=inherited.extra_descriptors(),
        ignore_signals=inherited.ignored_signals(),
        # It is given in the child, before the program runs, so that the program never sees itself in the background.
        terminal=0 if terminal is not None and terminal.wanted and terminal.ours else None,
    )


async def _supervise(options: argparse.Namespace, params: SpawnParams, terminal: Terminal | None) -> Outcome:
    async with LocalProcessManager(containment=options.containment) as manager:
        supervision = Supervision(manager, terminal, timeout=options.timeout, grace=options.grace)
        outcome = await supervision.run(params)
    # Leaving the manager has emptied the tree. Raises if the guard was lost, and this cannot be proved.
    await manager.wait_for_exit(outcome.pid)
    return outcome


def _status(outcome: Outcome) -> int:
    if outcome.timed_out:
        return _TIMED_OUT
    end = outcome.exit
    if end is not None and end.code is not None:
        return end.code
    if end is not None and end.signal is not None:
        return _SIGNALLED + end.signal
    return _failed("how the command ended cannot be known", _OWN_FAILURE)


def _status_of_failure(error: SpawnError) -> int:
    if isinstance(error, ProgramNotFound | EmptyProgram):
        return _NOT_FOUND
    return _NOT_EXECUTABLE if error.step in {"search", "exec"} else _OWN_FAILURE


def _failed(message: str, status: int) -> int:
    print(f"treeguard run: {message}", file=sys.stderr)
    return status


def _duration(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds
