"""The options of ``treeguard run``, in the groups that ``--help`` shows."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Any, get_args

from .._core.containment.guarantees import GUARANTEES, MECHANISMS
from ..limits import Limits
from ..params import Isolation
from . import PARENT
from .option_values import (
    assignment,
    duration,
    guarantees,
    limits,
    mask,
    niceness,
    signal_to_ask,
    variable,
    whole,
)
from .patience import Patience
from .request import Request

__all__ = ["configure", "requested"]

_DESCRIPTION = """\
Runs COMMAND, and ends whatever it leaves behind: daemons, orphans, all of it.
It is a stand-in for COMMAND: standard streams, further descriptors, ignored
signals, the terminal and the signals sent to it are handed on. When it is
killed itself, the whole tree ends.
"""
_EPILOG = """\
exit status:
  that of COMMAND, or
  124    COMMAND timed out
  125    treeguard failed, or was used wrongly
  126    COMMAND cannot be executed
  127    COMMAND was not found

When a signal ended COMMAND, treeguard run dies of the same signal, which
shells show as 128+N. Ignored signals stay ignored in COMMAND.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``treeguard run``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "treeguard run [OPTION...] [--] COMMAND..."
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments; options end here"
    )
    _configure_ending(parser.add_argument_group("how it ends"))
    _configure_given(parser.add_argument_group("what COMMAND is given"))
    _configure_containment(parser.add_argument_group("containment"))
    _configure_reporting(parser.add_argument_group("reporting"))
    parser.set_defaults(usage_error=parser.error)


def _configure_ending(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--timeout", type=duration, metavar="S", help="end the tree after S seconds: SIGTERM, the grace, SIGKILL"
    )
    group.add_argument(
        "--grace",
        type=duration,
        default=10.0,
        metavar="S",
        help="seconds that the tree has to end after SIGINT, SIGTERM, the terminal's SIGHUP or the timeout, whether "
        "COMMAND itself is still there or not (default: 10). A second SIGINT or SIGTERM ends it now",
    )
    group.add_argument(
        "--linger",
        type=duration,
        default=0.5,
        metavar="S",
        help="seconds that the rest of the tree has to end after COMMAND has ended by itself: it is asked first, and a "
        "process that reads a pipe later, so that it can read to the end (default: 0.5; 0 kills it at once)",
    )
    group.add_argument(
        "--release",
        action="store_true",
        help="when COMMAND has exited by itself, what is still there of its tree after the linger is neither asked nor "
        "killed: it lives on under its guard, which is said, and 'treeguard kill' ends it. Linux",
    )
    group.add_argument(
        "--signal",
        type=signal_to_ask,
        default=signal.SIGTERM,
        metavar="SIG",
        help="the signal that asks the tree to end, in the place of SIGTERM: a name or a number (default: TERM)",
    )
    if os.name == "posix":
        group.add_argument(
            "--die-with-parent",
            action="store_true",
            help="when the process that started treeguard run has ended, even by SIGKILL, the tree is asked to end, "
            "and killed after the grace",
        )


def _configure_given(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--env",
        type=assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable; NAME alone has the value that it has here. Can be repeated, as the next one",
    )
    group.add_argument(
        "--unset-env", type=variable, action="append", default=[], metavar="NAME", help="leave a variable out"
    )
    group.add_argument("--clear-env", action="store_true", help="leave all variables out but those of --env")
    group.add_argument("--cwd", metavar="DIR", help="start in this directory; COMMAND and PATH are relative to it")
    if os.name == "posix":
        _configure_given_on_posix(group)


def _configure_given_on_posix(group: argparse._ArgumentGroup) -> None:
    from . import accounts  # noqa: PLC0415 - of POSIX

    group.add_argument(
        "--user",
        type=accounts.user,
        metavar="U[:G]",
        help="run as this user, with its groups, HOME, USER, LOGNAME and SHELL; a name or a number",
    )
    group.add_argument("--group", type=accounts.group, metavar="G", help="run with this group; a name or a number")
    group.add_argument("--umask", type=mask, metavar="MASK", help="the mask of the modes of new files, such as 077")
    group.add_argument("--nice", type=niceness, metavar="N", help="add N to the nice value")
    group.add_argument(
        "--notify",
        action="store_true",
        help="let COMMAND, and what it starts, tell by sd_notify that it is ready, alive or stopping; the service "
        "manager (NOTIFY_SOCKET) is told so by treeguard run, its main process",
    )
    group.add_argument(
        "--foreground",
        action="store_true",
        help="give COMMAND the terminal from the start, wherever its streams lead; without this it gets the terminal "
        "from the start if all three lead there, else when it reads from it",
    )


def _configure_containment(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--containment",
        choices=("auto", *MECHANISMS),
        default="auto",
        metavar="M",
        help="what keeps the tree together (default: auto): " + ", ".join(MECHANISMS),
    )
    group.add_argument(
        "--require",
        type=guarantees,
        default=(),
        metavar="G",
        help="fail unless the mechanism guarantees these, a list with commas of: " + ", ".join(GUARANTEES),
    )
    group.add_argument(
        "--isolation",
        choices=get_args(Isolation),
        default="none",
        metavar="I",
        help="signals: COMMAND can signal and trace only what it started, and cannot gain privileges; pid_namespace: "
        "it sees nothing else; none: it is not restricted (default: none)",
    )
    group.add_argument(
        "--limits",
        type=limits,
        action="append",
        default=[],
        metavar="L",
        help="memory=512M,processes=100,cpu=1.5: what the whole tree may use. Fails where that cannot be kept",
    )


def _configure_reporting(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--report",
        metavar="FILE",
        help="write how the tree ended to FILE, as JSON; - is standard error, since standard output is COMMAND's",
    )
    if os.name == "posix":
        group.add_argument(
            "--status-fd",
            type=whole,
            metavar="N",
            help="write a line of JSON to descriptor N when COMMAND has started, and when its tree has ended",
        )


def requested(options: argparse.Namespace) -> Request:
    """What the options ask for. Contradictions are wrong usage."""
    # argparse.REMAINDER keeps the "--".
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        options.usage_error("COMMAND is missing")
    if options.cwd == "":
        options.usage_error("argument --cwd: DIR must not be empty")
    with_parent = getattr(options, "die_with_parent", False)
    if with_parent and PARENT == 0:
        options.usage_error("argument --die-with-parent: the parent is not in this PID namespace and cannot be seen")
    if options.release and with_parent:
        options.usage_error("argument --release: what is released has no parent to die with (--die-with-parent)")
    if options.release and os.getpid() == 1:
        options.usage_error("argument --release: nothing outlives process 1 of a PID namespace")
    return Request(
        command=tuple(command),
        patience=Patience(
            *(options.timeout, options.grace, options.linger, options.signal),
            with_parent=with_parent,
            release=options.release,
        ),
        given=_given(options),
        unset=tuple(options.unset_env),
        foreground=getattr(options, "foreground", False),
    )


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Fields of ``SpawnParams``, but those that stay at their defaults."""
    account = _account(options)
    env = account.pop("env", {})
    env.update((name, value) for name, value in options.env if value is not None)
    given = {
        **account,
        "env": env,
        "clear_env": options.clear_env or None,
        "cwd": options.cwd,
        "umask": getattr(options, "umask", None),
        "nice": getattr(options, "nice", None),
        "limits": _limits(options),
        "notify": getattr(options, "notify", False) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _account(options: argparse.Namespace) -> dict[str, Any]:
    user, group = getattr(options, "user", None), getattr(options, "group", None)
    if user is None and group is None:
        return {}
    from .accounts import fields_of  # noqa: PLC0415 - of POSIX

    if user is not None and user.group is not None:
        if group is not None:
            options.usage_error("argument --group: --user names a group too")
        group = user.group
    try:
        return fields_of(user, group)
    except ValueError as error:
        options.usage_error(f"argument --user: {error}")
        raise


def _limits(options: argparse.Namespace) -> Limits | None:
    asked: dict[str, Any] = {}
    for each in options.limits:
        asked.update(each)
    try:
        return Limits(**asked) if asked else None
    except ValueError as error:
        options.usage_error(f"argument --limits: {str(error).removeprefix('limits: ')}")
        raise
