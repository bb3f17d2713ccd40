"""Limits on the resources of a tree: memory, processes and CPU time."""

from __future__ import annotations

import msgspec

from ._core.validation import number, whole_number, wrong_value

__all__ = ["Limits"]

#: The kernel accounts CPU time in periods of 100 ms and grants at least 1 ms of each (cgroups(7), ``cpu.max``).
_LEAST_CPU = 0.01


class Limits(msgspec.Struct, frozen=True):
    """Limits on the resources that a tree may use. None means no limit.

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
        for name, least in (("memory", 1), ("processes", 1), ("cpu", _LEAST_CPU)):
            value = getattr(self, name)
            if value is None:
                continue
            kind = "a number" if name == "cpu" else "a whole number"
            accepted = f"{kind} from {least:g} to 2**63 - 1, or None"
            check = number if name == "cpu" else whole_number
            if not least <= check(f"limits: {name}", value, accepted=accepted) < 1 << 63:
                raise wrong_value(f"limits: {name}", accepted, value)
