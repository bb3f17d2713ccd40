"""What a tree may use at most."""

from __future__ import annotations

import msgspec

__all__ = ["Limits"]

#: The kernel counts CPU time in periods of 100 ms, and gives no less than 1 ms of each (cgroups(7), ``cpu.max``).
_LEAST_CPU = 0.01


class Limits(msgspec.Struct, frozen=True):
    """Limits on a tree; None: no limit.

    * ``memory``: bytes, of all its processes together, swap included. A tree that needs more is killed as a whole, and
      :attr:`RootExit.oom_killed` tells so. Where only each process can be limited (see
      :attr:`Containment.memory_limit`), it is the size of its address space, and an allocation beyond fails.
    * ``processes``: of all that live at a time, threads counted too. Beyond, fork fails with EAGAIN.
    * ``cpu``: share of the machine in CPUs: 0.5 is half of one, 2 are two. What needs more waits.
    """

    memory: int | None = None
    processes: int | None = None
    cpu: float | None = None

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError that names the field."""
        for name in ("memory", "processes"):
            _check(name, getattr(self, name), int, 1)
        _check("cpu", self.cpu, (int, float), _LEAST_CPU)


def _check(name: str, value: object, kind: type | tuple[type, ...], least: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"limits: {name} must be a number, not {value!r}")
    if not least <= value < 1 << 63:  # type: ignore[operator]
        raise ValueError(f"limits: {name} must be at least {least:g}, and finite, not {value!r}")
