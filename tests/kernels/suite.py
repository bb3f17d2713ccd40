"""What is run in a machine: who runs it, what of the suite, and what is expected of it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BOOT_PATIENCE", "PATIENCE", "RUNS", "SLOWNESS", "TOLD", "Run"]

#: How much slower an emulated machine is than its host, for the tests' time-outs.
SLOWNESS = 8
#: Seconds that all runs may take in the guest, and the machine, from boot to power-off. On a slow host both are longer.
PATIENCE = 1200
BOOT_PATIENCE = 1500
#: The parameter on the kernel's command line that tells the guest how slow its host is.
TOLD = "treeguard.slowness"


class Run(NamedTuple):
    """A run of the suite."""

    who: str
    #: The mechanism that must be picked by itself.
    auto: str
    #: Arguments for pytest.
    tests: tuple[str, ...]
    #: Tests that must not be skipped where cgroup version 2 has the controllers.
    real: tuple[str, ...] = ()
    #: Before the others, with the machine to itself: systemd's clocks do not know how slow it is.
    alone: bool = False


#: They are skipped where systemd is not process 1.
_UNITS = (
    "test_socket_activation[run]",
    "test_watchdog[all]",
    "test_watchdog[notify]",
    "test_stop[control-group]",
    "test_stop[mixed]",
    "test_stop[process]",
    "test_reload",
)
_LIMITS = (
    "test_tree_beyond_its_memory_is_killed_and_that_is_reported",
    "test_tree_has_no_more_processes_than_it_may",
    "test_tree_gets_its_share_of_cpu_time",
)


def _core(which: str, *files: str) -> tuple[str, ...]:
    return ("--core", "-k", which, *(f"tests/system/test_{name}.py" for name in files))


#: Where the kernel makes the difference. The command line is left out, and what takes away calls that old kernels lack.
_TREES = ("containment", "guard_loss", "inspection")

RUNS = (
    Run(
        "root",
        "cgroup",
        _core(
            "not subreaper and (control or not process_group)",
            *(*_TREES, "cgroups", "lease", "limits", "spawn", "supervisor_death"),
        ),
        _LIMITS,
    ),
    Run("user", "cgroup", _core("not subreaper and not process_group", *_TREES, "cgroups", "limits"), _LIMITS),
    Run("outside", "subreaper", _core("not process_group", *_TREES, "lease", "supervisor_death")),
    Run("units", "cgroup", ("tests/system/test_units.py",), _UNITS, alone=True),
)
