"""What holds for every test: it leaves no descriptor, no process and no zombie behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from .support import mechanisms
from .support.adoption import Adoption
from .support.adversary import Adversary
from .support.judge import children
from .support.patience import wait_until
from .support.programs import Programs, build


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers are wanted, not paths
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        except FileNotFoundError:  # the listing's own
            continue
    return found


def _family() -> set[tuple[int, int]]:
    return {(seen.pid, seen.started) for seen in children().values()}


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Compares this process's descriptors and children, zombies included, before and after a test.

    A moment is allowed for what ends by itself; what has to be gone at a certain point is the test's own to check.
    """
    descriptors, family = _descriptors(), _family()
    yield
    if _descriptors().items() - descriptors.items() or _family() - family:
        gc.collect()
        try:
            wait_until(lambda: not _family() - family, "no child is left", 5)
            wait_until(lambda: not _descriptors().items() - descriptors.items(), "no descriptor is left", 5)
        except AssertionError as e:
            strangers = [seen for seen in children().values() if (seen.pid, seen.started) not in family]
            opened = sorted(_descriptors().items() - descriptors.items())
            pytest.fail(f"left behind ({e}): children {strangers}, descriptors {opened}", pytrace=False)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The C programs of the tests, built once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return build(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(params=mechanisms.EVERY)
def mechanism(request: pytest.FixtureRequest) -> str:
    """Each mechanism in turn."""
    return str(request.param)


@pytest.fixture(params=mechanisms.CONTAINING)
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
