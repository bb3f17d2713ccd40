"""Trees that share the terminal of their supervisor, which is a job of a real shell on a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..support import mechanisms
from ..support.jobs import INTERRUPT, SHELLS, SUSPEND, Session, Shell
from ..support.patience import PATIENCE, wait_until
from ..support.terminal_user import CALLS

#: Each of a guard, and none.
GUARDED = ["subreaper", "process_group"]
every_kind = pytest.mark.parametrize("kind", GUARDED)


@pytest.fixture
def shell() -> Iterator[Shell]:
    with contextlib.closing(Shell(*SHELLS[0])) as shell:
        shell.type("stty tostop\n")
        shell.prompted()
        yield shell


class Program:
    """A supervisor's source, as a command line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def line(self, *lines: str) -> str:
        """The command line that runs these lines, after imports that all need."""
        begin = (
            "import asyncio, os, signal, sys, time, treeguard",
            "from treeguard.subprocess import Popen, TimeoutExpired",
            "def foreground(): return os.tcgetpgrp(os.open('/dev/tty', os.O_RDWR)) == os.getpgrp()",
        )
        self._path.write_text("\n".join((*begin, *lines)), "utf-8")
        return f'"$PYTHON" {self._path}'

    def on_loop(self, kind: str, *lines: str) -> str:
        """The same within a manager's block."""
        return self.line(
            "async def main():",
            f"    async with treeguard.LocalProcessManager(containment={kind!r}) as manager:",
            *(f"        {line}" for line in lines),
            "asyncio.run(main())",
        )


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "supervisor.py")


def echoes(shell: Session) -> bool:
    return bool(termios.tcgetattr(shell.master)[3] & termios.ECHO)


# What needs the terminal


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [*mechanisms.EVERY, *mechanisms.INSIDE])
def test_children_use_the_terminal(shell: Shell, call: str, kind: str) -> None:
    """Children print, change settings, ask for a password and read; afterwards the supervisor is in the foreground."""
    shell.type(f'"$PYTHON" -m tests.support.terminal_user {call} {kind}\n')
    shell.see("is printed")
    shell.see("prints: 0, foreground: True")
    shell.see("sets: 0, foreground: True")
    wait_until(lambda: echoes(shell), "stty echo has no effect")
    shell.see("resets: 0, foreground: True")
    shell.see("Whisper: ")
    wait_until(lambda: not echoes(shell), "getpass has not turned the echo off")
    shell.type("word\n")
    shell.see("secret word")
    shell.see("getpass: 0, foreground: True")
    for name in ("reads", "opens"):
        shell.see("ask (me|again)")
        shell.type("line\n")
        shell.see("<line>")
        shell.see(f"{name}: 0, foreground: True")
    shell.prompted()
    assert shell.status() == 0


def test_without_lending_a_child_stops(shell: Shell, program: Program) -> None:
    """The control: a child that is lent nothing is stopped by the terminal, and its state says so."""
    shell.type(
        program.on_loop(
            "subreaper",
            "assert treeguard.terminal.set_lending(False)",
            "child = await manager.spawn_child(treeguard.SpawnParams('sh', ('-c', 'echo x'), stdin='inherit'))",
            "state = await manager.wait_for_change(child.pid)",
            "while not state.stopped: state = await manager.wait_for_change(child.pid, state)",
            "print('stop', 'by', state.stopped == signal.SIGTTOU, foreground())",
        )
        + "\n"
    )
    shell.see("stop by True True")
    shell.prompted()
    assert not shell.others()


@every_kind
def test_settings_stay_after_an_ordinary_end(shell: Shell, program: Program, kind: str) -> None:
    """What a command has set on purpose stays, as with the standard library, also when nothing else is left of it."""
    lines = [
        f"print('code', treeguard.run(['stty', {word!r}], containment={kind!r}).returncode)" for word in ("-echo",)
    ]
    shell.type(program.line(*lines) + "; stty -a | grep -o -- '-echo ' ; stty echo; echo do'ne'\n")
    shell.see("code 0")
    shell.see("-echo \r\n")
    shell.see("done")


# The end of a loan

SET_AND_SLEEP = "['sh', '-c', 'stty -echo; echo s\"et\"; exec sleep 1000']"
ENDS = {
    "killed": (
        "tree = await manager.spawn(*{words}, stdin='inherit', stdout='inherit')",
        "await until_set()",
        "tree.kill()",
        "await tree.wait_empty()",
    ),
    "died of a signal": (
        "tree = await manager.spawn(*{words}, stdin='inherit')",
        "await until_set()",
        "tree.send_signal(signal.SIGTERM)",
        "await tree.wait()",
    ),
    "cancelled": (
        "task = asyncio.ensure_future(treeguard.arun({words}, manager=manager))",
        "await until_set()",
        "task.cancel()",
        "await asyncio.wait({{task}})",
    ),
    "timed out": (
        "task = asyncio.ensure_future(treeguard.arun({words}, manager=manager, timeout=1))",
        "await asyncio.wait({{task}})",
        "assert isinstance(task.exception(), treeguard.TimeoutExpired)",
    ),
}


@every_kind
@pytest.mark.parametrize("end", ENDS)
def test_settings_come_back_after_a_kill(shell: Shell, program: Program, kind: str, end: str) -> None:
    """A command that turned the echo off and was killed leaves the terminal as it was, and to the supervisor."""
    waiting = ("async def until_set():", "    while foreground() or echoes(): await asyncio.sleep(0.005)")
    command = program.on_loop(
        kind,
        "import termios",
        "def echoes(): return bool(termios.tcgetattr(0)[3] & termios.ECHO)",
        *waiting,
        *(line.format(words=SET_AND_SLEEP) for line in ENDS[end]),
        "print('now', foreground(), echoes())",
    )
    shell.type(command + "\n")
    shell.see("now True True")
    shell.prompted()


@every_kind
def test_a_wait_that_ends_early_takes_the_terminal_back(shell: Shell, program: Program, kind: str) -> None:
    """A wait that is over before the tree leaves the supervisor in the foreground; the tree gets it again."""
    shell.type(
        program.line(
            f"child = Popen(['sh', '-c', 'read a; read b; echo \"<$a$b>\"'], containment={kind!r})",
            "try: child.wait(1)",
            "except TimeoutExpired: print('ear', 'ly', foreground(), flush=True)",
            "print('code', child.wait(), foreground())",
        )
        + "\n"
    )
    shell.see("ear ly True")
    shell.type("one\n")
    shell.type("two\n")
    shell.see("<onetwo>")
    shell.see("code 0 True")
    shell.prompted()


def test_ordinary_exit(shell: Shell, program: Program) -> None:
    """A supervisor that ends with a tree in the foreground takes the terminal back first, and restores it."""
    shell.type(
        program.line(
            f"child = Popen({SET_AND_SLEEP})",
            "while foreground(): time.sleep(0.005)",
        )
        + "; echo en'ded'\n"
    )
    shell.see("ended")
    shell.prompted()
    assert echoes(shell)
    assert not shell.others()


@pytest.mark.parametrize("words", ["['sh', '-c', 'exit 3']", "['/dev/null/none']"])
def test_terminal_from_the_start(shell: Shell, program: Program, words: str) -> None:
    """A tree that takes the terminal before its program runs gives it back, also when that could not be started."""
    shell.type(
        program.on_loop(
            "subreaper",
            f"words = {words}",
            "try: await (await manager.spawn(*words, stdin='inherit', terminal=0)).wait()",
            "except OSError: pass",
            "print('back', 'is', foreground())",
        )
        + "\n"
    )
    shell.see("back is True")
    shell.prompted()


# Keys


@every_kind
@pytest.mark.parametrize("handled", [True, False])
@pytest.mark.parametrize("call", ["run", "Popen", "arun"])
def test_interrupt_reaches_both(shell: Shell, program: Program, kind: str, handled: bool, call: str) -> None:
    """Ctrl-C reaches the child that has the terminal, once, and the supervisor, also if the child handles it."""
    trap = "trap 'echo to\"ok\" it; exit' INT; " if handled else ""
    words = ["sh", "-c", f'{trap}echo re"ady"; read x; read y']
    calls = {
        "run": f"treeguard.run({words!r}, containment={kind!r})",
        "Popen": f"child = Popen({words!r}, containment={kind!r}); child._sigint_wait_secs = {PATIENCE}; child.wait()",
        "arun": f"asyncio.run(treeguard.arun({words!r}, manager=treeguard.LocalProcessManager(containment={kind!r})))",
    }
    shell.type(
        program.line(
            # A child on a busy machine has more than its quarter of a second.
            "import treeguard._blocking.command as command",
            f"command._AFTER_INTERRUPT = {PATIENCE}",
            f"try: {calls[call]}",
            "except KeyboardInterrupt: print('interr', 'upted', foreground(), flush=True)",
        )
        + "; echo en'ded'\n"
    )
    shell.see("ready")
    wait_until(lambda: reading(shell), "the child never reads")
    shell.type(INTERRUPT)
    if handled and call != "arun":
        shell.see("took it")
    shell.see("interr upted True")
    shell.see("ended")
    assert "took it" not in shell.unread
    shell.prompted()
    assert not shell.others()


def reading(shell: Session) -> bool:
    """Whether a process that is in the foreground waits for the terminal's input."""
    for process in shell.others():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == shell.foreground and process.name() == "sh":
                return "n_tty_read" in Path(f"/proc/{process.pid}/wchan").read_text() or process.status() == "sleeping"
    return False


@every_kind
def test_suspend_and_go_on(shell: Shell, program: Program, kind: str) -> None:
    """Ctrl-Z stops supervisor and child, and fg continues both, again and again."""
    words = ["sh", "-c", "echo at $$; exec cat"]
    root = shell.start(program.line(f"print('code', treeguard.run({words!r}, containment={kind!r}).returncode)"))
    shell.type("zero\n")
    shell.see("zero\r\nzero\r\n")
    for word in ("one", "two", "three"):
        shell.type(SUSPEND)
        shell.see("Stopped")
        shell.prompted()
        wait_until(lambda: psutil.Process(root).status() == psutil.STATUS_STOPPED, "the child is not stopped")
        shell.foreground_job(root)
        shell.type(f"{word}\n")
        shell.see(f"{word}\r\n{word}\r\n")
    shell.type("\x04")
    shell.see("code 0")
    shell.prompted()


@every_kind
def test_suspend_by_a_member(shell: Shell, program: Program, kind: str) -> None:
    """A child that stops its whole group, as an editor does, stops its supervisor too."""
    words = ["sh", "-c", 'echo at $$; read x; kill -TSTP 0; echo go"es" on; read y; echo "<$y>"']
    root = shell.start(program.line(f"treeguard.run({words!r}, containment={kind!r})"))
    shell.type("\n")
    shell.see("Stopped")
    shell.prompted()
    shell.type("fg\n")
    shell.see("goes on")
    wait_until(lambda: shell.foreground == root, "it does not get the terminal again")
    shell.type("line\n")
    shell.see("<line>")
    shell.prompted()


def test_suspend_without_a_shell(program: Program) -> None:
    """Where nobody could continue the supervisor, Ctrl-Z has no effect on its children either."""
    words = ["sh", "-c", 'echo at $$; until read -r line && echo "<$line>"; do :; done']
    program.line(f"treeguard.run({words!r})", "print('fore', 'ground', foreground(), flush=True)")
    with contextlib.closing(Session(sys.executable, str(program._path))) as session:
        session.see(r"at \d+\r\n")
        wait_until(lambda: session.foreground != session.leader.pid, "nothing is lent")
        session.type(SUSPEND)
        session.type("hello\n")
        session.see("<hello>")
        session.see("fore ground True")
        assert session.leader.wait(PATIENCE) == 0


# Who gets it


def test_one_after_another(shell: Shell, program: Program) -> None:
    """Of several trees that need the terminal one has it at a time, in the order in which they were stopped."""
    shell.type(
        program.on_loop(
            "subreaper",
            "words = ['sh', '-c', 'read a; read b; echo \"<$0$a$b>\"']",
            "trees = []",
            "for name in 'xyz':",
            "    trees.append(asyncio.ensure_future(treeguard.arun([*words, name], manager=manager)))",
            "    await asyncio.sleep(0.5)",
            "await asyncio.wait(trees)",
            "print('fore', 'ground', foreground())",
        )
        + "\n"
    )
    for name in "xyz":
        wait_until(lambda: reading(shell), "nobody reads")
        shell.type("1\n")
        shell.type("2\n")
        shell.see(f"<{name}12>")
    shell.see("fore ground True")
    shell.prompted()


def test_in_the_background_nothing_is_stolen(shell: Shell, program: Program) -> None:
    """In the background the tree stays stopped, and the log says so; in the foreground it gets the terminal."""
    command = program.line(
        "import logging",
        "logging.basicConfig(filename=sys.argv[1])",
        "treeguard.run(['sh', '-c', 'read x; echo \"<$x>\"'])",
        "print('fore', 'ground', foreground(), flush=True)",
    )
    log = program._path.with_name("log")
    shell.type(f"{command} {log} &\n")
    wait_until(lambda: log.exists() and "bring this program" in log.read_text("utf-8"), "the log says nothing")
    assert re.search(r"'sh' \(pid \d+\) needs the terminal", log.read_text("utf-8"))
    assert shell.foreground == shell.leader.pid
    assert "WARNING:treeguard.terminal" in log.read_text("utf-8")
    shell.type("fg\n")
    wait_until(lambda: shell.foreground != shell.leader.pid and reading(shell), "it gets no terminal")
    shell.type("line\n")
    shell.see("<line>")
    shell.see("fore ground True")
    shell.prompted()


@every_kind
def test_other_threads_and_loops(shell: Shell, program: Program, kind: str) -> None:
    """Loops in threads and blocking calls share the one terminal."""
    words = ["sh", "-c", "echo is' printed'"]
    shell.type(
        program.line(
            "import threading",
            "async def main():",
            f"    async with treeguard.LocalProcessManager(containment={kind!r}) as manager:",
            f"        await treeguard.arun({words!r}, manager=manager)",
            f"jobs = [lambda: asyncio.run(main()), lambda: treeguard.run({words!r}, containment={kind!r})] * 2",
            "threads = [threading.Thread(target=job) for job in jobs]",
            "for thread in threads: thread.start()",
            "for thread in threads: thread.join()",
            "print('fore', 'ground', foreground())",
        )
        + "\n"
    )
    for _ in range(4):
        shell.see("is printed")
    shell.see("fore ground True")
    shell.prompted()


def test_within_treeguard_run(shell: Shell, program: Program) -> None:
    """A supervisor that is itself the command of ``treeguard run`` lends what it was lent."""
    command = program.line(
        "treeguard.run(['sh', '-c', 'read x; echo \"<$x>\"'])", "print('fore', 'ground', foreground(), flush=True)"
    )
    shell.type(f'"$PYTHON" -m treeguard run -- {command}\n')
    wait_until(lambda: reading(shell), "nobody reads")
    shell.type("line\n")
    shell.see("<line>")
    shell.see("fore ground True")
    shell.prompted()


def test_another_session_has_no_part_in_it(shell: Shell, program: Program) -> None:
    """A tree in a session of its own is not lent the terminal, and reads what is its standard input without."""
    shell.type(
        program.line(
            "child = Popen(['sh', '-c', 'kill -TTIN $$; exec sleep 1000'], start_new_session=True)",
            "try: child.wait(1)",
            "except TimeoutExpired: print('no', 'part', foreground())",
            "child.kill()",
            "child.wait()",
        )
        + "\n"
    )
    shell.see("no part True")
    shell.prompted()


def test_signals_of_others_are_not_sent_on(shell: Shell, program: Program) -> None:
    """SIGINT that the supervisor sends to a tree's group is not taken for Ctrl-C."""
    words = ["sh", "-c", "trap 'echo to\"ok\" it' INT; read x; read y; exit 3"]
    shell.type(
        program.line(
            f"child = Popen({words!r})",
            "while foreground(): time.sleep(0.005)",
            "child.send_signal(signal.SIGINT)",
            "print('code', child.wait(), foreground())",
        )
        + "\n"
    )
    shell.see("took it")
    shell.type("\n\n")
    shell.see("code 3 True")
    shell.prompted()


@every_kind
@pytest.mark.parametrize("call", ["arun", "open_tree", "spawn_child"])
def test_interrupt_of_the_supervisor_alone(shell: Shell, program: Program, kind: str, call: str) -> None:
    """Ctrl-C while nothing is lent reaches the supervisor, and its trees end with what awaits them."""
    words = ["sh", "-c", "exec sleep 1000"]
    calls = {
        "arun": f"await treeguard.arun({words!r}, manager=manager)",
        "open_tree": f"async with treeguard.open_tree(*{words!r}, manager=manager) as tree: await tree.wait()",
        "spawn_child": f"await (await manager.spawn(*{words!r})).wait()",
    }
    command = program.on_loop(kind, "print('rea', 'dy', flush=True)", calls[call])
    shell.type(f"{command} 2>/dev/null; echo en'ded'\n")
    shell.see("rea dy")
    wait_until(lambda: "sleep" in names(shell), "nothing is started")
    shell.type(INTERRUPT)
    shell.prompted()
    assert not shell.others()


def names(shell: Session) -> list[str]:
    found = []
    for process in shell.others():
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(process.name())
    return found


def relays(shell: Session) -> list[psutil.Process]:
    found = []
    for process in shell.others():
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if "relay" in process.cmdline() else []
    return found


@every_kind
def test_supervisor_killed_while_it_has_lent(shell: Shell, program: Program, kind: str) -> None:
    """Nothing is left of the tree and of the relay, and the shell has its terminal."""
    words = ["sh", "-c", 'echo re"ady"; read x']
    shell.type(program.line("print('at', os.getpid(), flush=True)", f"treeguard.run({words!r}, containment={kind!r})"))
    shell.type("\n")
    supervisor = int(shell.see(r"at (\d+)\r\n")[1])
    shell.see("ready")
    wait_until(lambda: shell.foreground not in (supervisor, shell.leader.pid) and reading(shell), "nothing is lent")
    assert relays(shell)
    os.kill(supervisor, signal.SIGKILL)
    shell.prompted()
    wait_until(lambda: not shell.others(), "something is left")


@every_kind
def test_change_of_the_size_reaches_both(shell: Shell, program: Program, tmp_path: Path, kind: str) -> None:
    """SIGWINCH comes to the tree that has the terminal, and to the supervisor."""
    heard = tmp_path / "heard"
    words = ["sh", "-c", "trap 'echo theirs' WINCH; echo re\"ady\"; while :; do sleep 0.02; done"]
    command = program.line(
        f"signal.signal(signal.SIGWINCH, lambda *_: open({str(heard)!r}, 'w').close())",
        f"treeguard.run({words!r}, containment={kind!r})",
    )
    shell.type(command + "\n")
    shell.see("ready")
    fcntl.ioctl(shell.master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    shell.see("theirs")
    wait_until(heard.exists, "the supervisor hears nothing")
    shell.type(INTERRUPT)
    shell.prompted()


def test_free_trees_have_no_relay(shell: Shell, program: Program) -> None:
    """A tree that does not use the terminal never has it, and no process is made for it."""
    shell.type(program.line("print('at', os.getpid(), flush=True)", "treeguard.run(['sleep', '1000'])") + "\n")
    supervisor = int(shell.see(r"at (\d+)\r\n")[1])
    wait_until(lambda: "sleep" in names(shell), "nothing is started")
    assert shell.foreground == supervisor
    assert not relays(shell)
    shell.type(INTERRUPT)
    shell.prompted()
    assert not shell.others()
