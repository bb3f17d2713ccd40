"""Every system call of a supervisor that can fail for want of something fails once, in the library as it is shipped."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from treeguard.types import Mechanism

from ..support import nth, seccomp
from ..support.apart import run_apart
from ..support.programs import Programs

pytestmark = pytest.mark.skipif(not seccomp.SUPPORTED, reason="no filter is known for this machine")

#: What a manager and a spawn cannot do without, by mechanism, and what is given to the child; more may be seen.
NEEDED = {
    "process_group": {"epoll_create1", "epoll_ctl", "openat"},
    "subreaper": {"memfd_create", "fallocate", "epoll_create1", "epoll_ctl", "socketpair"},
    "cgroup": {"mkdir", "memfd_create", "fallocate", "epoll_create1", "epoll_ctl", "socketpair"},
}
GIVEN = {"notify": {"socket", "bind"}, "inherited": {"socketpair"}, "path": {"socket", "bind"}}
ERRORS = {"SpawnError", "TooManyOpenFiles", "ProcessLimitReached"}


@pytest.mark.parametrize("given", GIVEN)
def test_every_call_of_a_life_fails_once(mechanism: Mechanism, given: str, programs: Programs) -> None:
    """Whichever it is, the life goes on, or a clear error tells the errno; nothing is left, and the next one works."""
    needed = NEEDED[mechanism] | GIVEN[given]
    outcomes: list[Any] = []
    seen: set[str] = set()
    # Which call is the n-th differs a little from life to life, so that one may be left out; but not again and again.
    for _ in range(3):
        found = run_apart(nth.every_call_fails, mechanism, given, programs.tiny)
        if found is None:
            pytest.skip("there is no filter that asks before a call (Linux 5.5)")
        outcomes += found
        seen |= {name.replace("mkdirat", "mkdir") for name, _, _ in found}
        if seen >= needed:
            break
    assert seen >= needed
    assert any(error for _, _, (error, *_) in outcomes), "not all of them can be done without"
    for name, code, (error, number, text, left) in outcomes:
        assert not left, f"{name} {code}"
        if error == "ContainmentUnavailable":
            assert name.startswith("mkdir"), text
        elif error is not None:
            assert error in ERRORS, f"{name} {code}: {error}"
            assert number == getattr(errno, code), f"{name} {code}: {text}"
