"""``treeguard run`` in a terminal: a job of a real shell, with job control, on a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from treeguard import LocalProcessManager
from treeguard._core.containment.isolation import try_isolation

from ..support.jobs import INTERRUPT, QUIT, SHELLS, STOPPED, SUSPEND, Session, Shell, eventually
from ..support.patience import PATIENCE

RUN = '"$PYTHON" -m treeguard run '

#: The shell echoes what is typed, so each word that a test waits for is one that only running the line makes.
SLEEP = "sh -c 'echo at $$; exec sleep 1000'"
CAT = "sh -c 'echo at $$; exec cat'"


@pytest.fixture(params=SHELLS[:1], ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    with contextlib.closing(Shell(*request.param)) as shell:
        yield shell


every_shell = pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0], indirect=True)
#: With what a command is kept together; its job control is the same with all of them.
OPTIONS = {"guard": "", "no guard": "--containment process_group "}
if try_isolation(LocalProcessManager(containment="subreaper").containment) is None:
    OPTIONS["isolated"] = "--isolation signals "
every_mechanism = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def until_stopped(pid: int, stopped: bool = True) -> None:
    process = psutil.Process(pid)
    eventually(lambda: (process.status() == psutil.STATUS_STOPPED) == stopped, f"stopped never is {stopped}")


# The keys


@every_shell
@every_mechanism
@pytest.mark.parametrize(("key", "status"), [(INTERRUPT, 130), (QUIT, 131)], ids=["Ctrl-C", "Ctrl-Backslash"])
def test_keys_that_end(shell: Shell, key: str, status: int, options: str) -> None:
    """Ctrl-C and Ctrl-Backslash end the command, and the shell has its terminal again."""
    root = shell.start(RUN + options + SLEEP)
    assert shell.foreground == root
    shell.type(key)
    shell.prompted()
    assert shell.status() == status
    assert not shell.others()


each_shell = pytest.mark.parametrize("shell_name", ["bash", "dash", "zsh"])


@each_shell
def test_interrupt_ends_the_loop(shell_name: str) -> None:
    """A shell's loop ends when Ctrl-C has killed the command in it."""
    if shutil.which(shell_name) is None:
        pytest.skip(f"no {shell_name}")
    loop = f"for i in 1 2 3; do {RUN}{SLEEP}; done; echo went on"
    with contextlib.closing(Session(shell_name, "-c", loop)) as session:
        session.see(r"\bat \d+\r\n")
        session.type(INTERRUPT)
        assert session.leader.wait(PATIENCE) in {130, -signal.SIGINT}
        assert not session.others()


@each_shell
@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_interrupt_ends_make(shell_name: str, tmp_path: Path) -> None:
    """Even one that goes on after errors, whichever shell it uses."""
    found = shutil.which(shell_name)
    if found is None:
        pytest.skip(f"no {shell_name}")
    makefile = tmp_path / "Makefile"
    recipe = (RUN + SLEEP).replace("$", "$$")
    makefile.write_text(f"SHELL = {found}\nall: one two\none two:\n\t@{recipe}\n")
    with contextlib.closing(Session("make", "-k", "-f", str(makefile))) as session:
        session.see(r"\bat \d+\r\n")
        session.type(INTERRUPT)
        assert session.leader.wait(PATIENCE) in {2, -signal.SIGINT}
        assert not session.others()


def test_command_that_handles_the_interrupt(shell: Shell) -> None:
    """A command that takes Ctrl-C for itself goes on as it likes."""
    shell.start(RUN + "sh -c 'trap \"echo took it\" INT; echo at $$; read x; read y; exit 3'")
    shell.type(INTERRUPT)
    shell.see("took it")
    shell.type("\n\n")
    shell.prompted()
    assert shell.status() == 3


def test_terminal_is_read(shell: Shell) -> None:
    """A command reads from the terminal, up to the end of file that is typed."""
    shell.start(RUN + CAT)
    shell.type("hello\n")
    shell.see("hello\r\nhello\r\n")
    shell.type("\x04")
    shell.prompted()
    assert shell.status() == 0


# Stopping and going on


@every_shell
@every_mechanism
def test_suspend_and_foreground(shell: Shell, options: str) -> None:
    """Ctrl-Z stops command and stand-in, fg continues both; again and again."""
    root = shell.start(RUN + options + CAT)
    for word in ("one", "two", "three"):
        shell.type(SUSPEND)
        shell.see(STOPPED)
        shell.prompted()
        until_stopped(root)
        shell.foreground_job(root)
        shell.type(f"{word}\n")
        shell.see(f"{word}\r\n{word}\r\n")
    shell.type(INTERRUPT)
    shell.prompted()
    assert shell.status() == 130


@every_shell
@every_mechanism
def test_background(shell: Shell, options: str) -> None:
    """After Ctrl-Z, bg lets the command go on in the background, where a signal to the job still reaches it."""
    root = shell.start(RUN + options + SLEEP)
    shell.type(SUSPEND)
    shell.see(STOPPED)
    shell.prompted()
    shell.type("bg\n")
    shell.prompted()
    until_stopped(root, False)
    shell.until_job("Running")
    shell.type("kill %1; wait %1; echo ended=$?\n")
    assert shell.see(r"ended=(\d+)\r\n")[1] == "143"
    assert not psutil.pid_exists(root)


@every_shell
def test_background_job_that_wants_to_read(shell: Shell) -> None:
    """A command that reads in the background stops, each time it is continued there; in the foreground it reads."""
    root = shell.start(RUN + CAT)
    shell.type(SUSPEND)
    shell.see(STOPPED)
    shell.prompted()
    for _ in range(3):
        shell.type("bg\n")
        shell.prompted()
        shell.until_job("Stopped")
    shell.foreground_job(root)
    shell.type("hello\n")
    shell.see("hello\r\nhello\r\n")
    shell.type("\x04")
    shell.prompted()
    assert shell.status() == 0


def test_job_started_in_the_background(shell: Shell) -> None:
    """A command that runs in the background is brought to the foreground without having been stopped."""
    shell.start(RUN + "sh -c 'echo at $$; until read -r line && echo \"<$line>\"; do :; done' &")
    shell.until_job("Stopped")
    shell.type("fg\n")
    shell.type("hello\n")
    shell.see("<hello>")
    shell.prompted()
    assert shell.status() == 0


def test_stop_sent_to_the_stand_in(shell: Shell) -> None:
    """SIGTSTP to the stand-in stops the job like Ctrl-Z."""
    root = shell.start(RUN + SLEEP)
    guard = psutil.Process(root).parent()
    assert guard is not None
    os.kill(guard.ppid(), signal.SIGTSTP)
    shell.see(STOPPED)
    shell.prompted()
    until_stopped(root)
    shell.foreground_job(root)
    shell.type(INTERRUPT)
    shell.prompted()


#: Tells the number of each signal that it gets, until the end of its input.
#: It does not wait in one call: a signal that comes just before it would be told of only after it.
LISTEN = """
import os, select, signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda number, frame: os.write(1, b"heard %d\\n" % number))
os.write(1, b"at %d\\n" % os.getpid())
while not select.select([0], [], [], 0.01)[0] or os.read(0, 4096):
    pass
os.write(1, b"heard all\\n")
"""


@every_shell
@pytest.mark.parametrize("options", ["", "--foreground "], ids=["run", "foreground"])
def test_each_signal_is_heard_once(shell: Shell, options: str, tmp_path: Path) -> None:
    """All that can be handed on, those of job control too, and the stand-in goes on."""
    script = tmp_path / "listen.py"
    script.write_text(LISTEN)
    root = shell.start(f'{RUN}{options}--grace 1000 "$PYTHON" -S -E {script}')
    guard = psutil.Process(root).parent()
    assert guard is not None
    for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}):
        os.kill(guard.ppid(), number)
        assert shell.see(r"heard (\w+)\r\n")[1] == str(int(number))
    shell.type("\x04")
    assert shell.see(r"heard (\w+)\r\n")[1] == "all"
    shell.prompted()
    assert shell.status() == 0


def test_end_of_a_stopped_job(shell: Shell) -> None:
    """A stopped job that is told to end, and continued, ends."""
    shell.start(RUN + SLEEP)
    shell.type(SUSPEND)
    shell.see(STOPPED)
    shell.prompted()
    shell.type("kill %1\n")
    eventually(lambda: not shell.others(), "something is left")


def test_nested(shell: Shell) -> None:
    """A stand-in for a stand-in stops, goes on and ends as one job."""
    root = shell.start(RUN + RUN + SLEEP)
    shell.type(SUSPEND)
    shell.see(STOPPED)
    shell.prompted()
    shell.foreground_job(root)
    shell.type(INTERRUPT)
    shell.prompted()
    assert shell.status() == 130


def test_session_leader_cannot_be_suspended() -> None:
    """Without a shell that could continue it, Ctrl-Z has no effect on the command."""
    command = 'echo at $$; until read -r line && echo "<$line>"; do :; done; exit 3'
    with contextlib.closing(Session(sys.executable, "-m", "treeguard", "run", "sh", "-c", command)) as session:
        session.see(r"\bat \d+\r\n")
        session.type(SUSPEND)
        session.type("hello\n")
        session.see("<hello>")
        assert session.leader.wait(PATIENCE) == 3


# Pipelines


def test_pipeline_that_reads(shell: Shell) -> None:
    """A command that shares the foreground with others gets the terminal when it wants to read."""
    root = shell.start(RUN + CAT + " | cat")
    eventually(lambda: shell.foreground == root, "the command does not get the terminal")
    shell.type("hello\n")
    shell.see("hello\r\nhello\r\n")
    shell.type(SUSPEND)
    shell.see(STOPPED)
    shell.prompted()
    shell.foreground_job(root)
    shell.type("again\n")
    shell.see("again\r\nagain\r\n")
    shell.type("\x04")
    shell.prompted()
    assert shell.status() == 0


def test_pipeline_that_does_not_read(shell: Shell) -> None:
    """The keys reach a command that never had the terminal, and the rest of its pipeline with it."""
    root = shell.start(RUN + SLEEP + " | cat")
    assert shell.foreground != root
    shell.type(SUSPEND)
    shell.see(STOPPED)
    shell.prompted()
    until_stopped(root)
    shell.type("fg\n")
    until_stopped(root, False)
    shell.type(INTERRUPT)
    shell.prompted()
    assert not shell.others()


def test_window_size(shell: Shell) -> None:
    """A new size of the window is told to a command that doesn't have the terminal."""
    shell.start(RUN + "sh -c 'trap \"echo resized\" WINCH; echo at $$; while :; do sleep 0.05; done' | cat")
    fcntl.ioctl(shell.master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
    shell.see("resized\r\n")
    shell.type(INTERRUPT)
    shell.prompted()


# What is left of it


def test_terminal_modes(shell: Shell) -> None:
    """A command that is killed leaves the terminal's modes as they were."""
    before = termios.tcgetattr(shell.master)[3]
    shell.start(RUN + "sh -c 'stty -icanon -echo; echo at $$; kill -KILL $$'")
    shell.prompted()
    assert shell.status() == 137
    assert termios.tcgetattr(shell.master)[3] == before


#: A quote within quotes.
QUOTE = "'\\''"


@pytest.mark.parametrize(
    ("options", "then"),
    [
        ("--timeout 1000", "exit 3"),
        ("--timeout 0.7", "trap 'exit 3' TERM; while :; do sleep 0.05; done"),
        ("--timeout 0.7 --grace 0.1", "trap '' TERM; while :; do sleep 0.05; done"),
        ("--linger 0.1", "(trap '' TERM; while :; do sleep 0.05; done) & exit 3"),
        ("--linger 0", "sleep 1000 & exit 3"),
        ("--linger 0.1", "sleep 1000 & exit 3"),
    ],
    ids=["by itself", "asked", "killed", "rest killed", "rest killed at once", "rest asked"],
)
@pytest.mark.parametrize("mechanism", ["auto", "subreaper", "process_group"])
def test_settings_after_an_end_by_force(shell: Shell, options: str, then: str, mechanism: str) -> None:
    """The modes, and O_NONBLOCK, are restored when something of the tree was ended by us, however the root ended.

    A command that has ended by itself may have meant them: what it sets stays.
    """
    before = termios.tcgetattr(shell.master)[3]
    script = f'"$PYTHON" -S -c "import os; os.set_blocking(0, False)"; stty -icanon -echo -isig; {then}'
    # The shell itself reads its standard input, so that it is looked at before its next prompt.
    look = 'grep flags /proc/$$/fdinfo/0; stty -a | tr " ;" "\\n\\n" | grep -x -e -isig -e isig'
    shell.type(f"{RUN}--containment {mechanism} {options} sh -c '{script.replace(chr(39), QUOTE)}'; {look}\n")
    flags = int(shell.see(r"flags:\s+(\d+)\r?\n")[1], 8)
    signals = shell.see(r"(-?isig)\r?\n")[1]
    forced = then != "exit 3"
    assert (bool(flags & os.O_NONBLOCK), signals) == ((False, "isig") if forced else (True, "-isig"))
    shell.prompted()
    if forced:
        assert termios.tcgetattr(shell.master)[3] == before


def test_settings_when_the_guard_is_killed(shell: Shell) -> None:
    """Nobody knows how the command ended, but it did not end by itself."""
    before = termios.tcgetattr(shell.master)[3]
    root = shell.start(RUN + "sh -c 'stty -icanon -echo; echo at $$; while :; do sleep 0.05; done'")
    assert termios.tcgetattr(shell.master)[3] != before
    guard = psutil.Process(root).parent()
    assert guard is not None
    guard.kill()
    shell.prompted()
    assert termios.tcgetattr(shell.master)[3] == before
    assert shell.status() == 125


def test_failed_exec(shell: Shell, tmp_path: Path) -> None:
    """A command that cannot be executed does not keep the terminal."""
    program = tmp_path / "program"
    program.write_bytes(b"\0\1\2\3")
    program.chmod(0o755)
    shell.type(f"{RUN}'{program}'\n")
    shell.see("cannot execute")
    shell.prompted()
    assert shell.status() == 126


def test_killed_stand_in(shell: Shell) -> None:
    """When the stand-in is killed, the shell has its terminal again and nothing is left."""
    root = shell.start(RUN + SLEEP)
    guard = psutil.Process(root).parent()
    assert guard is not None
    os.kill(guard.ppid(), signal.SIGKILL)
    shell.prompted()
    assert shell.status() == 137
    eventually(lambda: not shell.others(), "something is left")


def test_hang_up(shell: Shell) -> None:
    """When the terminal goes away, a command that takes no notice is ended after the grace."""
    shell.start(RUN + "--grace 0.2 sh -c 'trap \"\" HUP; echo at $$; while :; do sleep 0.05; done'")
    shell.hang_up()
    eventually(lambda: not shell.others(), "something is left")


# --foreground


def test_foreground_in_a_pipeline(shell: Shell) -> None:
    """The command has the terminal though not all of its streams lead there, and the keys reach it there."""
    root = shell.start(RUN + "--foreground " + SLEEP + " | cat")
    eventually(lambda: shell.foreground == root, "the command does not get the terminal")
    shell.type(SUSPEND)
    shell.see("Stopped")
    shell.prompted()
    until_stopped(root)
    shell.foreground_job(root)
    shell.type(INTERRUPT)
    shell.prompted()
    assert not shell.others()


def test_foreground_within_a_background_job(shell: Shell) -> None:
    """A job in the background takes nothing, and has the keys after fg."""
    shell.type(RUN + "--foreground " + SLEEP + " | cat &\n")
    shell.see(r"\bat \d+\r\n")
    assert shell.foreground == shell.leader.pid
    shell.type("fg\n")
    eventually(lambda: shell.foreground != shell.leader.pid, "the shell does not let go of the terminal")
    shell.type(INTERRUPT)
    shell.prompted()
    assert not shell.others()


def test_foreground_in_the_background_of_a_script() -> None:
    """A script without job control is one group with what it starts, so the command reads what is typed."""
    command = "sh -c 'echo at $$; read -r line </dev/tty; echo \"<$line>\"'"
    with contextlib.closing(Session("sh", "-c", f"{RUN}--foreground {command} & wait; echo over")) as session:
        root = int(session.see(r"\bat (\d+)\r\n")[1])
        eventually(lambda: session.foreground == root, "the command does not get the terminal")
        session.type("hello\n")
        session.see("<hello>\r\n")
        session.see("over\r\n")
        assert session.leader.wait(PATIENCE) == 0


def test_foreground_without_a_terminal() -> None:
    """Changes nothing."""
    command = [sys.executable, "-m", "treeguard", "run", "--foreground", "sh", "-c", "exit 3"]
    done = subprocess.run(command, check=False, start_new_session=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert done.returncode == 3
