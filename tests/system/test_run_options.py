"""``treeguard run``: what a command is given besides what it inherits, and its limits."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from treeguard import LocalProcessManager

from ..support.patience import PATIENCE
from .test_run import RUN, run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes privileges")
NOBODY = pwd.getpwnam("nobody")


def words_of(*arguments: str, **environ: str) -> list[str]:
    """What a command prints, which has to succeed."""
    done = run(*arguments, env={**os.environ, **environ})
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split()


def test_variables() -> None:
    """They are added, replaced, taken from here by their names, and left out."""
    shown = ("sh", "-c", "echo $A $B ${C-none} ${D-none}")
    options = ("--env", "A=1=2", "--env", "B", "--unset-env", "C", "--env", "D")
    assert words_of(*options, *shown, A="0", B="2", C="3") == ["1=2", "2", "none", "none"]
    assert words_of("--unset-env", "A", "--env", "A", *shown, A="0", B="", C="") == ["0", "none"]


def test_an_environment_of_its_own() -> None:
    """Nothing is inherited but what is named."""
    assert words_of("--clear-env", "--env", "A=1", "--env", "HOME", "env", HOME="/x", B="2") == ["A=1", "HOME=/x"]


def test_directory(tmp_path: Path) -> None:
    """It is where the command starts, and its path is relative to it."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\npwd -P\n")
    program.chmod(0o755)
    assert words_of("--cwd", str(tmp_path), "./program") == [os.path.realpath(tmp_path)]


def test_mask_and_priority() -> None:
    """Both as their options say."""
    os.umask(mask := os.umask(0o022))
    assert words_of("--umask", "027", "sh", "-c", "umask") == ["0027"]
    assert words_of("sh", "-c", "umask") == [f"{mask:04o}"]
    nice = os.nice(0)
    assert words_of("--nice", "3", "nice") == [str(min(19, nice + 3))]


SHOW = ("sh", "-c", 'id -u; id -g; id -G | tr " " ,; echo $HOME $USER $LOGNAME')


@needs_root
def test_user() -> None:
    """With its account's groups and variables, and none of this process's groups."""
    groups = ",".join(map(str, os.getgrouplist("nobody", NOBODY.pw_gid)))
    account = [str(NOBODY.pw_uid), str(NOBODY.pw_gid), groups, NOBODY.pw_dir, "nobody", "nobody"]
    assert words_of("--user", "nobody", *SHOW) == account
    assert words_of("--user", str(NOBODY.pw_uid), *SHOW) == account
    assert words_of("--user", "nobody", "--env", "HOME=/x", *SHOW)[3] == "/x"


@needs_root
@pytest.mark.parametrize("options", [("--user", "nobody:daemon"), ("--user", "nobody", "--group", "daemon")])
def test_user_with_a_group(options: tuple[str, ...]) -> None:
    """In the place of the one of its account."""
    daemon = grp.getgrnam("daemon").gr_gid
    assert words_of(*options, *SHOW)[:2] == [str(NOBODY.pw_uid), str(daemon)]
    assert str(NOBODY.pw_gid) not in words_of(*options, *SHOW)[2].split(",")


@needs_root
def test_user_without_an_account() -> None:
    """Has the group that is named, and no other."""
    number = next(number for number in range(40000, 50000) if not _has_account(number))
    assert words_of("--user", f"{number}:{number}", *SHOW)[:3] == [str(number)] * 3
    done = run("--user", str(number), "true")
    assert done.returncode == 125
    assert b"needed" in done.stderr


def _has_account(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def test_the_user_that_it_is_already() -> None:
    """Takes no privileges, and changes nothing."""
    own = words_of(*SHOW, HOME="/x")
    assert words_of("--user", str(os.geteuid()), *SHOW, HOME="/x") == own


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_another_user_takes_privileges() -> None:
    """And the words name the option."""
    done = run("--user", "nobody", "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"treeguard run: --user: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--env", "=1"), "argument --env: '=1' is neither NAME=VALUE nor NAME"),
        (("--unset-env", "A=1"), "argument --unset-env: 'A=1' is not the name of a variable"),
        (("--cwd", ""), "argument --cwd: DIR must not be empty"),
        (("--cwd", "/treeguard/none"), "--cwd /treeguard/none: cannot enter the working directory: No such file"),
        (("--user", "treeguard-none"), "argument --user: there is no user 'treeguard-none'"),
        (("--user", "nobody:treeguard-none"), "argument --user: there is no group 'treeguard-none'"),
        (("--user", "nobody:daemon", "--group", "daemon"), "argument --group: --user names a group too"),
        (("--group", "4294967295"), "argument --group: there is no group '4294967295'"),
        (("--umask", "0o22"), "argument --umask: '0o22' is not a mask in octal digits"),
        (("--umask", "7777"), "argument --umask: '7777' is not a mask"),
        (("--nice", "1e1"), "argument --nice: '1e1' is not a whole number from -39 to 39"),
        (("--limits", "memory=1,speed=2"), "argument --limits: 'speed=2' is no limit (choose from memory=N"),
        (("--limits", "memory=12Q"), "argument --limits: memory: '12Q' is not a number of bytes"),
        (("--limits", "memory=0"), "argument --limits: memory must be a whole number from 1"),
        (("--limits", "processes=-1"), "argument --limits: processes: '-1' is not a whole number"),
        (("--limits", "cpu=nan"), "argument --limits: cpu: 'nan' is not a number of CPUs"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], words: str) -> None:
    """Before anything is started, in words that name the option."""
    done = run(*options, "echo", "started")
    assert (done.returncode, done.stdout) == (125, b"")
    assert words in done.stderr.decode()


# Limits

_HUNGRY = "data = bytearray(1 << 28)\nfor at in range(0, len(data), 4096): data[at] = 1"


def limit_of(name: str) -> str | None:
    return str(getattr(LocalProcessManager().containment, name))


@pytest.mark.parametrize(
    ("field", "limit"), [("memory_limit", "memory=64M"), ("process_limit", "processes=8"), ("cpu_limit", "cpu=0.5")]
)
def test_limits_hold_for_the_tree_or_are_refused(field: str, limit: str) -> None:
    """Never for each process, and never silently."""
    done = run("--limits", limit, "echo", "started")
    if limit_of(field) == "tree":
        assert (done.returncode, done.stdout) == (0, b"started\n")
    else:
        assert (done.returncode, done.stdout) == (125, b"")
        assert limit.partition("=")[0] in done.stderr.decode()
        assert b"cannot be limited" in done.stderr


def test_a_limit_ends_the_tree(tmp_path: Path) -> None:
    """It is said, and the report tells it."""
    if limit_of("memory_limit") != "tree":
        pytest.skip("no controller of memory")
    report = tmp_path / "report"
    done = run("--limits", "memory=64M", "--report", str(report), sys.executable, "-c", _HUNGRY)
    assert done.returncode == -9
    assert b"more memory than its limit" in done.stderr
    assert '"ended": "memory"' in report.read_text()


# What a service manager hands over

#: Names itself by its pidfd, or another process, and becomes what follows.
_NAMED = """
import os, sys
fd = os.pidfd_open(os.getpid())
os.environ["LISTEN_PIDFDID"] = str(os.fstat(fd).st_ino + int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfds")
@pytest.mark.parametrize(("more", "kept"), [(0, False), (1, True)])
def test_the_handle_that_names_it_is_dropped(more: int, kept: bool) -> None:
    """The command is another process. What names somebody else stays."""
    show = ("sh", "-c", "echo ${LISTEN_PIDFDID-none}")
    command = [sys.executable, "-c", _NAMED, str(more), *RUN[1:], *show]
    told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert (told != "none\n") == kept


@pytest.mark.parametrize(
    "arguments",
    [
        ("bad\033[31m\n\x9bname",),
        ("--cwd", "bad\033[31m\n\x9bname", "true"),
        ("--report", "/bad\033[31m\n\x9bname/x", "true"),
    ],
)
def test_a_terminal_obeys_no_name(arguments: tuple[str, ...]) -> None:
    """What is said of a command, a directory or a file is one line, in which nothing is a control character."""
    done = run(*arguments)
    assert done.returncode in {125, 127}
    assert b"bad\\x1b[31m\\n\\x9bname" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_script_without_an_interpreter(tmp_path: Path) -> None:
    """The shell runs it, as env, nice and timeout let it; found by PATH, by a relative name, and in a directory."""
    script = tmp_path / "-script"
    script.write_text('echo "$1" "$#"\nexit 3\n')
    script.chmod(0o755)
    for options in (
        (str(script),),
        ("--env", f"PATH={tmp_path}", "--", "-script"),
        ("--cwd", str(tmp_path), "./-script"),
    ):
        done = run(*options, "first word", "second", cwd="/")
        assert (done.returncode, done.stdout, done.stderr) == (3, b"first word 2\n", b"")


def test_a_program_of_another_machine_is_no_script(tmp_path: Path) -> None:
    """It is told of, and no shell reads it."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\0\0\n" + b"touch started\n" * 9)
    program.chmod(0o755)
    done = run(str(program), cwd=tmp_path)
    assert done.returncode == 126
    assert b"Exec format error" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["program"]
