"""A process manager whose children play scripts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..local import LocalProcessManager
from ..params import SpawnParams
from ..types import ChildHandle, ContainmentName, GuaranteeName
from ._system import ScriptedSystem, asked_for
from .calls import Call
from .scripts import Command, Script, Scripts

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..ext import SpawnHook
    from .scripts import ScriptFields

__all__ = ["ScriptedManager"]


class ScriptedManager(LocalProcessManager):
    r"""A manager without processes, for tests: each child plays the :class:`Script` of its command.

    All else is the real manager's: what it returns, raises, waits for and in which order, its streams, trees,
    shutdowns and errors. The methods and the :class:`~treeguard.Tree` are those of
    :class:`~treeguard.LocalProcessManager`::

        async with ScriptedManager() as manager:
            manager.script("make", stdout="done\n", after=0.5)
            tree = await manager.spawn("make", "-j4", stdout=PIPE)
            assert await tree.communicate() == (b"done\n", None)
            assert manager.commands == (("make", "-j4"),)

    ``containment`` is a mechanism to play; each one works. With ``"auto"`` it is the strongest, a cgroup, which keeps
    all limits. ``scripts`` are shared with other managers; without them it has its own, and ``unknown`` is their script
    for commands that have none. Delays are on the event loop's clock: see :func:`virtual_time`.

    The numbers of scripted processes are above those that real processes can have. Scripted children do not use a
    control connection or a notification socket, though they may be given one.
    """

    def __init__(
        self,
        *,
        scripts: Scripts | None = None,
        unknown: Script | None = None,
        containment: ContainmentName = "auto",
        require: Collection[GuaranteeName] = (),
        providers: Sequence[SpawnHook] = (),
    ) -> None:
        if scripts is not None and unknown is not None:
            raise TypeError("unknown is an argument of the Scripts that are given")
        self._scripts = scripts or Scripts(unknown=unknown)
        self._scripted = ScriptedSystem(self._scripts)
        self._host = lambda: self._scripted
        super().__init__(containment=containment, require=require, providers=providers)

    @property
    def scripts(self) -> Scripts:
        """The scripts and the record."""
        return self._scripts

    def script(
        self,
        command: Command,
        script: Script | None = None,
        *,
        times: int | None = None,
        **fields: Unpack[ScriptFields],
    ) -> None:
        """Sets what a command does: see :meth:`Scripts.script`."""
        self._scripts.script(command, script, times=times, **fields)

    @property
    def calls(self) -> tuple[Call, ...]:
        """What was done with the children: see :attr:`Scripts.calls`."""
        return self._scripts.calls

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """The commands in order: see :attr:`Scripts.commands`."""
        return self._scripts.commands

    def input_of(self, os_pid: int) -> bytes:
        """What a child has read from its standard input so far: see :meth:`Scripts.input_of`."""
        return self._scripts.input_of(os_pid)

    async def __aenter__(self) -> ScriptedManager:
        self._enter()
        return self

    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        """See :meth:`ProcessManager.spawn_child`."""
        # They are compiled with descriptors in the place of pipes, perhaps after an await.
        token = asked_for.set(params)
        try:
            return await super().spawn_child(params)
        finally:
            asked_for.reset(token)
