"""What holds for every test: it leaves no descriptor, no process and no zombie behind."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from . import mechanisms
from .adoption import Adoption
from .adversary import Adversary
from .core import in_core
from .judge import children, descriptors
from .patience import SLOWNESS, give_time, wait_until
from .programs import Programs, build

__all__ = [
    "adoption",
    "adversary",
    "containing",
    "leaves_nothing",
    "mechanism",
    "programs",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "uvloop",
]


def _family() -> set[tuple[int, int]]:
    return {(seen.pid, seen.started) for seen in children().values()}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--core", action="store_true", help="of what is much alike, run one: for slow hosts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives each test as much more time as the host is slower; leaves only the core where that is asked for."""
    give_time(config, items)
    if config.getoption("core"):
        config.hook.pytest_deselected(items=[item for item in items if not in_core(item)])
        items[:] = [item for item in items if in_core(item)]


def _close_own_managers() -> None:
    """Ends this process's own managers, which an earlier test has used: they have cgroups, descriptors and threads."""
    managers = sys.modules.get("treeguard._blocking.manager")
    if managers is not None:
        managers._close_all()


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Compares this process's descriptors and children, zombies included, before and after a test.

    A moment is allowed for what ends by itself; what has to be gone at a certain point is the test's own to check.
    """
    _close_own_managers()
    opened, family = descriptors(), _family()
    yield
    if descriptors().items() - opened.items() or _family() - family:
        gc.collect()
        try:
            wait_until(lambda: not _family() - family, "no child is left", 5 * SLOWNESS)
            wait_until(lambda: not descriptors().items() - opened.items(), "no descriptor is left", 5 * SLOWNESS)
        except AssertionError as e:
            strangers = [seen for seen in children().values() if (seen.pid, seen.started) not in family]
            left = sorted(descriptors().items() - opened.items())
            pytest.fail(f"left behind ({e}): children {strangers}, descriptors {left}", pytrace=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The C programs of the tests, built once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return build(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


#: The suites that are run with PID namespaces too: what these do differently. All others would take as long again.
_INSIDE_TOO = (
    *("containment", "supervisor_death", "guard_loss", "lease", "leaving", "shutdowns", "control", "control_child"),
    *("control_attacks", "notify", "limits", "terminal", "pty", "streams", "inspection", "guard_attacks"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The mechanisms of the fixtures, unless a test has its own."""
    inside = mechanisms.INSIDE if metafunc.module.__name__.rpartition(".test_")[2] in _INSIDE_TOO else []
    own = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark)}
    for name, usual in (("mechanism", mechanisms.EVERY), ("containing", mechanisms.CONTAINING)):
        if name in metafunc.fixturenames and name not in own:
            metafunc.parametrize(name, [*usual, *inside], indirect=True)


def _names(mark: pytest.Mark) -> list[str]:
    """What a mark parametrizes."""
    names = mark.args[0]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


@pytest.fixture
def mechanism(request: pytest.FixtureRequest) -> str:
    """Each mechanism in turn."""
    return str(request.param)


@pytest.fixture
def containing(request: pytest.FixtureRequest) -> str:
    """Each mechanism in turn that ends escapees too."""
    return str(request.param)


@pytest.fixture
def adoption() -> Iterator[Adoption]:
    """Lets this process adopt what falls out of trees, for the length of a test."""
    with Adoption() as adopting:
        yield adopting


@pytest.fixture
def adversary(request: pytest.FixtureRequest, programs: Programs, adoption: Adoption) -> Iterator[Adversary]:
    """The adversary of the kind that the test is parametrized with."""
    with Adversary(programs, request.param) as one:
        yield one


@pytest.fixture(scope="session")
def uvloop() -> Any:
    """The module, after its library has opened the pipe that it keeps for the rest of the process."""
    module = pytest.importorskip("uvloop")
    module.new_event_loop().close()
    return module
