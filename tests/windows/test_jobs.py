"""Trees in jobs: whatever is in one ends with it, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treeguard import ChildHandle, LocalProcessManager, ProgramNotFound, SpawnError, SpawnParams
from treeguard.errors import WorkingDirectoryInvalid

from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs
from . import judge
from .adversary import Adversary
from .marks import real_windows

assert sys.platform == "win32"
import msvcrt  # noqa: E402 - only there

ROOT = Path(__file__).parents[2]


def nothing_is_left(adversary: Adversary) -> None:
    """A process that is no longer active may be in the list for a moment, while it is taken apart."""
    wait_until(lambda: not adversary.traces, "nothing is left")


async def test_killed_tree_is_gone_when_it_is_reported_empty(adversary: Adversary) -> None:
    """A tree that was killed is gone when its exit is told."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        assert not await manager.wait_for_exit(child.pid, 0)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        nothing_is_left(adversary)


async def test_killed_while_it_is_growing(adversary: Adversary) -> None:
    """A tree that is killed before its members are in place is gone like any other."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(adversary.params())
        adversary.spawned()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        nothing_is_left(adversary)


async def test_leaving_the_manager_ends_its_trees(adversary: Adversary) -> None:
    """Leaving a manager empties its trees."""
    async with LocalProcessManager() as manager:
        await manager.spawn_child(adversary.params())
        await adversary.ready()
    nothing_is_left(adversary)


@pytest.mark.parametrize("adversary", ["fled"], indirect=True)
async def test_a_tree_is_not_empty_when_its_root_ends(adversary: Adversary) -> None:
    """The root's exit is told when it is gone; the tree is empty only when all are."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert (root.code, root.signal) == (7, None)
        assert not await manager.wait_for_exit(child.pid, 0.05)
        assert adversary.traces
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        nothing_is_left(adversary)


@pytest.mark.parametrize("adversary", ["breakaway"], indirect=True)
async def test_breaking_away_is_refused(adversary: Adversary) -> None:
    """A member that asks for a child outside of the job is refused."""
    async with LocalProcessManager() as manager:
        await manager.spawn_child(adversary.params())
        await adversary.ready()
        assert "R" in adversary.said
        assert "B" not in adversary.said


@pytest.mark.parametrize("adversary", ["breakaway"], indirect=True)
def test_control_breaking_away_works_without_a_job(adversary: Adversary) -> None:
    """Where no job forbids it, the same adversary breaks away."""
    params = adversary.params()
    assert params.program is not None
    os.set_inheritable(adversary.report_fd, True)
    handle = msvcrt.get_osfhandle(adversary.report_fd)
    with subprocess.Popen([params.program, "breakaway", str(handle)], close_fds=False) as process:
        adversary.wait_ready()
        process.kill()
    assert "B" in adversary.said


class Supervisor:
    """Another process that owns an adversary, until it is ended by TerminateProcess."""

    def __init__(self, adversary: Adversary, how: str) -> None:
        handle = msvcrt.get_osfhandle(adversary.report_fd)
        os.set_handle_inheritable(handle, True)
        config = {"program": str(adversary.program), "kind": adversary.name, "handle": handle, "how": how}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.windows.supervisor"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            close_fds=False,
        )
        assert self._process.stdin is not None
        print(json.dumps(config), file=self._process.stdin, flush=True)

    def __enter__(self) -> Supervisor:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "spawned\n"
        return self

    def kill(self) -> None:
        """TerminateProcess."""
        self._process.kill()
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def test_the_end_of_the_supervisor_is_the_end_of_its_trees(adversary: Adversary) -> None:
    """A supervisor that is ended by TerminateProcess leaves nothing behind."""
    with Supervisor(adversary, "treeguard") as supervisor:
        adversary.wait_ready()
        supervisor.kill()
        nothing_is_left(adversary)


@pytest.mark.parametrize("adversary", ["family", "detached"], indirect=True)
def test_control_without_a_job_all_outlive_the_supervisor(adversary: Adversary) -> None:
    """The same tree, started by subprocess, outlives the same end."""
    with Supervisor(adversary, "subprocess") as supervisor:
        adversary.wait_ready()
        supervisor.kill()
        assert adversary.traces
        assert len(judge.named(adversary.program.name)) == adversary.kind.stays


@pytest.mark.parametrize("adversary", ["family"], indirect=True)
def test_a_supervisor_in_a_tree_loses_its_own_trees_with_it(adversary: Adversary) -> None:
    """Jobs nest: a tree whose member owns a tree is ended with it."""

    async def outer() -> None:
        async with LocalProcessManager() as manager:
            config = {"program": str(adversary.program), "kind": adversary.name, "fd": adversary.report_fd}
            ours, theirs = os.pipe()
            os.write(theirs, (json.dumps({**config, "how": "treeguard"}) + "\n").encode())
            child = await manager.spawn_child(
                SpawnParams(
                    kind="runtime",
                    args=("-m", "tests.windows.supervisor"),
                    cwd=str(ROOT),
                    stdin=ours,
                    stdout="null",
                    pass_fds=(adversary.report_fd,),
                )
            )
            os.close(ours)
            await adversary.ready()
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            os.close(theirs)
            nothing_is_left(adversary)

    asyncio.run(outer())


@pytest.mark.parametrize("code", [0, 7, 255, 0xC0000005, 0xFFFFFFFF])
async def test_exit_codes_are_told_in_full(code: int) -> None:
    """An exit code has 32 bits, and none of them means a signal."""
    async with LocalProcessManager() as manager:
        script = f"import ctypes; ctypes.windll.kernel32.ExitProcess(ctypes.c_uint({code}))"
        child = await manager.spawn_child(SpawnParams(kind="runtime", args=("-c", script)))
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert (root.code, root.signal) == (code, None)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def told(**params: object) -> str:
    """What a child says on its standard output."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, encoding="utf-8") as out:
        async with LocalProcessManager() as manager:
            try:
                child = await manager.spawn_child(SpawnParams(**{"kind": "runtime", "stdout": theirs, **params}))  # type: ignore[arg-type]
            finally:
                os.close(theirs)
            text = await asyncio.get_running_loop().run_in_executor(None, out.read)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            return text


NASTY = ("", " ", "a b", 'say "hi"', "back\\", "back\\ slash\\", 'b\\"c', "tab\there", "%PATH%", "^&|<>", "é漢🌳", "'")


async def test_arguments_arrive_as_they_are() -> None:
    """Quotes, backslashes, spaces and characters of all planes arrive."""
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert tuple(json.loads(await told(args=("-c", script, *NASTY)))) == NASTY


async def test_environment_and_directory(tmp_path: Path) -> None:
    """A variable replaces one whose name differs in case only; the child begins in its directory."""
    os.environ["TREEGUARD_PROBE"] = "old"
    try:
        script = "import json, os; print(json.dumps([os.getcwd(), os.environ['treeguard_probe'], os.environ['EXTRA']]))"
        text = await told(args=("-c", script), cwd=str(tmp_path), env={"Treeguard_Probe": "new", "EXTRA": "ü€"})
    finally:
        del os.environ["TREEGUARD_PROBE"]
    directory, value, extra = json.loads(text)
    assert (Path(directory), value, extra) == (tmp_path, "new", "ü€")


async def test_scripts_are_found_by_their_name_alone(tmp_path: Path) -> None:
    """A .cmd file is found in PATH without its extension, runs, and gets its arguments."""
    (tmp_path / "greet.cmd").write_text("@echo hello %1\r\n@exit /b 5\r\n", encoding="ascii")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert (await told(program="greet", args=("you",), env={"PATH": path})).strip() == "hello you"


async def test_programs_are_not_looked_for_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    """What somebody has put into the current directory is not run for what is in no PATH."""
    (tmp_path / "planted.exe").write_bytes(Path(programs.tiny).read_bytes())
    monkeypatch.chdir(tmp_path)
    async with LocalProcessManager() as manager:
        with pytest.raises(ProgramNotFound):
            await manager.spawn_child(SpawnParams(program="planted"))
        child = await manager.spawn_child(SpawnParams(program=".\\planted", args=("end",)))
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_descriptors_are_passed_on_under_their_numbers() -> None:
    """A descriptor of pass_fds has its number in the child's C runtime; the child writes to it."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as out:
        async with LocalProcessManager() as manager:
            script = f"import os; os.write({theirs}, b'through')"
            child = await manager.spawn_child(SpawnParams(kind="runtime", args=("-c", script), pass_fds=(theirs,)))
            os.close(theirs)
            assert await asyncio.get_running_loop().run_in_executor(None, out.read) == b"through"
            assert await manager.wait_for_exit(child.pid, PATIENCE)


@pytest.mark.parametrize("inherits", [False, True])
def test_only_what_was_given_is_inherited(programs: Programs, inherits: bool) -> None:
    """A pipe that is inheritable, but not given, is not held by the child. Control: subprocess lets it through."""
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)

    def closed_elsewhere() -> bool:
        os.close(theirs)
        with os.fdopen(ours, "rb") as out:
            loop = asyncio.new_event_loop()
            try:
                reading = loop.run_in_executor(None, out.read)
                done, _ = loop.run_until_complete(asyncio.wait({reading}, timeout=1))
                free = bool(done)
                end()
                loop.run_until_complete(asyncio.wait({reading}, timeout=PATIENCE))
            finally:
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()
        return free

    end: Callable[[], object]
    if inherits:
        process = subprocess.Popen([programs.tiny], close_fds=False)
        end = process.kill
        assert not closed_elsewhere()
        process.wait()
        return
    loop = asyncio.new_event_loop()
    manager = LocalProcessManager()
    loop.run_until_complete(manager.spawn_child(SpawnParams(program=programs.tiny)))
    end = lambda: loop.run_until_complete(manager.close())  # noqa: E731
    assert closed_elsewhere()
    loop.close()


@pytest.mark.parametrize(
    ("params", "kind", "step"),
    [
        ({"program": "there-is-none"}, ProgramNotFound, "search"),
        ({"program": "C:\\there\\is\\none.exe"}, ProgramNotFound, "search"),
        ({"program": "cmd", "cwd": "C:\\none"}, FileNotFoundError, "cwd"),
        ({"program": "cmd", "cwd": sys.executable}, WorkingDirectoryInvalid, "cwd"),
        ({"program": "cmd", "stdout": 99}, OSError, "stdio"),
        ({"program": "cmd", "pass_fds": (99,)}, OSError, "pass_fds"),
        ({"program": "cmd", "terminal": 0}, ValueError, "argument"),
        ({"program": "cmd", "new_session": True}, ValueError, "argument"),
        ({"program": "cmd", "ignore_signals": (2,)}, ValueError, "argument"),
        ({"program": "cmd", "restore_signals": False}, ValueError, "argument"),
        ({"program": "cmd", "user": "Administrator"}, ValueError, "argument"),
        ({"program": "cmd", "group": 0}, ValueError, "argument"),
        ({"program": "cmd", "extra_groups": ()}, ValueError, "argument"),
        ({"program": "cmd", "umask": 0}, ValueError, "argument"),
        ({"program": "cmd", "nice": 1}, ValueError, "argument"),
        ({"program": "cmd", "rlimits": {7: 1}}, ValueError, "argument"),
        ({"program": "cmd", "oom_score_adj": 0}, ValueError, "argument"),
        ({"program": "cmd", "cpu_affinity": (0,)}, ValueError, "argument"),
        ({"program": "cmd", "argv0": "a\0b"}, ValueError, "argument"),
        ({"program": "cmd", "notify": True}, ValueError, "argument"),
        ({"program": "cmd", "args": ("a\0b",)}, ValueError, "argument"),
        ({"program": "cmd", "env": {"A=B": "c"}}, ValueError, "argument"),
    ],
)
async def test_errors_name_what_was_wrong(params: dict[str, object], kind: type[Exception], step: str) -> None:
    """What cannot be started is refused with the step, as an error that the standard library has too."""
    async with LocalProcessManager() as manager:
        with pytest.raises(SpawnError) as caught:
            await manager.spawn_child(SpawnParams(**params))  # type: ignore[arg-type]
        assert isinstance(caught.value, kind)
        assert caught.value.step == step
        assert await manager.list_children() == []


#: Tells the name that it was started by, its priority class, and how its first window is to be shown.
ACCOUNT = """
import ctypes, sys
from ctypes import wintypes
k = ctypes.windll.kernel32
k.GetCommandLineW.restype, k.GetCurrentProcess.restype = wintypes.LPWSTR, wintypes.HANDLE
k.GetPriorityClass.argtypes = (wintypes.HANDLE,)
info = (ctypes.c_byte * 104)()
k.GetStartupInfoW(info)
flags = int.from_bytes(bytes(info[60:64]), "little")
shown = int.from_bytes(bytes(info[64:66]), "little")
print(k.GetCommandLineW().split()[0], k.GetPriorityClass(k.GetCurrentProcess()), flags & 1, shown)
"""


def told_by_subprocess(options: dict[str, Any]) -> str:
    """What the same root tells as a child of the standard library's. Wine, for one, starts none with a priority."""
    info = subprocess.STARTUPINFO()
    if "show_window" in options:
        info.dwFlags, info.wShowWindow = subprocess.STARTF_USESHOWWINDOW, options["show_window"]
    command, flags = [sys.executable, "-c", ACCOUNT], options.get("creationflags", 0)
    return subprocess.check_output(command, startupinfo=info, creationflags=flags, text=True).partition(" ")[2].strip()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"creationflags": subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW},
        {"show_window": 7},
        {"argv0": "another"},
    ],
)
async def test_flags_and_name(options: dict[str, Any]) -> None:
    """The root has the priority and the window that a child of the standard library has, and the name."""
    read, write = os.pipe()
    async with LocalProcessManager() as manager:
        params = SpawnParams(sys.executable, ("-c", ACCOUNT), stdout=write, **options)
        child = await manager.spawn_child(params)
        os.close(write)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
    with os.fdopen(read) as output:
        name, _, told = output.read().strip().partition(" ")
    assert told == await asyncio.to_thread(told_by_subprocess, options)
    assert (name == "another") == ("argv0" in options)
    assert told.endswith(" 1 7") == ("show_window" in options)


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    """The system's refusal is told, and no job is left with something in it."""
    bogus = tmp_path / "bogus.exe"
    bogus.write_bytes(b"this is no program")
    async with LocalProcessManager() as manager:
        with pytest.raises(SpawnError) as caught:
            await manager.spawn_child(SpawnParams(program=str(bogus)))
        assert caught.value.step == "exec"
        assert "Windows error 193: " in str(caught.value)
        assert await manager.list_children() == []


@pytest.mark.parametrize("policy", ["WindowsProactorEventLoopPolicy", "WindowsSelectorEventLoopPolicy"])
def test_both_event_loops(policy: str, programs: Programs) -> None:
    """Events arrive on the loop with completion ports and on the one with select."""

    async def life() -> None:
        async with LocalProcessManager() as manager:
            one = await manager.spawn_child(SpawnParams(program=programs.tiny))
            two = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=one.pid))
            waiting = asyncio.create_task(manager.wait_for_exit(two.pid, PATIENCE))
            await manager.kill_tree(one.pid)
            assert await waiting
            assert await manager.wait_for_exit(one.pid, PATIENCE)

    loop = getattr(asyncio, policy)().new_event_loop()
    try:
        loop.run_until_complete(life())
    finally:
        loop.close()


def test_a_manager_follows_to_another_loop(programs: Programs) -> None:
    """A manager whose loop was closed is used on the next one, and has missed nothing."""
    manager = LocalProcessManager()

    async def begin() -> tuple[ChildHandle, ChildHandle]:
        stays = await manager.spawn_child(SpawnParams(program=programs.tiny))
        ends = await manager.spawn_child(SpawnParams(program=programs.tiny, args=("end",)))
        return stays, ends

    async def go_on() -> None:
        assert await manager.wait_for_exit(ends.pid, PATIENCE)
        assert [each.pid for each in await manager.list_children()] == [stays.pid]
        await manager.close()

    stays, ends = asyncio.run(begin())
    wait_until(lambda: not judge.alive(ends.os_pid), "it has ended between the loops")
    asyncio.run(go_on())


async def test_many_at_once(programs: Programs) -> None:
    """More trees than a batch has room for, ended at once."""
    async with LocalProcessManager() as manager:
        children = [await manager.spawn_child(SpawnParams(program=programs.tiny)) for _ in range(150)]
        assert all(judge.alive(child.os_pid) for child in children)
        for child in children:
            await manager.kill_tree(child.pid)
        for child in children:
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert await manager.list_children() == []


@real_windows
async def test_cpu_time_is_told() -> None:
    """What a root and its tree used is told with the exit."""
    async with LocalProcessManager() as manager:
        script = "import time; e = time.process_time() + 0.2\nwhile time.process_time() < e: pass"
        child = await manager.spawn_child(SpawnParams(kind="runtime", args=("-c", script)))
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert 0.1 < root.usage.user_time + root.usage.system_time < PATIENCE
        assert root.usage.max_rss > 1_000_000


async def _asked_to_end(manager: LocalProcessManager, child: ChildHandle) -> int | None:
    """The root's exit code."""
    await manager.terminate_tree(child.pid, False)
    root = await manager.wait_for_root(child.pid, PATIENCE)
    assert root is not None
    return root.code


@real_windows
async def test_gentle_end_is_ctrl_break(tmp_path: Path) -> None:
    """Without force a console program gets CTRL_BREAK, and may do with it what it likes."""
    script = (
        "import signal, sys, time; signal.signal(signal.SIGBREAK, lambda *_: sys.exit(9)); open('up', 'w').close()\n"
    )
    script += "while True: time.sleep(0.01)"
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(kind="runtime", args=("-c", script), cwd=str(tmp_path)))
        await until((tmp_path / "up").exists, "the child listens")
        assert await _asked_to_end(manager, child) == 9


_WINDOW = """
import ctypes, pathlib
from ctypes import wintypes
user = ctypes.WinDLL("user32")
user.CreateWindowExW.restype = wintypes.HWND
user.CreateWindowExW.argtypes = [wintypes.DWORD, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD] + 4 * [
    ctypes.c_int] + [wintypes.HWND, wintypes.HMENU, wintypes.HINSTANCE, ctypes.c_void_p]
overlapped = 0x00CF0000
window = user.CreateWindowExW(0, "STATIC", "asked", overlapped, 0, 0, 9, 9, None, None, None, None)
pathlib.Path("up" if window else "no window").touch()
message = wintypes.MSG()
while user.IsWindow(wintypes.HWND(window)) and user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
    user.DispatchMessageW(ctypes.byref(message))
raise SystemExit(9)
"""


async def test_window_is_asked_to_close(tmp_path: Path) -> None:
    """Where there is no console, a root that has a window ends as if its user had closed that."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(kind="runtime", args=("-c", _WINDOW), cwd=str(tmp_path)))
        await until(lambda: list(tmp_path.iterdir()) != [], "the child has done what it could")
        assert (tmp_path / "up").exists()
        assert await _asked_to_end(manager, child) == 9
