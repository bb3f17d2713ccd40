"""``struct tg_attributes`` of the C core: what a root has otherwise than its supervisor.

Loaded when a spawn asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping

from .native import _ffi, _lib

__all__ = ["packed_attributes"]

_BITS = 64


def packed_attributes(
    numbers: Mapping[str, int | None],
    *,
    groups: tuple[int, ...] | None = None,
    cpu_affinity: tuple[int, ...] | None = None,
    rlimits: Mapping[int, tuple[int, int]],
) -> bytes:
    """The struct, with what is given in it. ``numbers`` are the members of one number, by name; None: not given."""
    c = _ffi.new("struct tg_attributes *")
    given = [name for name, number in numbers.items() if number is not None]
    for name in given:
        setattr(c, name, numbers[name])
    if groups is not None:
        given.append("groups")
        c.ngroups = len(groups)
        c.groups[0 : len(groups)] = groups
    if cpu_affinity is not None:
        given.append("cpu_affinity")
        for cpu in cpu_affinity:
            c.cpu_affinity[cpu // _BITS] |= 1 << cpu % _BITS
    if rlimits:
        given.append("rlimits")
        c.which_rlimits = sum(1 << number for number in rlimits)
        for number, limits in rlimits.items():
            c.rlimits[number] = limits
    for name in given:
        c.given |= getattr(_lib, f"TG_GIVEN_{name.upper()}")
    return bytes(_ffi.buffer(c))
