"""What bash completes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .completion import TREES, kind_of, words_of
from .parser_view import Argument, Command, commands_of, options_of

__all__ = ["script"]

_ACTIONS = {
    "file": "-f",
    "directory": "-d",
    "user": "-u",
    "group": "-g",
    "variable": "-v",
}
_HEAD = """\
# bash completion for treeguard. Made by: treeguard completion bash

_treeguard() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= values= i
    COMPREPLY=()
    # Bash takes the sign of --name=value as a word.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} != -* ]]; then
            command=${COMP_WORDS[i]}
            break
        fi
    done
"""
_COMMAND_OF_RUN = """\
    if [[ $command == run ]]; then
        for ((i++; i <= COMP_CWORD; i++)); do
            case ${COMP_WORDS[i]} in
                --) ((i++)); break ;;
                VALUED)
                    if [[ ${COMP_WORDS[i+1]} == = ]]; then
                        ((i++))
                    fi
                    ((i++)) ;;
                -*) ;;
                *) break ;;
            esac
        done
        if ((i <= COMP_CWORD)); then
            if declare -F _command_offset >/dev/null; then
                _command_offset "$i"
            elif declare -F _comp_command_offset >/dev/null; then
                _comp_command_offset "$i"
            elif ((i == COMP_CWORD)); then
                COMPREPLY=($(compgen -c -- "$cur"))
            else
                COMPREPLY=($(compgen -f -- "$cur"))
            fi
            return
        fi
    fi
"""


def script(parser: argparse.ArgumentParser) -> str:
    """The script for a parser."""
    return "\n".join(_lines(parser)) + "\n"


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    commands = commands_of(parser)
    yield _HEAD.rstrip()
    for command in commands:
        if any(kind_of(each) == "command" for each in command.positionals):
            valued = "|".join(
                name for each in command.options if each.value and not each.optional for name in each.names
            )
            yield _COMMAND_OF_RUN.rstrip().replace("run ", f"{command.name} ").replace("VALUED", valued)
    yield '    case "$command $prev" in'
    for command in commands:
        for option in command.options:
            if option.value is not None and not option.optional:
                patterns = "|".join(f'"{command.name} {name}"' for name in option.names)
                yield f"        {patterns}) {_reply(option)}; return ;;"
    yield "    esac"
    yield '    case "$command" in'
    yield f'        "") values="{_names(options_of(parser))} {" ".join(command.name for command in commands)}" ;;'
    for command in commands:
        yield f"        {command.name}) {_positional(command)}values+={_quoted(_names(command.options))} ;;"
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$values" -- "$cur"))'
    yield "}"
    yield ""
    yield "complete -F _treeguard treeguard"


def _positional(command: Command) -> str:
    """What sets the values of a command's positional arguments."""
    words: list[str] = []
    for argument in command.positionals:
        if kind_of(argument) == "tree":
            return f'[[ $cur == -* ]] || values="$("$1" {TREES}) "; '
        words += words_of(argument)
    return f'values="{" ".join(words)} "; ' if words else ""


def _names(options: tuple[Argument, ...]) -> str:
    return " ".join(name for option in options for name in option.names)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _reply(option: Argument) -> str:
    kind, words = kind_of(option), words_of(option)
    if words:
        return f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur"))'
    if kind in _ACTIONS:
        return f'COMPREPLY=($(compgen {_ACTIONS[kind]} -- "$cur"))'
    return ":"
