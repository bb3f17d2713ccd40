"""Process ids that prove by themselves that they were issued, so that no list of ended trees has to be kept."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID, SafeUUID

from ...types import ProcessId

__all__ = ["IdIssuer"]

_COUNTER_BYTES = 6
_PROOF_BYTES = 10


class IdIssuer:
    """Issues ids: a running number and a keyed digest of it, laid out as a UUID of version 8 (RFC 9562)."""

    def __init__(self) -> None:
        self._keyed = hashlib.blake2b(digest_size=_PROOF_BYTES, key=secrets.token_bytes(16))
        self._next = 1

    def issue(self) -> int:
        """A new running number. Its id is made when somebody asks for it: most trees of a command are never named."""
        number = self._next
        self._next += 1
        return number

    @staticmethod
    def number(pid: object) -> int:
        """The running number in an id, if it was issued here: that is not looked at."""
        return pid.int >> 8 * _PROOF_BYTES if isinstance(pid, UUID) else 0

    def issued(self, pid: object) -> int | None:
        """The running number in an id that was issued here; None for any other."""
        number = self.number(pid)
        return number if 0 < number < self._next and pid == self.id_of(number) else None

    def id_of(self, number: int) -> ProcessId:
        """The id of a running number."""
        counter = number.to_bytes(_COUNTER_BYTES, "big")
        (digest := self._keyed.copy()).update(counter)
        value = int.from_bytes(counter + digest.digest(), "big")
        value &= ~(0xF000 << 64) & ~(0xC000 << 48)
        # The checks of UUID() take longer than all the rest.
        made = object.__new__(UUID)
        object.__setattr__(made, "int", value | 0x8000 << 64 | 0x8000 << 48)
        object.__setattr__(made, "is_safe", SafeUUID.unknown)
        return ProcessId(made)
