"""Upper limits on what a tree may use."""

from __future__ import annotations

import msgspec

__all__ = ["Limits"]

#: The kernel accounts CPU time in periods of 100 ms and grants at least 1 ms of each (cgroups(7), ``cpu.max``).
_LEAST_CPU = 0.01


class Limits(msgspec.Struct, frozen=True):
    """Limits on a tree. None means no limit.

    * ``memory``: bytes for all processes of the tree together, including swap. A tree that needs more is killed as a
      whole, and :attr:`RootExit.oom_killed` is true. Where the limit can only apply to each process (see
      :attr:`Containment.memory_limit`), it limits the size of the address space, and an allocation beyond it fails.
    * ``processes``: the number of processes alive at the same time, including threads. Beyond it, fork fails with
      EAGAIN.
    * ``cpu``: a share of the machine, in CPUs: 0.5 is half a CPU, 2 are two. Processes that need more have to wait.
    """

    memory: int | None = None
    processes: int | None = None
    cpu: float | None = None

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError that names the invalid field."""
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
