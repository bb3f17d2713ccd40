"""Command lines of Windows: programs get one string, and cut it into arguments themselves, each by its own rules."""

from __future__ import annotations

import os
from subprocess import list2cmdline

from ...params import SpawnParams

__all__ = ["CommandLineParams", "shell_line", "split_line", "with_line"]


class CommandLineParams(SpawnParams, frozen=True):
    """The parameters of a child whose command line is given as a whole. It is not quoted, and ``args`` are not used."""

    command_line: str = ""


def with_line(params: SpawnParams, line: str) -> CommandLineParams:
    """The same parameters, with a command line."""
    return CommandLineParams(
        **{name: getattr(params, name) for name in SpawnParams.__struct_fields__}, command_line=line
    )


def shell_line(command: str) -> tuple[str, str]:
    """The shell, and its command line for a command, as :mod:`subprocess` makes it: the shell strips the quotes."""
    shell = os.environ.get("COMSPEC") or "cmd.exe"
    return shell, f'{list2cmdline([shell])} /c "{command}"'


def split_line(line: str) -> tuple[str, str]:
    """The program that a command line begins with, and the rest. A path with spaces has to be quoted there.

    The first word has no escapes, unlike the others: a path cannot hold quotes.
    """
    line = line.lstrip(" \t")
    if line.startswith('"'):
        program, _, rest = line[1:].partition('"')
        return program, rest
    end = min((place for place in map(line.find, " \t") if place >= 0), default=len(line))
    return line[:end], line[end:]
