"""What /proc shows of a process with several threads."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest

from treeguard._core.processes import process, procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

#: Of proc(5)'s fields from the fourth on: all but the twentieth, num_threads, and the 22nd are of no matter here.
_FIELDS = "1 7 8 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0 0"


@pytest.mark.parametrize(
    ("states", "alive", "stopped"),
    [
        ({7: "S"}, True, False),
        ({7: "Z"}, False, False),
        ({7: "Z", 8: "Z"}, False, False),
        ({7: "Z", 8: "S"}, True, False),
        ({7: "Z", 8: "Z", 9: "R"}, True, False),
        ({7: "Z", 8: "T"}, True, True),
        ({7: "Z", 8: "T", 9: "D"}, True, False),
        ({7: "T", 8: "T"}, True, True),
        ({7: "t", 8: "R"}, True, False),
        ({7: "t", 8: "Z"}, True, True),
    ],
)
def test_process_is_what_its_threads_are(
    states: Mapping[int, str], alive: bool, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has ended when all of them have, and stands still when none goes on."""

    def read(where: int | str, name: str) -> bytes:
        assert name == "stat"
        thread = int(str(where).rpartition("/")[2])
        return f"{thread} (a) Z) {states[thread]} {_FIELDS.format(threads=len(states))}".encode()

    monkeypatch.setattr(procfs, "read_file", read)
    monkeypatch.setattr("os.listdir", lambda _: [str(thread) for thread in states])
    seen = process.get_process(7)
    assert seen is not None
    assert (seen.alive, seen.stopped) == (alive, stopped)


def test_threads_of_an_ordinary_process_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what looks dead or stopped costs a second look."""
    monkeypatch.setattr(procfs, "read_file", lambda *_: f"7 (a) S {_FIELDS.format(threads=9)}".encode())
    monkeypatch.setattr(process, "thread_states", lambda _: pytest.fail("looked at"))
    seen = process.get_process(7)
    assert seen is not None
    assert seen.alive
