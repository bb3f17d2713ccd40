"""What fish completes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .completion import TREES, kind_of, words_of
from .parser_view import Argument, commands_of, options_of

__all__ = ["script"]

_ACTIONS = {
    "directory": "(__fish_complete_directories)",
    "user": "(__fish_complete_users)",
    "group": "(__fish_complete_groups)",
    "variable": "(set --names --export)",
    "tree": f"(treeguard {TREES})",
    "command": "(__fish_complete_subcommand --fcs-skip=2)",
}


def script(parser: argparse.ArgumentParser) -> str:
    """The script for a parser."""
    return "\n".join(_lines(parser)) + "\n"


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield "# fish completion for treeguard. Made by: treeguard completion fish"
    yield "complete -c treeguard -f"
    for option in options_of(parser):
        yield _option(option, "__fish_use_subcommand")
    for command in commands_of(parser):
        yield f"complete -c treeguard -n __fish_use_subcommand -a {command.name} -d {_quoted(command.summary)}"
        here = f"__fish_seen_subcommand_from {command.name}"
        for option in command.options:
            yield _option(option, here)
        for argument in command.positionals:
            offered = " ".join(words_of(argument)) or _ACTIONS.get(kind_of(argument) or "", "")
            yield f"complete -c treeguard -n {_quoted(here)} -x -a {_quoted(offered)}"


def _option(option: Argument, where: str) -> str:
    words = ["complete -c treeguard", "-n", _quoted(where)]
    words += [f"-s {name[1:]}" if not name.startswith("--") else f"-l {name[2:]}" for name in option.names]
    if option.value is not None and not option.optional:
        offered = " ".join(words_of(option)) or _ACTIONS.get(kind_of(option) or "", "")
        words += ["-r -F"] if kind_of(option) == "file" else ["-x"]
        words += [f"-a {_quoted(offered)}"] if offered else []
    told = option.help.partition(". ")[0].partition("; ")[0]
    return " ".join((*words, "-d", _quoted(told)))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
