"""What zsh completes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .completion import TREES, kind_of, words_of
from .parser_view import Argument, commands_of, options_of

__all__ = ["script"]

_ACTIONS = {
    "file": "_files",
    "directory": "_files -/",
    "user": "_users",
    "group": "_groups",
    "variable": "_parameters -g '*export*'",
    "tree": "_treeguard_trees",
}
#: What follows the options is a command line of its own.
_COMMAND_OF_RUN = """\
local -i i=2
while (( i < CURRENT )); do
    case $words[i] in
        (--) (( i++ )); break ;;
        (VALUED) (( i += 2 )) ;;
        (-*) (( i++ )) ;;
        (*) break ;;
    esac
done
if [[ $i -lt $CURRENT || ( $i -eq $CURRENT && ( $words[CURRENT] != -* || $words[i-1] == -- ) ) ]]; then
    (( CURRENT -= i - 1 ))
    shift $(( i - 1 )) words
    _normal
    return
fi
"""


def script(parser: argparse.ArgumentParser) -> str:
    """The script for a parser."""
    return "\n".join(_lines(parser)) + "\n"


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    commands = commands_of(parser)
    yield "#compdef treeguard"
    yield "# zsh completion for treeguard. Made by: treeguard completion zsh"
    yield ""
    yield "_treeguard_trees() {"
    yield "    local -a trees"
    yield f'    trees=(${{(f)"$(treeguard {TREES})"}})'
    yield "    compadd -a trees"
    yield "}"
    yield ""
    yield "_treeguard() {"
    yield '    local curcontext="$curcontext" state line'
    yield "    typeset -A opt_args"
    yield "    local -a subcommands=("
    for command in commands:
        yield f"        {_quoted(f'{command.name}:{command.summary}')}"
    yield "    )"
    yield "    _arguments -C \\"
    for option in options_of(parser):
        yield from _spec(option, 8)
    yield "        '1: :->command' \\"
    yield "        '*:: :->arguments'"
    yield "    case $state in"
    yield "        command) _describe command subcommands ;;"
    yield "        arguments)"
    yield "            case $words[1] in"
    for command in commands:
        yield f"                {command.name})"
        if any(kind_of(each) == "command" for each in command.positionals):
            valued = "|".join(
                name for each in command.options if each.value and not each.optional for name in each.names
            )
            yield from (" " * 20 + line for line in _COMMAND_OF_RUN.replace("VALUED", valued).splitlines())
        yield "                    _arguments \\"
        for option in command.options:
            yield from _spec(option, 24)
        yield f"                        {_positionals(command.positionals)}"
        yield "                    ;;"
    yield "            esac"
    yield "            ;;"
    yield "    esac"
    yield "}"
    yield ""
    yield 'if [ "$funcstack[1]" = _treeguard ]; then'
    yield '    _treeguard "$@"'
    yield "else"
    yield "    compdef _treeguard treeguard"
    yield "fi"


def _positionals(positionals: tuple[Argument, ...]) -> str:
    for argument in positionals:
        kind, words = kind_of(argument), words_of(argument)
        if kind == "command":
            # It is completed before.
            return "'*: :'"
        if words:
            return _quoted(f"1:{argument.dest}:({' '.join(words)})")
        return _quoted(f"*:{argument.dest}:{_ACTIONS.get(kind or '', ' ')}")
    return "'*: :'"


def _spec(option: Argument, indent: int) -> Iterator[str]:
    told = option.help.partition(". ")[0].partition("; ")[0]
    told = "".join(f"\\{c}" if c in "[]\\:" else c for c in told)
    value = ""
    if option.value is not None:
        words, kind = words_of(option), kind_of(option)
        action = f"({' '.join(words)})" if words else _ACTIONS.get(kind or "", " ")
        value = f"{'::' if option.optional else ':'}{option.value.replace(':', chr(92) + ':')}:{action}"
    excluded = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    for name in option.names:
        sign = "=" if option.value is not None and not option.optional and name.startswith("--") else ""
        yield f"{' ' * indent}{_quoted(f'{excluded}{name}{sign}[{told}]{value}')} \\"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
