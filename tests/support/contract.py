"""Shell commands that are run with processes and without, and the scripts that do the same."""

from __future__ import annotations

import signal
import sys

from treeguard.testing import NOT_EXECUTABLE, NOT_FOUND, Descendant, Output, Script, Scripts

__all__ = ["BEGUN", "COMMANDS", "learn"]

STAYS = Script(exit=None)

#: Waits until the shell's last child runs its program: a fork of the shell has the name of the shell before.
BEGUN = 'until read name </proc/$!/comm && [ "$name" = sleep ]; do :; done'

#: Shell commands, and the scripts that do the same.
COMMANDS: dict[str, Script] = {
    "exit 0": Script(),
    "exit 7": Script(exit=7),
    "kill -9 $$": Script(exit=-9),
    "echo out; echo err >&2": Script(stdout="out\n", stderr="err\n"),
    "printf 'no newline'": Script(stdout="no newline"),
    "echo a; echo b; echo c": Script(stdout="a\n", output=[Output("b\n"), Output("c\n")]),
    "cat": Script(answer=lambda line: line, ends_with_input=True),
    "cat >/dev/null; echo all": Script(ends_with_input=True, output=[]),
    "exec sleep 60": STAYS,
    "trap '' TERM; echo deaf; while :; do sleep 60; done": Script(
        stdout="deaf\n", exit=None, term_after=None, leaves=[Descendant("sleep", term_after=None)]
    ),
    "trap 'exit 3' TERM; echo ready; while :; do :; done": Script(stdout="ready\n", exit=None, term_exit=3),
    "trap '' INT; echo ready; exec sleep 60": Script(stdout="ready\n", exit=None, ignores=[signal.SIGINT]),
    f"sleep 60 & {BEGUN}; exit 5": Script(exit=5, leaves=[Descendant("sleep")]),
    f"sleep 60 >/dev/null 2>&1 & {BEGUN}; echo said": Script(
        stdout="said\n", leaves=[Descendant("sleep", holds_output=False)]
    ),
    f"setsid sleep 60 & {BEGUN}; echo left": Script(stdout="left\n", leaves=[Descendant("sleep", in_group=False)]),
    "sleep 0.05; echo late": Script(output=[Output("late\n", after=0.05)]),
    "yes | head -c 1000000": Script(stdout=b"y\n" * 500_000),
}


def learn(scripts: Scripts) -> None:
    """Has scripts for all that is run here."""
    for code, script in COMMANDS.items():
        scripts.script(["sh", "-c", code], script)
    scripts.script("treeguard-no-such-program", fails=NOT_FOUND)
    scripts.script("/nowhere/at-all", fails=NOT_FOUND)
    scripts.script("/etc/passwd", fails=NOT_EXECUTABLE)
    scripts.script(sys.executable, stdout="python\n")
