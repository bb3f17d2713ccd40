"""Issues and validates tokens. The validator keeps digests, not the secrets."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import msgspec

from .._core.validation import function, instance, positive_seconds, process_id
from ..errors import CapabilityDenied, capability_denied
from ..types import ProcessId
from .bundle import CapabilityBundle, CapabilitySet, CapabilityToken

__all__ = ["InMemoryTokenValidator", "TokenBinding", "TokenValidator"]

#: With fewer tokens than this, a search for expired ones is not worth its cost.
_FEW = 64


class TokenBinding(msgspec.Struct, frozen=True):
    """The child that a token belongs to, the bearer's capabilities, and the token's expiry on the validator's clock."""

    pid: ProcessId
    capabilities: CapabilitySet
    expires_at: float


class TokenValidator(Protocol):
    """Knows which child a token belongs to. :class:`InMemoryTokenValidator` is one."""

    def register(self, bundle: CapabilityBundle, pid: ProcessId) -> None:
        """Makes the bundle's token valid for this child. Raises ValueError if the token is already valid."""

    def validate(self, token: CapabilityToken, pid: ProcessId | None = None) -> TokenBinding:
        """Uses up a token and returns its binding. Raises :class:`~treeguard.CapabilityDenied` if it is not valid.

        ``pid`` is the tree that the token came from, if known. The token of another tree is not valid then.
        """

    def revoke(self, pid: ProcessId) -> None:
        """Invalidates a child's unused token, if it has one. Called when its connection or its tree has ended."""


class InMemoryTokenValidator:
    """Issues tokens that are valid once, for ``lifetime`` seconds, for one child.

    A child has one unused token at a time: a newer token invalidates the older one. Memory is bounded by about twice
    the number of tokens that are neither used nor revoked nor expired.
    """

    def __init__(self, *, lifetime: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = positive_seconds("lifetime", lifetime)
        self._clock = function("clock", clock)
        self._key = secrets.token_bytes(32)
        self._bindings: dict[bytes, TokenBinding] = {}
        self._digests: dict[ProcessId, bytes] = {}
        self._crowded = _FEW

    def __len__(self) -> int:
        """Returns how many tokens are kept. Some of them may have expired."""
        return len(self._bindings)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} tokens>"

    def issue(
        self, pid: ProcessId, capabilities: CapabilitySet | None = None, *, lifetime: float | None = None
    ) -> CapabilityBundle:
        """Returns a bundle with a new token for a child."""
        bundle = CapabilityBundle(CapabilityToken.generate(), CapabilitySet() if capabilities is None else capabilities)
        self.register(bundle, pid, lifetime=lifetime)
        return bundle

    def register(self, bundle: CapabilityBundle, pid: ProcessId, *, lifetime: float | None = None) -> None:
        """Registers a bundle that was made elsewhere. Raises ValueError if its token is already waiting to be used."""
        instance("bundle", bundle, CapabilityBundle, "a CapabilityBundle")
        process_id("pid", pid)
        lifetime = self._lifetime if lifetime is None else positive_seconds("lifetime", lifetime)
        now = self._clock()
        self._make_room(now)
        digest = self._digest(bundle.token)
        if digest in self._bindings:
            raise ValueError(f"the token for {pid} is registered already, for {self._bindings[digest].pid}")
        self.revoke(pid)
        self._bindings[digest] = TokenBinding(pid, bundle.capabilities, now + lifetime)
        self._digests[pid] = digest

    def validate(self, token: CapabilityToken, pid: ProcessId | None = None) -> TokenBinding:
        """See :meth:`TokenValidator.validate`. A token from the wrong tree stays valid for the right one."""
        instance("token", token, CapabilityToken, "a CapabilityToken")
        instance("pid", pid, UUID | None, "a ProcessId or None")
        digest = self._digest(token)
        binding = self._bindings.get(digest)
        # The lookup compares keyed digests. The key is secret, so the lookup time reveals nothing about the token.
        if binding is None or not hmac.compare_digest(digest, self._digests[binding.pid]):
            raise _denied(pid, "is unknown, used or revoked")
        if self._clock() >= binding.expires_at:
            self.revoke(binding.pid)
            raise _denied(pid, "has expired")
        if pid is not None and pid != binding.pid:
            raise _denied(pid, f"is that of {binding.pid}")
        self.revoke(binding.pid)
        return binding

    def revoke(self, pid: ProcessId) -> None:
        """See :meth:`TokenValidator.revoke`."""
        process_id("pid", pid)
        digest = self._digests.pop(pid, None)
        if digest is not None:
            del self._bindings[digest]

    def _digest(self, token: CapabilityToken) -> bytes:
        return hashlib.blake2b(token.encoded, digest_size=32, key=self._key).digest()

    def _make_room(self, now: float) -> None:
        """Drops expired tokens whenever there are twice as many tokens as were left the last time."""
        if len(self._bindings) < self._crowded:
            return
        for binding in [binding for binding in self._bindings.values() if now >= binding.expires_at]:
            self.revoke(binding.pid)
        self._crowded = max(_FEW, 2 * len(self._bindings))


def _denied(pid: ProcessId | None, problem: str) -> CapabilityDenied:
    return capability_denied(f"the token {problem}" if pid is None else f"the token that {pid} showed {problem}")
