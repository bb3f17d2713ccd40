"""What a parser accepts, as values: for completions and manual pages, which cannot go stale then."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Argument", "Command", "commands_of", "options_of"]


class Argument(NamedTuple):
    """An option, or a positional argument, which has no names. ``value`` is its metavar; None: it takes no value."""

    names: tuple[str, ...]
    dest: str
    help: str
    value: str | None
    optional: bool
    choices: tuple[str, ...]
    group: str


class Command(NamedTuple):
    """A subcommand."""

    name: str
    summary: str
    parser: argparse.ArgumentParser
    options: tuple[Argument, ...]
    positionals: tuple[Argument, ...]


def options_of(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    """The options of a parser, in the order of its help."""
    return tuple(argument for argument in _arguments(parser) if argument.names)


def commands_of(parser: argparse.ArgumentParser) -> list[Command]:
    """The subcommands of a parser."""
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {action.dest: action.help or "" for action in subparsers._choices_actions}
    found = []
    for name, each in subparsers.choices.items():
        positionals = tuple(argument for argument in _arguments(each) if not argument.names)
        found.append(Command(name, summaries[name], each, options_of(each), positionals))
    return found


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    for group in parser._action_groups:
        for action in group._group_actions:
            if not isinstance(action, argparse._SubParsersAction):
                yield Argument(
                    tuple(action.option_strings),
                    action.dest,
                    (action.help or "").replace("%%", "%"),
                    None if action.nargs == 0 else _value_of(action),
                    action.nargs == "?",
                    _words(action.choices),
                    group.title or "",
                )


def _value_of(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "{" + ",".join(_words(action.choices)) + "}" if action.choices is not None else action.dest.upper()


def _words(choices: object) -> tuple[str, ...]:
    return tuple(map(str, choices)) if isinstance(choices, Sequence) else ()
