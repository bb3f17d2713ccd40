"""A supervisor that is itself a helper: its trees end with the process that started it, if they are to."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from treeguard import LocalProcessManager
from treeguard.types import Mechanism

from ..support import seccomp
from ..support.apart import ROOT
from ..support.helper_supervisor import WAYS
from ..support.judge import look
from ..support.patience import wait_until

#: Starts what follows, and waits to be killed.
LAUNCHER = """
import signal, subprocess, sys
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
signal.pause()
"""


class Scene(NamedTuple):
    launcher: subprocess.Popen[str]
    helper: psutil.Process
    tree: tuple[int, int]

    def line(self) -> str:
        assert self.launcher.stdout is not None
        return self.launcher.stdout.readline().removesuffix("\n")

    def gone(self) -> bool:
        return not any(map(look, self.tree))


Begin = Callable[..., Scene]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a launcher in a session of its own, its helper, and the helper's tree. What is left is killed."""
    with contextlib.ExitStack() as stack:

        def start(way: str, mechanism: Mechanism, bound: str, before: tuple[str, ...] = ()) -> Scene:
            helper = [*before, sys.executable, "-m", "tests.support.helper_supervisor", way, mechanism, bound]
            launcher = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", LAUNCHER, *helper],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
            stack.enter_context(launcher)
            stack.callback(launcher.kill)
            assert launcher.stdout is not None
            started = psutil.Process(int(launcher.stdout.readline()))
            stack.callback(_end, started)
            first, second = (int(launcher.stdout.readline()) for _ in range(2))
            return Scene(launcher, started, (first, second))

        yield start


def _end(process: psutil.Process) -> None:
    """Kills a helper, and waits until it and its trees are gone: with its output its launcher's is at its end."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


@pytest.mark.parametrize("way", WAYS)
def test_trees_end_with_the_launcher(begin: Begin, way: str, containing: Mechanism) -> None:
    """However they were started. The helper lives on, hears of their end, and can start no more of them."""
    scene = begin(way, containing, "bound")
    scene.launcher.kill()
    wait_until(scene.gone, "the tree outlives the launcher of its supervisor")
    assert scene.line() == "over"
    assert scene.line() == "refused parent"


def test_control_trees_outlive_the_launcher(begin: Begin, containing: Mechanism) -> None:
    """Control: without the option the helper keeps its trees."""
    scene = begin("manager", containing, "unbound")
    scene.launcher.kill()
    scene.launcher.wait()
    wait_until(lambda: scene.helper.ppid() != scene.launcher.pid, "the helper is no orphan")
    assert all(map(look, scene.tree))


def test_a_helper_that_is_stopped(begin: Begin, containing: Mechanism) -> None:
    """The guard sees the end itself, so it does not matter what the helper does."""
    scene = begin("manager", containing, "bound")
    scene.helper.suspend()
    scene.launcher.kill()
    wait_until(scene.gone, "the tree outlives the launcher of its supervisor")
    scene.helper.resume()
    assert scene.line() == "over"


def test_without_pidfds(begin: Begin, containing: Mechanism) -> None:
    """A guard that gets no handle of the launcher looks whose child its supervisor is."""
    if not seccomp.SUPPORTED:
        pytest.skip("no filter is known for this machine")
    before = (sys.executable, "-m", "tests.support.seccomp", "ENOSYS", "pidfd_open,clone_pidfd,clone3")
    scene = begin("manager", containing, "bound", before)
    scene.launcher.kill()
    wait_until(scene.gone, "the tree outlives the launcher of its supervisor")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no other process can be limited here")
def test_a_guard_without_descriptors(begin: Begin, containing: Mechanism) -> None:
    """Any process of the same user may take the descriptors from a guard that it can open, and so what it polls by."""
    scene = begin("manager", containing, "bound")
    guard = psutil.Process(scene.tree[0]).ppid()
    if psutil.Process(guard).ppid() != scene.helper.pid:
        guard = psutil.Process(scene.tree[1]).ppid()
    resource.prlimit(guard, resource.RLIMIT_NOFILE, (0, 0))
    scene.launcher.kill()
    scene.launcher.wait()
    wait_until(scene.gone, "the tree outlives the launcher of its supervisor")


#: Starts what follows when its own parent has ended.
ORPHAN = """
import os, signal, sys, time
if os.fork() == 0:
    os.kill(os.getppid(), signal.SIGKILL)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
signal.pause()
"""


def test_a_helper_whose_launcher_had_ended(tmp_path: Path) -> None:
    """It has a foster parent by then, which is no launcher. Nothing is started."""
    own = tmp_path / "said"
    helper = ["-m", "tests.support.helper_supervisor", "manager", "subreaper", "bound"]
    with own.open("w", encoding="utf-8") as said:
        launcher = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", ORPHAN, *helper], stdout=said, cwd=ROOT, start_new_session=True
        )
    assert launcher.wait() == -signal.SIGKILL
    wait_until(lambda: len(own.read_text("utf-8").splitlines()) == 2, "the helper says nothing")
    assert own.read_text("utf-8").splitlines() == ["refused parent"] * 2


def test_it_needs_a_guard() -> None:
    """A process group has none that could watch: that is said, and nothing is started."""
    command = [sys.executable, "-m", "tests.support.helper_supervisor", "manager", "process_group", "bound"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("unavailable die_with_parent needs a guard")


#: A pool whose worker starts a tree.
POOL = """
import concurrent.futures, multiprocessing, os, sys

def work():
    import treeguard
    from tests.support.helper_supervisor import COMMAND
    print(os.getpid(), flush=True)
    treeguard.run(COMMAND, stdin=treeguard.DEVNULL, die_with_parent=True)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    concurrent.futures.ProcessPoolExecutor(1, mp_context=context).submit(work).result()
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_of_a_pool(method: str, tmp_path: Path) -> None:
    """What a worker of concurrent.futures runs ends with the program whose pool it is."""
    (tmp_path / "pool.py").write_text(POOL, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "pool.py"), method],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        worker = psutil.Process(int(program.stdout.readline()))
        try:
            tree = [int(program.stdout.readline()) for _ in range(2)]
            program.kill()
            wait_until(lambda: not any(map(look, tree)), "the tree outlives the program")
        finally:
            program.kill()
            _end(worker)


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_what_is_neither_true_nor_false_is_refused(wrong: object) -> None:
    """By the manager and by the parameters."""
    with pytest.raises(TypeError, match="die_with_parent"):
        LocalProcessManager(die_with_parent=wrong)  # type: ignore[arg-type]
