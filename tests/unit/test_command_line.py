"""Command lines of Windows."""

from __future__ import annotations

import msgspec
import pytest

from treeguard import SpawnParams
from treeguard._core.spec.command_line import CommandLineParams, shell_line, split_line, with_line


@pytest.mark.parametrize(
    ("line", "program", "rest"),
    [
        ("prog", "prog", ""),
        ("prog a  b", "prog", " a  b"),
        ("  prog\ta", "prog", "\ta"),
        ('"C:\\Program Files\\prog.exe" a "b"', "C:\\Program Files\\prog.exe", ' a "b"'),
        ('"prog"a', "prog", "a"),
        ('"never closed', "never closed", ""),
        ("", "", ""),
    ],
)
def test_the_program_is_the_first_word(line: str, program: str, rest: str) -> None:
    """With quotes it may hold spaces."""
    assert split_line(line) == (program, rest)


def test_a_command_reaches_the_shell_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between quotes, which the shell strips. The path of the shell may have spaces."""
    monkeypatch.delenv("COMSPEC", raising=False)
    assert shell_line('echo "a" & b') == ("cmd.exe", 'cmd.exe /c "echo "a" & b"')
    monkeypatch.setenv("COMSPEC", r"C:\My Shell\cmd.exe")
    assert shell_line("dir") == (r"C:\My Shell\cmd.exe", r'"C:\My Shell\cmd.exe" /c "dir"')


def test_a_command_line_stays_with_its_parameters() -> None:
    """Also when others replace their pipes by descriptors."""
    params = with_line(SpawnParams("prog", stdout="pipe"), 'prog "a')
    piped = msgspec.structs.replace(params, stdout=7)
    assert isinstance(piped, CommandLineParams)
    assert (piped.stdout, piped.command_line) == (7, 'prog "a')
