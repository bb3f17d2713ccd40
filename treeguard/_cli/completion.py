"""``treeguard completion``: what a shell completes after ``treeguard``, made from the parser."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from .._core.containment.guarantees import GUARANTEES
from .output import write
from .parser_view import Argument

__all__ = ["SHELLS", "TREES", "configure", "kind_of", "main", "script_for", "words_of"]

#: The shells, with the place of their script below a prefix such as ``/usr``.
SHELLS = {
    "bash": "share/bash-completion/completions/treeguard",
    "zsh": "share/zsh/site-functions/_treeguard",
    "fish": "share/fish/vendor_completions.d/treeguard.fish",
}
_DESCRIPTION = """\
Prints a script that completes the commands and options of treeguard, and for
'treeguard run' those of COMMAND.

  bash   source <(treeguard completion bash)
  zsh    treeguard completion zsh >"${fpath[1]}/_treeguard"
  fish   treeguard completion fish >~/.config/fish/completions/treeguard.fish
"""
_SIGNALS = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "ALRM", "KILL")
#: Prints the ids of trees: each stands on a line of its own, and no text in a JSON document has an end of line.
TREES = """ps --json 2>/dev/null | sed -n 's/^ *"guard": \\([0-9]*\\),$/\\1/p'"""
#: What a value is, by the name that the help gives it.
_KINDS = {
    "FILE": "file",
    "DIR": "directory",
    "U[:G]": "user",
    "NAME": "variable",
    "NAME=VALUE": "variable",
    "ID": "tree",
    "COMMAND": "command",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``treeguard completion``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help=", ".join(SHELLS))


def main(options: argparse.Namespace) -> int:
    """Prints the script."""
    write(script_for(options.shell))
    return 0


def script_for(shell: str) -> str:
    """The script of a shell."""
    from .commands import full_parser  # noqa: PLC0415 - it has just loaded this module

    script: str = importlib.import_module(f".completion_{shell}", __package__).script(full_parser())
    return script


def words_of(argument: Argument) -> Sequence[str]:
    """The words that an argument's value can be, if there are few."""
    if argument.choices:
        return argument.choices
    if argument.value == "SIG":
        return _SIGNALS
    return GUARANTEES if argument.dest == "require" else ()


def kind_of(argument: Argument) -> str | None:
    """What an argument's value is otherwise: a file, a directory, a user, a group, a variable, a tree, a command."""
    if argument.dest == "group":
        return "group"
    return _KINDS.get(argument.value or "")
