"""The system that a manager runs on: what contains its trees there, and what starts them."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from ...errors import SHORTAGES, ContainmentUnavailable, spawn_error
from ...limits import Limits
from ...params import Isolation
from ...types import ContainmentName, GuaranteeName, Mechanism
from ..engine.engine import Core, Engine, Receiver
from ..native import CoreError
from .backend import Backend
from .guarantees import Choice, Containment, choose, has_guard

if TYPE_CHECKING:
    from ..engine.lease import Lease
    from .search import Search

# Above the C core, only this module, processes/, transport/ and control/offer.py check which system this is.
if sys.platform == "win32":
    from ..native_windows import NativePort as NativeCore
    from ..spec.compiler_windows import SpecCompiler
    from .backends_windows import achieved, backend_for, try_out
else:
    from ..native import NativeEngine as NativeCore
    from ..spec.compiler import SpecCompiler

    if sys.platform == "darwin":
        from .backends_macos import achieved, backend_for, try_out
    else:
        from .backends import achieved, backend_for, try_out

__all__ = ["SpecCompiler", "System", "opened"]


class System:
    """What a manager needs from the system. Tests without processes replace it."""

    def contain(
        self, asked: ContainmentName, required: Collection[GuaranteeName] = (), isolation: Isolation = "none"
    ) -> Containment:
        """The containment for what was asked, found by trying; see :func:`.choose`.

        Raises :class:`~treeguard.ContainmentUnavailable` if it lacks a ``required`` guarantee, or the isolation.
        """
        chosen = choose(asked, self.try_out)
        choice = Choice(achieved(chosen.containment), chosen.passed_over)
        if required:
            from .requirements import check_required

            check_required(required, choice)
        if asked == "auto" and not choice.containment.contains_escapees:
            from .downgrade import say_once

            say_once(choice)
        if isolation == "none":
            return choice.containment
        self.check_isolation(choice.containment, isolation)
        return msgspec.structs.replace(choice.containment, isolation=isolation)

    def try_out(self, mechanism: Mechanism) -> str | None:
        """See :func:`~treeguard._core.containment.backends.try_out`."""
        return try_out(mechanism)

    def check_isolation(self, containment: Containment, isolation: Isolation) -> None:
        """See :func:`~treeguard._core.containment.isolation.check_isolation`."""
        from .isolation import check_isolation

        check_isolation(containment, isolation)

    def check_limits(self, limits: Limits, containment: Containment) -> None:
        """See :func:`~treeguard._core.containment.limit_scopes.check_limits`."""
        from .limit_scopes import check_limits

        check_limits(limits, containment)

    def open_core(self) -> Core:
        """The core that starts the trees. Raises :class:`~treeguard._core.native.CoreError`."""
        return NativeCore()

    def compiler(self) -> SpecCompiler:
        """The compiler that turns parameters into the core's input."""
        return SpecCompiler()

    def search(self) -> Search:
        """The search for processes that lost guards have left."""
        from .search import Search

        return Search()

    def backend_for(self, containment: Containment) -> Backend:
        """See :func:`~treeguard._core.containment.backends.backend_for`."""
        return backend_for(containment)


def opened(
    system: System,
    containment: Containment,
    receiver: Receiver,
    lease: float | None,
    loop: asyncio.AbstractEventLoop,
) -> tuple[Engine, Backend]:
    """An engine bound to a loop, with a lease of that many seconds, and a backend. Closes everything on an error."""
    if lease is not None and not has_guard(containment):
        raise ContainmentUnavailable(f"a lease needs a guard, which containment {containment.mechanism!r} has none of")
    kept: Lease | None = None
    core: Core | None = None
    engine: Engine | None = None
    contained: Backend | None = None
    try:
        kept = None if lease is None else _lease(lease)
        core = _core(system)
        engine = Engine(core, receiver, kept)
        contained = _backend(system, containment)
        engine.bind(loop)
        return engine, contained
    except BaseException:
        # The engine closes its parts itself, and closing them again has no effect.
        for made in (engine, core, kept, contained):
            if made is not None:
                made.close()
        raise


def _lease(seconds: float) -> Lease:
    from ..engine.lease import Lease

    try:
        return Lease(seconds)
    except OSError as error:
        raise spawn_error("lease", error.errno or errno.EIO, None) from error


def _core(system: System) -> Core:
    try:
        return system.open_core()
    except CoreError as fault:
        raise spawn_error(fault.step, fault.errno, None, detail=fault.detail) from None


def _backend(system: System, containment: Containment) -> Backend:
    mechanism = containment.mechanism
    try:
        return system.backend_for(containment)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise spawn_error(mechanism, error.errno, None) from error
        raise ContainmentUnavailable(f"containment {mechanism!r} is not available any more: {error}") from error
