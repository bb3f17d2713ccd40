"""The command lines of other programs, as words for ``treeguard run``.

Each function takes a program's arguments and returns those of ``treeguard run``. What has no counterpart is left out,
and listed in ``differences.py``. What is wrong is handed on as it is, for ``treeguard run`` to refuse it.
"""

from __future__ import annotations

import getopt
import math
import signal
from collections.abc import Callable, Sequence

__all__ = ["TRANSLATIONS"]

#: Seconds, as an option: they do not kill what does not end.
_FOR_EVER = "1e9"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Nobody is asked by signal 0. Programs that do not handle this one are not, either.
_NO_SIGNAL = str(int(signal.SIGURG))


def dumb_init(arguments: Sequence[str]) -> list[str]:
    """``dumb-init [-c] [-v] [-r FROM:TO] COMMAND``."""
    options, command = _parsed(arguments, "hvVcr:", "help verbose version single-child rewrite=")
    words = ["--grace", _FOR_EVER]
    for name, value in options:
        if name in {"-r", "--rewrite"}:
            heard, _, handed_on = value.partition(":")
            if heard == str(int(signal.SIGTERM)) and handed_on != "0":
                words += ["--signal", handed_on]
        else:
            words += _told(name)
    return [*words, "--", *command]


def tini(arguments: Sequence[str]) -> list[str]:
    """``tini [-s] [-g] [-w] [-v] [-p SIGNAL] [-e CODE] COMMAND``."""
    options, command = _parsed(arguments, "hvsgwlp:e:", "version")
    words = ["--grace", _FOR_EVER]
    for name, value in options:
        words += ["--die-with-parent", "--signal", value] if name == "-p" else _told(name)
    return [*words, "--", *command]


def timeout(arguments: Sequence[str]) -> list[str]:
    """``timeout [-k DURATION] [-s SIGNAL] [--foreground] [--preserve-status] DURATION COMMAND``."""
    options, rest = _parsed(arguments, "k:s:v", "kill-after= signal= verbose foreground preserve-status help version")
    grace = _FOR_EVER
    words = []
    for name, value in options:
        if name in {"-k", "--kill-after"}:
            grace = _seconds(value) or _FOR_EVER
        elif name in {"-s", "--signal"}:
            words += ["--signal", _NO_SIGNAL if value in {"0", "EXIT"} else value]
        else:
            words += _told(name)
    bound = _seconds(rest[0]) if rest else None
    if bound is not None:
        words.append(f"--timeout={bound}")
    return [f"--grace={grace}", *words, "--", *rest[1:]]


def _parsed(arguments: Sequence[str], short: str, long: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Options end where the command begins."""
    try:
        return getopt.getopt(list(arguments), short, long.split())
    except getopt.GetoptError as error:
        return [(f"--{error.opt}", "")], []


def _told(name: str) -> list[str]:
    """``treeguard run`` answers for itself, and says which option it does not know."""
    known = {"-h": ["--help"], "--help": ["--help"]}
    left_out = {"-v", "--verbose", "-V", "--version", "-c", "--single-child", "-s", "-g", "-w", "-l", "-e"}
    if name in left_out | {"--foreground", "--preserve-status"}:
        return []
    return known.get(name, [name])


def _seconds(text: str) -> str | None:
    """A duration in seconds; None for 0 and for more than any clock will show, which mean no limit."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        return text
    if seconds < 0:
        return text
    return None if seconds in {0, math.inf} else repr(seconds)


#: By the name of the program.
TRANSLATIONS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "dumb-init": dumb_init,
    "timeout": timeout,
    "tini": tini,
}
