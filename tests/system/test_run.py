"""``treeguard run`` without a terminal: a stand-in for its command, that leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from treeguard.types import Mechanism

from ..support.patience import PATIENCE

RUN = (sys.executable, "-m", "treeguard", "run")
FOREVER = "1000"

#: Answers each line of its input with another, and ends with it.
ECHO = 'echo up; while read -r line; do echo "<$line>"; done'

#: Starts a daemon that forks twice, leads a session of its own and holds no stream; tells its pid; ends with its input.
DAEMONIZE = """
import os, sys, time
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os.write(tell, str(os.getpid()).encode())
        time.sleep(1000)
    os._exit(0)
os.wait()
print(os.read(ready, 20).decode(), flush=True)
sys.stdin.read()
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [*RUN, *arguments], capture_output=True, start_new_session=True, timeout=PATIENCE, check=False, **options
    )


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``treeguard run`` and kills it after the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, before: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*before, *RUN, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
                **options,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def line_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


def say(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")


def end_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


# Exit status


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 3"), 3),
        (("sh", "-c", "exit 255"), 255),
        (("sh", "-c", "kill -KILL $$"), -signal.SIGKILL),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM),
        (("sh", "-c", "kill -SEGV $$"), -signal.SIGSEGV),
        (("sh", "-c", f"kill -{signal.SIGRTMIN + 3} $$"), -signal.SIGRTMIN - 3),
        (("treeguard-no-such-program",), 127),
        (("/treeguard/no/such/program",), 127),
        (("",), 127),
        ((__file__,), 126),
        (("/",), 126),
        (("--containment", "job_object", "true"), 125),
    ],
)
def test_exit_status(command: tuple[str, ...], status: int) -> None:
    """The exit status, or death by a signal, is the command's, or the one that shells give for why there is none."""
    done = run(*command)
    assert done.returncode == status
    assert bool(done.stderr) == (status in {125, 126, 127})


def test_missing_interpreter_is_not_found(tmp_path: Path) -> None:
    """A script whose interpreter does not exist is reported as not found, as shells do."""
    script = tmp_path / "script"
    script.write_text("#!/treeguard/no/such/interpreter\n")
    script.chmod(0o755)
    assert run(str(script)).returncode == 127


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--",),
        ("--timeout", "soon", "true"),
        ("--timeout", "-1", "true"),
        ("--timeout", "nan", "true"),
        ("--timeout", " -1e-10000", "true"),
        ("--timeout", "1_0", "true"),
        ("--signal", "1_5", "true"),
        ("--grace", "inf", "true"),
        ("--containment", "hope", "true"),
        ("--no-such-option", "true"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    """Bad usage is told, with a status that is not the command's, and nothing is run."""
    done = run(*arguments)
    assert done.returncode == 125
    assert b"usage: treeguard" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "usage", "words"),
    [
        (("run", "--tiemout", "3", "true"), "treeguard run [OPTION...]", "'--tiemout'; did you mean '--timeout'?"),
        (("run", "-x", "true"), "treeguard run [OPTION...]", "unknown option '-x'"),
        (("doctor", "--jsno"), "treeguard doctor [-h] [--json]", "did you mean '--json'?"),
        (("demo", "again"), "treeguard demo [-h]", "unknown argument 'again'"),
        (("runn", "true"), "treeguard [-h] [--version] COMMAND", "'runn'; did you mean 'run'?"),
    ],
)
def test_a_slip_gets_the_right_usage(arguments: tuple[str, ...], usage: str, words: str) -> None:
    """That of the subcommand, and what was probably meant."""
    done = subprocess.run([*RUN[:3], *arguments], check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == (125 if usage.startswith("treeguard run") else 2)
    assert f"usage: {usage}" in done.stderr
    assert words in done.stderr


def test_help_is_in_groups_and_fits_a_terminal() -> None:
    """Of 80 columns."""
    lines = run("--help", env={**os.environ, "COLUMNS": "80"}).stdout.decode().splitlines()
    assert max(map(len, lines)) < 80
    assert {"how it ends:", "what COMMAND is given:", "containment:", "reporting:"} <= set(lines)


def test_a_command_that_is_missing_is_reported_once(tmp_path: Path) -> None:
    """In one short line, which tells a missing interpreter from a missing program."""
    script = tmp_path / "script"
    script.write_text("#!/treeguard/no/such/interpreter\n")
    script.chmod(0o755)
    for command, words in (
        ("no-such-program", "not found in PATH"),
        ("/no/such/program", "not found"),
        (str(script), "the interpreter that its first line names was not found"),
        ("/", "cannot be executed: Permission denied"),
        ("", "COMMAND must not be empty"),
    ):
        message = f"{command}: {words}" if command else words
        assert run(command).stderr.decode() == f"treeguard run: {message}\n"


# What is handed on


@pytest.mark.parametrize("separator", [(), ("--",)])
def test_options_end_where_the_command_begins(separator: tuple[str, ...]) -> None:
    """What follows the command's name belongs to the command, options and separators of ours included."""
    done = run("--grace", "1", *separator, "printf", "[%s]", "--timeout", "3", "--help", "--", "-x")
    assert done.stdout == b"[--timeout][3][--help][--][-x]"


def test_streams_carry_bytes() -> None:
    """Standard input, output and error are the command's, byte for byte, until their end."""
    everything = bytes(range(256)) * 1000
    done = run("sh", "-c", "cat; echo oops >&2", input=everything)
    assert (done.stdout, done.stderr, done.returncode) == (everything, b"oops\n", 0)


def test_arguments_that_are_not_text() -> None:
    """Arguments that are no valid text arrive as the same bytes."""
    done = subprocess.run(
        [*map(os.fsencode, RUN), b"printf", b"%s", b"\xff\xfe"], capture_output=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == b"\xff\xfe"


def test_environment_is_handed_on_unchanged() -> None:
    """The command's environment is the one that was given, without what the interpreter adds in the C locale.

    Only the mark is added, by which its processes are known if the guard is killed.
    """
    given = {"PATH": os.environ["PATH"], "WORD": "treeguard", "NOTIFY_SOCKET": "@x", "WATCHDOG_PID": "1"}
    found = set(run("env", env=given).stdout.decode().split())
    marks = {word for word in found if word.startswith("TREEGUARD_TREE_")}
    assert found - marks == {f"{name}={value}" for name, value in given.items()}
    assert len(marks) <= 1


def test_extra_descriptors_are_handed_on() -> None:
    """A descriptor that was inherited reaches the command under its number, and no other does."""
    reader, writer = os.pipe()
    try:
        done = run("sh", "-c", f"echo hello > /proc/self/fd/{writer}; ls /proc/$$/fd", pass_fds=(writer,))
        assert os.read(reader, 100) == b"hello\n"
        assert {int(fd) for fd in done.stdout.split()} == {0, 1, 2, writer}
    finally:
        os.close(reader)
        os.close(writer)


def test_closed_standard_input_is_the_null_device(start: Start) -> None:
    """A closed standard stream is the null device in the command, never a descriptor of ours."""
    process = start("readlink", "/proc/self/fd/0", before=("sh", "-c", 'exec "$@" <&-', "sh"))
    assert line_of(process) == os.devnull
    assert process.wait(PATIENCE) == 0


def test_ignored_signals_stay_ignored(start: Start) -> None:
    """Under nohup the command ignores SIGHUP, and a SIGHUP to its stand-in changes nothing."""
    process = start("sh", "-c", f"grep SigIgn /proc/$$/status; {ECHO}", before=("sh", "-c", 'trap "" HUP; "$@"', "sh"))
    ignored = int(line_of(process).split()[1], 16)
    assert ignored == 1 << (signal.SIGHUP - 1)
    assert line_of(process) == "up"
    os.killpg(process.pid, signal.SIGHUP)
    say(process, "still there")
    assert line_of(process) == "<still there>"
    end_input(process)
    assert process.wait(PATIENCE) == 0


def test_ignored_child_signal_does_not_hide_the_exit(start: Start) -> None:
    """The exit status is known even to a stand-in that was started with SIGCHLD ignored."""
    ignoring = ("sh", "-c", 'trap "" CHLD; exec "$@"', "sh")
    assert start("sh", "-c", "exit 3", before=ignoring).wait(PATIENCE) == 3
    assert start("--containment", "process_group", "sh", "-c", "exit 3", before=ignoring).wait(PATIENCE) == 3


#: Blocks two signals, ignores SIGCHLD, and is named by the variables of a service manager; then becomes what follows.
AS_A_SERVICE = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMAX})
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.environ.update(LISTEN_PID=str(os.getpid()), WATCHDOG_PID=str(os.getpid()), SYSTEMD_EXEC_PID="1")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
TELL = """
import os, signal
names = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
own = str(os.getpid())
print(*("own" if os.environ[name] == own else os.environ[name] for name in names))
print(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))), signal.getsignal(signal.SIGCHLD))
print(oct(os.umask(0)))
"""


@pytest.mark.parametrize("mechanism", ["auto", "subreaper", "process_group"])
def test_what_a_service_manager_hands_over(mechanism: str) -> None:
    """The command is the process that the variables mean. It has the blocked signals, and SIGCHLD ignored."""
    prefix = ["-c", AS_A_SERVICE, *RUN[1:], "--containment", mechanism]
    command = [sys.executable, *prefix, sys.executable, "-S", "-E", "-c", TELL]
    told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, umask=0o37).stdout
    ignoring = int(signal.SIG_IGN)
    blocked = [int(signal.SIGUSR1), int(signal.SIGRTMAX)]
    assert told.splitlines() == ["own own 1", f"{blocked} {ignoring}", "0o37"]


# Its parent

#: Starts what follows, without waiting for it, in a session of its own or not, and tells its pid.
LAUNCHER = """
import subprocess, sys
print(subprocess.Popen(sys.argv[2:], start_new_session=sys.argv[1] == "own").pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("session", ["own", "shared"])
@pytest.mark.parametrize("option", ["--die-with-parent", "--grace=10"])
def test_die_with_parent(session: str, option: str) -> None:
    """When its launcher is killed it ends its tree, if it is to. What the tree does when asked is done."""
    script = f"trap 'echo saved; exit' TERM; echo up $$; sleep {FOREVER} & wait"
    command = [sys.executable, "-S", "-E", "-c", LAUNCHER, session, *RUN, option, "sh", "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as launcher:
        assert launcher.stdout is not None
        wrapper = psutil.Process(int(launcher.stdout.readline()))
        try:
            assert launcher.stdout.readline().startswith("up")
            launcher.kill()
            if option == "--die-with-parent":
                assert launcher.stdout.readline() == "saved\n"
                eventually(lambda: not lives(wrapper), "it outlives its launcher")
            else:
                launcher.wait(PATIENCE)
                assert lives(wrapper)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                wrapper.kill()


@pytest.mark.parametrize("module", ["treeguard._cli.commands", "treeguard._core.native"])
def test_a_parent_that_ends_while_it_starts(module: str, tmp_path: Path) -> None:
    """It ends, too."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Orphaned:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r} and os.environ.pop('LAUNCHED', ''):\n"
        "            os.kill(os.getppid(), signal.SIGKILL)\n"
        "sys.meta_path.insert(0, Orphaned())\n"
    )
    command = ["env", "LAUNCHED=1", *RUN, "--die-with-parent", "sleep", FOREVER]
    with subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", LAUNCHER, "own", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
        start_new_session=True,
    ) as launcher:
        assert launcher.stdout is not None
        wrapper = psutil.Process(int(launcher.stdout.readline()))
        assert launcher.wait(PATIENCE) == -signal.SIGKILL
        try:
            eventually(lambda: not lives(wrapper), "it outlives its launcher")
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                wrapper.kill()


# Signals


@pytest.mark.parametrize("mechanism", ["subreaper", "process_group"])
@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "WINCH"])
def test_signals_are_passed_on(start: Start, name: str, mechanism: Mechanism) -> None:
    """A signal reaches the command, whose own exit status is the result if it handles it."""
    script = f"trap 'exit 7' {name}; echo up; while :; do sleep 0.05; done"
    process = start("--containment", mechanism, "sh", "-c", script)
    assert line_of(process) == "up"
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.wait(PATIENCE) == 7


#: Prints the number of each signal that it gets, until its input ends.
#: It does not wait in one call: a signal that comes just before it would be told of only after it.
LISTEN = """
import os, select, signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, lambda number, frame: os.write(1, b"%d\\n" % number))
os.write(1, b"up\\n")
while not select.select([0], [], [], 0.01)[0] or os.read(0, 4096):
    pass
"""


@pytest.mark.parametrize(
    "option",
    ["--containment=auto", "--containment=subreaper", "--containment=process_group", "--foreground", "--notify"],
)
def test_each_signal_is_heard_once(start: Start, option: str) -> None:
    """Each that can be caught, but SIGCHLD: also those of faults, of broken pipes and of real time."""
    process = start(option, "--grace", "1000", sys.executable, "-S", "-E", "-c", LISTEN)
    assert line_of(process) == "up"
    for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}):
        process.send_signal(number)
        assert line_of(process) == str(int(number))
    end_input(process)
    assert line_of(process) == ""
    assert process.wait(PATIENCE) == 0


def test_a_fault_of_its_own_kills_it() -> None:
    """A fault is no message for the command."""
    faulty = (
        "import ctypes; from treeguard._cli import main; from treeguard._cli.ending import Ending; "
        "Ending.begin = lambda *_: ctypes.string_at(0); main(['run', 'sleep', '1000'])"
    )
    done = subprocess.run(
        ["sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *RUN[:1], "-c", faulty], check=False, timeout=PATIENCE
    )
    assert done.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("module", ["treeguard._cli.commands", "treeguard._core.native", "asyncio"])
def test_an_interrupt_while_it_starts(module: str, tmp_path: Path) -> None:
    """It dies of it as any program, without a traceback."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupted())\n"
    )
    done = run("true", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize(("ignored", "number"), [("PIPE", signal.SIGPIPE), ("XFSZ", signal.SIGXFSZ)])
@pytest.mark.parametrize("by_shell", [True, False])
def test_what_the_interpreter_ignores(ignored: str, number: int, by_shell: bool) -> None:
    """Is ignored in the command where the shell that started it ignores it, and else not."""
    trap = f"trap '' {ignored}; " if by_shell else ""
    line = f'{trap}"$@"; exit $?'
    command = ["sh", "-c", line, "sh", *RUN, "grep", "SigIgn", "/proc/self/status"]
    told = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout
    assert int(told.split()[1], 16) == (1 << (number - 1) if by_shell else 0)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_command_that_dies_of_a_signal(start: Start, number: signal.Signals) -> None:
    """What a passed on signal kills its stand-in dies of, too."""
    process = start("sh", "-c", f"echo up; exec sleep {FOREVER}")
    assert line_of(process) == "up"
    process.send_signal(number)
    assert process.wait(PATIENCE) == -number


def test_deaf_command_is_killed_after_the_grace(start: Start) -> None:
    """A command that ignores the signal is killed when the grace is over."""
    process = start("--grace", "0.3", "sh", "-c", f"trap '' TERM; echo up; exec sleep {FOREVER}")
    assert line_of(process) == "up"
    sent = time.monotonic()
    process.terminate()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert time.monotonic() - sent >= 0.3


@pytest.mark.parametrize("name", ["USR1", "HUP"])
def test_other_signals_start_no_grace(start: Start, name: str) -> None:
    """A command outlives a signal that asks nobody to end, whatever the grace. SIGHUP asks only from a terminal."""
    process = start("--grace", "0", "sh", "-c", f"trap 'echo handled' {name}; echo up; while :; do sleep 0.05; done")
    assert line_of(process) == "up"
    for _ in range(2):
        process.send_signal(signal.Signals[f"SIG{name}"])
        assert line_of(process) == "handled"
    process.terminate()
    # Without a grace the kill follows at once, and may be first.
    assert process.wait(PATIENCE) in {-signal.SIGTERM, -signal.SIGKILL}


def test_stopped_command_can_end(start: Start) -> None:
    """A command that is stopped is continued so that it can act on being told to end."""
    process = start("sh", "-c", "trap 'exit 7' TERM; echo up $$; while :; do sleep 0.05; done")
    root = psutil.Process(int(line_of(process).split()[1]))
    root.suspend()
    eventually(lambda: root.status() == psutil.STATUS_STOPPED, "the command does not stop")
    process.terminate()
    assert process.wait(PATIENCE) == 7


def test_continue_is_passed_on(start: Start) -> None:
    """SIGCONT continues a command that was stopped behind the back of its stand-in."""
    process = start("sh", "-c", f"echo $$; {ECHO}")
    root = psutil.Process(int(line_of(process)))
    root.suspend()
    eventually(lambda: root.status() == psutil.STATUS_STOPPED, "the command does not stop")
    process.send_signal(signal.SIGCONT)
    eventually(lambda: root.status() != psutil.STATUS_STOPPED, "the command does not go on")
    end_input(process)
    assert process.wait(PATIENCE) == 0


def test_nobody_to_continue_it(start: Start) -> None:
    """Where no shell could continue the command, SIGTSTP has no effect, as the kernel has it for the command alone."""
    process = start("sh", "-c", ECHO)
    assert line_of(process) == "up"
    process.send_signal(signal.SIGTSTP)
    say(process, "still there")
    assert line_of(process) == "<still there>"
    end_input(process)
    assert process.wait(PATIENCE) == 0


# Time


@pytest.mark.parametrize("script", ["", "trap 'exit 0' TERM; ", "trap '' TERM; "])
def test_timeout(script: str) -> None:
    """A command that takes too long is ended, gently or not, and the status is 124."""
    done = run("--timeout", "0.2", "--grace", "0.2", "sh", "-c", f"{script}while :; do sleep 0.05; done")
    assert done.returncode == 124


def test_command_within_its_timeout() -> None:
    """A timeout that is not reached changes nothing."""
    assert run("--timeout", "100", "sh", "-c", "exit 3").returncode == 3


def test_what_cannot_be_killed_is_named() -> None:
    """After a bounded time, with a status that is not the command's."""
    code = (
        "import sys; from treeguard._cli import main, supervision; from treeguard.local import LocalProcessManager\n"
        "async def deaf(*_, **__): pass\n"
        "LocalProcessManager.kill_tree = deaf; supervision.KILLED_IN = 0.3; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [
        "run",
        "--timeout",
        "0.2",
        "--grace",
        "0.1",
        "sh",
        "-c",
        "trap '' TERM; echo $$; while :; do read x; done",
    ]
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        root = psutil.Process(int(process.stdout.readline()))
        assert process.wait(PATIENCE) == 125
        assert process.stderr.readline() == f"treeguard run: not gone 0.3 seconds after SIGKILL: sh ({root.pid})\n"
        eventually(lambda: not lives(root), "the guard does not end it")


# What is left behind


@pytest.fixture
def daemon(start: Start, request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """A command under the mechanism of the test, and a daemon that escaped from it."""
    process = start("--containment", request.param, sys.executable, "-S", "-c", DAEMONIZE)
    escaped = psutil.Process(int(line_of(process)))
    try:
        yield process, escaped
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            escaped.kill()


@pytest.mark.parametrize("daemon", ["auto", "subreaper"], indirect=True)
def test_orphaned_daemon_is_gone_when_it_returns(daemon: tuple[subprocess.Popen[bytes], psutil.Process]) -> None:
    """A daemon that left session and parent does not outlive the command."""
    process, escaped = daemon
    end_input(process)
    assert process.wait(PATIENCE) == 0
    assert not escaped.is_running()


@pytest.mark.parametrize("daemon", ["process_group"], indirect=True)
def test_process_group_lets_a_daemon_escape(daemon: tuple[subprocess.Popen[bytes], psutil.Process]) -> None:
    """The control: without a guard the same daemon survives."""
    process, escaped = daemon
    end_input(process)
    assert process.wait(PATIENCE) == 0
    assert escaped.is_running()


def test_background_children_are_gone_when_it_returns() -> None:
    """What the command left in the background is ended as soon as the command has ended."""
    done = run("sh", "-c", f"sleep {FOREVER} >/dev/null 2>&1 & echo $!")
    assert done.returncode == 0
    assert not psutil.pid_exists(int(done.stdout))


def lives(process: psutil.Process) -> bool:
    """Whether it runs; what lost its parent is reaped by init, when init finds the time."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("daemon", ["subreaper"], indirect=True)
def test_killing_it_leaves_nothing(daemon: tuple[subprocess.Popen[bytes], psutil.Process]) -> None:
    """When the stand-in gets SIGKILL, the whole tree ends, guard and daemon included."""
    process, escaped = daemon
    tree = psutil.Process(process.pid).children(recursive=True)
    assert escaped in tree
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    eventually(lambda: not any(map(lives, tree)), "something of the tree is left")


def test_lost_guard_is_told(start: Start) -> None:
    """When the guard is killed, that is told as a failure of treeguard, and the command is gone."""
    process = start("sh", "-c", f"echo $$; exec sleep {FOREVER}")
    root = psutil.Process(int(line_of(process)))
    guard = root.parent()
    assert guard is not None
    guard.kill()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert b"guard" in errors
    assert not lives(root)
