"""The guest's part: runs the suite as each user, and leaves what comes of it in a directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .suite import PATIENCE, RUNS, SLOWNESS, TOLD, Run

_UID = 1000
_BUS = f"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{_UID}/bus"
_AS_USER = ("setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--init-groups", "env", "HOME=/home/tester")
_SCOPE = ("--quiet", "--scope", "--property=Delegate=yes")
#: How each one's commands begin. Outside of a scope is in the cgroup of a service of root's.
_BEGINNINGS = {
    "root": ("systemd-run", *_SCOPE),
    "units": ("systemd-run", *_SCOPE),
    "user": (*_AS_USER, f"XDG_RUNTIME_DIR=/run/user/{_UID}", _BUS, "systemd-run", "--user", *_SCOPE),
    "outside": _AS_USER,
}
_PICKED = "from treeguard import LocalProcessManager; print(LocalProcessManager().containment.mechanism)"
#: How often, in seconds, it is shown how far the runs are.
_PAUSE = 5.0
_ENVIRONMENT = {"LANG": "C.UTF-8", "TREEGUARD_TEST_PROGRAMS": "/cargo/programs"}


def facts() -> dict[str, object]:
    """What this host is, as its files show it."""
    cgroup2 = Path("/sys/fs/cgroup")
    layout = "unified" if (cgroup2 / "cgroup.procs").exists() else "hybrid"
    if layout == "hybrid":
        cgroup2 /= "unified"
    kill = (cgroup2 / "system.slice" / "cgroup.kill").exists()
    kernel = os.uname().release
    return {"kernel": kernel, "version": ".".join(kernel.split(".")[:2]), "layout": layout, "cgroup.kill": kill}


def slowness() -> float:
    """How slow the host is, of which the kernel was told."""
    words = (word.partition("=") for word in Path("/proc/cmdline").read_text("ascii").split())
    return next(float(value) for name, _, value in words if name == TOLD)


def start(run: Run, arguments: tuple[str, ...], output: Path) -> subprocess.Popen[bytes]:
    """Starts Python as somebody. pytest that is interrupted still writes its report."""
    command = [
        "timeout",
        "--signal=INT",
        "--kill-after=60",
        str(PATIENCE * slowness()),
        *_BEGINNINGS[run.who],
        sys.executable,
        *arguments,
    ]
    with output.open("wb") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ENVIRONMENT, "TREEGUARD_TEST_SLOWNESS": str(SLOWNESS * slowness())},
        )


def suite(run: Run, out: Path) -> tuple[str, ...]:
    """The arguments for pytest."""
    options = ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-v", "-ra", "--durations=40")
    return (*options, f"--basetemp=/tmp/{run.who}", f"--junit-xml={out}/junit.xml", *run.tests)


def show(out: Path) -> None:
    """On the console, how far a run is: of a guest that hangs nothing else is seen."""
    lines = (out / "output").read_text("utf-8", "replace").splitlines()
    print(f"{time.monotonic():.0f} s, {out.name}: {lines[-1] if lines else ''}", flush=True)


def main() -> None:
    """All runs at the same time, since each of them mostly waits, but for those that have to be alone."""
    results = Path(sys.argv[1])
    (results / "facts.json").write_text(json.dumps(facts()))
    running: dict[Path, subprocess.Popen[bytes]] = {}
    for run in sorted(RUNS, key=lambda run: not run.alone):
        out = results / run.who
        out.mkdir()
        out.chmod(0o777)
        start(run, ("-c", _PICKED), out / "auto").wait()
        running[out] = start(run, suite(run, out), out / "output")
        if run.alone:
            wait(running)
    wait(running)


def wait(running: dict[Path, subprocess.Popen[bytes]]) -> None:
    """Waits for the end of each of these runs, and empties the list."""
    while running:
        time.sleep(_PAUSE)  # Nothing waits for this but the next line on the console, and the end of the machine.
        for out, process in list(running.items()):
            show(out)
            if process.poll() is not None:
                (out / "status").write_text(f"{process.wait()}\n")
                del running[out]


if __name__ == "__main__":
    main()
