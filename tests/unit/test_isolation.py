"""Isolation: what may be asked for, and a trial that is believed only if it shows the difference."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnError, SpawnParams
from treeguard._core import native_isolation
from treeguard._core.containment import isolation
from treeguard._core.containment.guarantees import _GUARANTEES, MECHANISMS
from treeguard._core.containment.isolation import check_isolation, try_isolation
from treeguard._core.native import CoreError
from treeguard.types import Mechanism

GUARDED = _GUARANTEES["subreaper"]


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    """No trial of another test is remembered, and none of these is."""
    isolation._try.cache_clear()
    yield
    isolation._try.cache_clear()


class Host:
    """A host with a version of Landlock's ABI, and what a root is told there without isolation and with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, abi: int = 6, without: object = 0, with_it: object = 1) -> None:
        self._abi, self._said = abi, {False: without, True: with_it}
        self.trials = 0
        monkeypatch.setattr(native_isolation, "isolation_abi", self._version)
        monkeypatch.setattr(isolation, "_reach_guard", self._reach_guard)

    def _version(self) -> tuple[int, int]:
        if self._abi < 0:
            raise OSError(-self._abi, os.strerror(-self._abi))
        return self._abi, 6

    def _reach_guard(self, *, isolated: bool) -> Any:
        self.trials += 1
        said = self._said[isolated]
        if isinstance(said, Exception):
            raise said
        return said


@pytest.mark.parametrize("value", ["", "Signals", "namespace", 1, True, ("signals",)])
def test_an_unknown_name_is_refused(value: Any) -> None:
    """By parameters and manager alike, and in what arrives as JSON."""
    makers: tuple[Callable[[], object], ...] = (
        lambda: SpawnParams("ls", isolation=value),
        lambda: LocalProcessManager(isolation=value),
    )
    for make in makers:
        with pytest.raises(
            ValueError, match="isolation must be None, 'none', 'signals' or 'pid_namespace', not"
        ) as caught:
            make()
        assert repr(value) in str(caught.value)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"program": "ls", "isolation": value}), type=SpawnParams)


@pytest.mark.parametrize("value", [None, "none", "signals", "pid_namespace"])
def test_known_names_pass_and_travel(value: Any) -> None:
    """Each is kept as it is, there and back."""
    params = SpawnParams("ls", isolation=value)
    assert params.isolation == value
    assert msgspec.json.decode(msgspec.json.encode(params), type=SpawnParams) == params


def test_a_host_that_isolates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that is reached without isolation, and not with it, is enough; and it is tried once."""
    host = Host(monkeypatch)
    for _ in range(3):
        assert try_isolation(GUARDED) is None
    check_isolation(GUARDED)
    assert host.trials == 2


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_it_takes_a_guard(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mechanism without one is refused, and not even tried."""
    host = Host(monkeypatch)
    reason = try_isolation(_GUARANTEES[mechanism])
    if mechanism in ("pid_namespace", "cgroup", "subreaper"):
        assert reason is None
        return
    assert reason is not None
    assert repr(mechanism) in reason
    assert host.trials == 0


@pytest.mark.parametrize(
    ("abi", "words"),
    [
        (-errno.ENOSYS, "no Landlock"),
        (-errno.EOPNOTSUPP, "booted without it"),
        (-errno.EPERM, "filter"),
        (-errno.EIO, os.strerror(errno.EIO)),
        (1, "ABI 1"),
        (5, "ABI 6 (Linux 6.12)"),
    ],
)
def test_an_old_kernel_says_why(abi: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Landlock is here is asked first, and told."""
    host = Host(monkeypatch, abi=abi)
    with pytest.raises(ContainmentUnavailable, match="isolation 'signals' is not available here: ") as caught:
        check_isolation(GUARDED)
    assert words in str(caught.value)
    assert host.trials == 0


@pytest.mark.parametrize(
    ("without", "with_it", "words"),
    [
        (errno.EPERM, errno.EPERM, "proves nothing"),
        (-1, errno.EPERM, "proves nothing: .*the root did not tell"),
        (0, 0, "was not out of reach"),
        (0, -1, "was not out of reach .*the root did not tell"),
        (0, errno.ESRCH, "was not out of reach"),
        (0, CoreError("isolation", errno.E2BIG), "16 Landlock domains"),
        (0, CoreError("isolation", errno.ENOSYS), os.strerror(errno.ENOSYS)),
        (TimeoutError("a tree was not ended"), errno.EPERM, "a tree was not ended"),
    ],
)
def test_a_trial_that_shows_no_difference_fails(
    without: object, with_it: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard that cannot be signalled anyway proves nothing, nor does a root that does not report."""
    Host(monkeypatch, without=without, with_it=with_it)
    with pytest.raises(ContainmentUnavailable, match=words):
        check_isolation(GUARDED)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_shortage_says_nothing_of_the_host(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as what it is, and the next trial may do better."""
    Host(monkeypatch, with_it=CoreError("clone", number))
    with pytest.raises(SpawnError) as caught:
        try_isolation(GUARDED)
    assert caught.value.errno == number
    Host(monkeypatch)
    assert try_isolation(GUARDED) is None
