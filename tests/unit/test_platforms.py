"""On macOS and FreeBSD the package is imported without what their Python lacks, and says what it can keep there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from treeguard import Containment
from treeguard._core.containment.guarantees import has_guard
from treeguard.types import Mechanism

PACKAGE = Path(__file__).parents[2] / "treeguard"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if not path.stem.endswith("_windows") and path.stem not in ("jobs", "__main__")
)
#: What Python has on Linux alone, or not on macOS.
LACKS = {
    "freebsd14": {
        "os": ["pidfd_open", "P_PIDFD", "getxattr"],
        "signal": ["pidfd_send_signal"],
        "time": ["CLOCK_BOOTTIME"],
        "select": ["epoll"],
    },
    "darwin": {
        "os": ["pidfd_open", "P_PIDFD", "getxattr", "memfd_create", "MFD_CLOEXEC", "posix_fallocate", "waitid"],
        "signal": ["pidfd_send_signal", "sigtimedwait"],
        "time": ["CLOCK_BOOTTIME"],
        "socket": ["SO_PASSCRED", "SO_PEERCRED", "SCM_CREDENTIALS", "MSG_CMSG_CLOEXEC"],
        "select": ["epoll"],
    },
}
SCRIPT = """
import asyncio, importlib, json, sys
platform, lacks, modules, expression = json.loads(sys.argv[1])
import asyncio.unix_events, multiprocessing.util, subprocess, tempfile, typing, msgspec
for module, names in lacks.items():
    for name in names:
        vars(importlib.import_module(module)).pop(name, None)
sys.platform = platform
for module in modules:
    importlib.import_module(module)
print(json.dumps(eval(expression)))
"""


def there(platform: str, expression: str) -> Any:
    """What an expression is in a process that believes to be elsewhere, after every module has been imported."""
    arguments = json.dumps([platform, LACKS[platform], MODULES, expression])
    result = subprocess.run([sys.executable, "-c", SCRIPT, arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


TRY = "sys.modules['treeguard._core.containment.host'].System().try_out({!r})"


@pytest.mark.parametrize("platform", LACKS)
def test_modules_are_imported(platform: str) -> None:
    """No module needs at its import what that system lacks."""
    assert there(platform, "sys.platform, hasattr(sys.modules['os'], 'pidfd_open')") == [platform, False]


@pytest.mark.parametrize("platform", LACKS)
def test_processes_are_asked_of_the_core(platform: str) -> None:
    """Where there is no /proc to rely on, the C core tells of processes."""
    assert (
        there(platform, "sys.modules['treeguard._core.processes.system'].get_process.__module__")
        == "treeguard._core.processes.kinfo"
    )


@pytest.mark.parametrize("mechanism", ["cgroup", "subreaper", "job_object"])
def test_macos_has_a_process_group_alone(mechanism: Mechanism) -> None:
    """On macOS all but the process group is refused with a reason, without a trial."""
    assert there("darwin", TRY.format(mechanism))
    assert there("darwin", TRY.format("process_group")) is None


def test_macos_claims_no_more_than_it_keeps() -> None:
    """What a guard tries on macOS is advisory: none of it is claimed, and it has a guard all the same."""
    expression = (
        "__import__('msgspec').to_builtins(sys.modules['treeguard._core.containment.host'].System().contain('auto')), "
        "type(sys.modules['treeguard._core.containment.host'].System().backend_for(None)).__name__"
    )
    values, kind = there("darwin", expression)
    containment = Containment(**{**values, "advisory": tuple(values["advisory"])})
    assert containment == Containment(
        "process_group",
        contains_escapees=False,
        proves_empty=False,
        reaps_orphans=False,
        atomic_kill=False,
        outlives_supervisor=False,
        outlives_guard=False,
        advisory=("contains_escapees", "outlives_supervisor"),
    )
    assert has_guard(containment)
    assert kind == "SubreaperBackend"


def test_a_lease_is_kept_without_memfd() -> None:
    """Where there is neither memfd_create nor posix_fallocate, a temporary file is the page of a lease."""
    expression = "sys.modules['treeguard._core.engine.lease'].Lease(1.0).close()"
    assert there("darwin", expression) is None
