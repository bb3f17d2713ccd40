"""What holds for every test on Windows: it leaves no process and no descriptor behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from ..support.patience import SLOWNESS, give_time, wait_until
from ..support.programs import Programs, build
from .adversary import KINDS, Adversary
from .judge import children
from .marks import UNDER_WINE
from .tally import tally

__all__ = [
    "adversary",
    "containing",
    "leaves_nothing",
    "mechanism",
    "programs",
    "pytest_collection_modifyitems",
    "pytest_terminal_summary",
]

#: As far as descriptors are looked for.
_DESCRIPTORS = range(3, 128)


#: Of files that are otherwise for every system, tests of what POSIX has: its modules, its paths, its signals.
_OF_POSIX = (
    "test_layers.py::test_modules_say_what_they_are[treeguard.notify.notify_socket]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.telemetry.otel]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.spec.compiler]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.controlling_terminal]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.lending]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.native_alone]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.streams.pty]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.streams.terminal]",
    "test_layers.py::test_modules_say_what_they_are[treeguard._core.terminals]",
    "test_layers.py::test_modules_say_what_they_are[treeguard.pty]",
    "test_house.py::test_what_is_public_has_words_of_its_own[pty]",
    "test_params.py::test_paths_become_strings",
    "test_params.py::test_args_become_a_tuple_of_strings",
    "test_params.py::test_env_becomes_a_dict_of_strings",
    "test_params.py::test_numbers_become_tuples",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives each test as much more time as the host is slower; skips what is of POSIX."""
    give_time(config, items)
    for item in items:
        if any(name in item.nodeid for name in _OF_POSIX):
            item.add_marker(pytest.mark.skip(reason="is of POSIX"))


def _open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _descriptors() -> set[int]:
    return {fd for fd in _DESCRIPTORS if _open(fd)}


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Compares this process's children and descriptors before and after a test. A moment is allowed."""
    family, opened = set(children()), _descriptors()
    yield
    if not (set(children()) - family or _descriptors() - opened):
        return
    gc.collect()
    try:
        wait_until(lambda: not set(children()) - family, "no child is left", 5 * SLOWNESS)
        wait_until(lambda: not _descriptors() - opened, "no descriptor is left", 5 * SLOWNESS)
    except AssertionError as e:
        strangers = {pid: name for pid, name in children().items() if pid not in family}
        pytest.fail(f"left behind ({e}): children {strangers}, descriptors {_descriptors() - opened}", pytrace=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The C programs of the tests."""
    return build(tmp_path_factory.getbasetemp())


@pytest.fixture
def mechanism() -> str:
    """The only one."""
    return "job_object"


@pytest.fixture
def containing() -> str:
    """The same: it ends escapees too."""
    return "job_object"


@pytest.fixture(params=KINDS)
def adversary(request: pytest.FixtureRequest, programs: Programs) -> Iterator[Adversary]:
    """Each kind of adversary in turn."""
    with Adversary(programs, request.param) as one:
        yield one


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what was left to a Windows that is not Wine."""
    host = "Wine" if UNDER_WINE else "Windows"
    terminalreporter.write_line(f"under {host}: {tally(terminalreporter.stats)}")
