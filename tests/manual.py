"""The manual pages, made from the parser and from the words below: ``python -m tests.shipped`` writes them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator

from treeguard._cli.parser_view import Argument, Command, commands_of, options_of

__all__ = ["pages"]

_EXAMPLES = {
    "": (
        ("treeguard run --timeout 60 -- make test", "A minute for the tests, and nothing that they started is left."),
        ("treeguard ps --members", "What runs under whom."),
    ),
    "run": (
        ("treeguard run --grace 30 -- sh -c 'redis-server & wait'", "The server has half a minute to save its data."),
        ("treeguard run --report - --limits memory=512M,cpu=1.5 -- ./build", "Bounded, and told how it ended."),
        ("treeguard run --die-with-parent -- ./server", "As a prefix in another program's configuration."),
    ),
    "ps": (
        ("treeguard ps --watch", "Again every two seconds."),
        ("treeguard ps --json | jq '.trees[] | {id, kind, memory}'", "For programs."),
    ),
    "kill": (
        ("treeguard kill 19640", "The tree with that number in the list of treeguard ps, or with that root."),
        ("treeguard kill --signal INT --grace 60 19640.3879093", "Asked otherwise, and with more time."),
    ),
    "completion": (("source <(treeguard completion bash)", "In ~/.bashrc."),),
}
_ENVIRONMENT = {
    "ps": (
        ("COLUMNS, LINES", "The size of the terminal, if it is not the one that the terminal tells."),
        ("NO_COLOR", "No colours."),
        ("TERM", "The value dumb turns colours off, and treeguard ps --watch prints each list below the one before."),
    ),
}


def pages(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The pages of section 1, by the names of their files."""
    commands = commands_of(parser)
    found = {"treeguard.1": "\n".join(_main_page(parser, commands)) + "\n"}
    for command in commands:
        found[f"treeguard-{command.name}.1"] = "\n".join(_page(command, commands)) + "\n"
    return found


def _main_page(parser: argparse.ArgumentParser, commands: list[Command]) -> Iterator[str]:
    yield from _head("treeguard", "own process trees")
    yield ".SH SYNOPSIS"
    yield r"\fBtreeguard\fR \fICOMMAND\fR [\fIOPTION\fR...]"
    yield ".SH DESCRIPTION"
    yield _escaped(parser.description or "")
    yield ".SH COMMANDS"
    for command in commands:
        yield ".TP"
        yield rf"\fBtreeguard\-{command.name}\fR(1)"
        yield _escaped(_sentence(command.summary))
    yield ".SH OPTIONS"
    yield from _options(options_of(parser))
    yield from _examples("")
    yield from _see_also("", commands)


def _page(command: Command, commands: list[Command]) -> Iterator[str]:
    yield from _head(f"treeguard-{command.name}", command.summary)
    yield ".SH SYNOPSIS"
    operands = " ".join(_operand(each) for each in command.positionals)
    yield rf"\fBtreeguard {command.name}\fR [\fIOPTION\fR...] {operands}".rstrip()
    yield ".SH DESCRIPTION"
    yield from _prose(command.parser.description or "")
    for argument in command.positionals:
        yield ".TP"
        yield rf"\fI{_escaped(argument.value or argument.dest)}\fR"
        yield _escaped(_sentence(argument.help))
    yield ".SH OPTIONS"
    groups = dict.fromkeys(option.group for option in command.options)
    for group in groups:
        if group != "options" and len(groups) > 1:
            yield f'.SS "{_escaped(group[0].upper() + group[1:])}"'
        yield from _options(option for option in command.options if option.group == group)
    yield from _epilog(command.parser.epilog or "")
    if command.name in _ENVIRONMENT:
        yield ".SH ENVIRONMENT"
        yield from _tagged(_ENVIRONMENT[command.name])
    yield from _examples(command.name)
    yield from _see_also(command.name, commands)


def _head(name: str, summary: str) -> Iterator[str]:
    yield r".\" Made from the parser by: python -m tests.shipped"
    yield f'.TH {name.upper()} 1 "" treeguard "User Commands"'
    yield ".SH NAME"
    yield rf"{_escaped(name)} \- {_escaped(summary)}"


def _operand(argument: Argument) -> str:
    value = rf"\fI{_escaped(argument.value or argument.dest)}\fR"
    many = argument.dest in ("command", "ids")
    return (r"[\fB\-\-\fR] " if argument.dest == "command" else "") + value + ("..." if many else "")


def _options(options: Iterable[Argument]) -> Iterator[str]:
    for option in options:
        yield ".TP"
        value = "" if option.value is None else rf" \fI{_escaped(option.value)}\fR"
        value = f" [{value.strip()}]" if option.optional else value
        yield ", ".join(rf"\fB{_escaped(name)}\fR{value}" for name in option.names)
        yield _escaped(_sentence(option.help))


def _epilog(text: str) -> Iterator[str]:
    """The part of the help that follows the options: a table of statuses, and prose."""
    table = re.match(r"exit status:\n((?:  .*\n)+)", text)
    if table is None:
        yield from _prose(text) if text else ()
        return
    yield '.SH "EXIT STATUS"'
    for line in table[1].splitlines():
        status, _, meaning = line.strip().partition(" ")
        if status.isdigit():
            yield ".TP"
            yield rf"\fB{status}\fR"
            yield _escaped(_sentence(meaning.strip()))
        else:
            yield _escaped(_sentence(line.strip().removesuffix(", or")))
    rest = text[table.end() :].strip()
    if rest:
        yield ".PP"
        yield from _prose(rest)


def _prose(text: str) -> Iterator[str]:
    """Paragraphs. What is indented stays as it is."""
    for i, paragraph in enumerate(re.split(r"\n\s*\n", text.strip("\n"))):
        if paragraph.startswith("  "):
            yield from (".PP", ".nf")
            yield from (_escaped(line) for line in paragraph.splitlines())
            yield ".fi"
        else:
            yield from [".PP"] if i else []
            yield from (_escaped(line) for line in paragraph.splitlines())


def _examples(name: str) -> Iterator[str]:
    if name in _EXAMPLES:
        yield ".SH EXAMPLES"
        yield from _tagged(_EXAMPLES[name])


def _tagged(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for tag, text in rows:
        yield from (".TP", rf"\fB{_escaped(tag)}\fR", _escaped(text))


def _see_also(name: str, commands: list[Command]) -> Iterator[str]:
    names = ["treeguard", *(f"treeguard-{command.name}" for command in commands)]
    others = [each for each in names if each != f"treeguard-{name}".removesuffix("-")]
    yield '.SH "SEE ALSO"'
    for i, each in enumerate(others):
        yield rf".BR {_escaped(each)} (1)" + ("," if i < len(others) - 1 else "")


def _sentence(text: str) -> str:
    # Not a word that is typed: a value that is explained, or an example of one.
    typed = text.startswith("treeguard") or text.split(" ", maxsplit=1)[0].endswith(":")
    capital = text if typed else text[:1].upper() + text[1:]
    return capital if capital.endswith(".") else f"{capital}."


def _escaped(text: str) -> str:
    """For a line of roff: its own signs as text, and a hyphen that is a minus as a minus."""
    for sign, name in (("\\", "e"), ("-", "-"), ("'", "(aq"), ("^", "(ha"), ("~", "(ti"), ("`", "(ga")):
        text = text.replace(sign, f"\\{name}")
    return rf"\&{text}" if text.startswith(".") else text
