"""A tree that is bound to a block."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from .._core.options import SPAWN_DEFAULTS, SpawnOptions, keywords_of, show_keywords
from ..local import LocalProcessManager
from ..params import FIELDS, StrPath
from ..tree import Tree
from ..types import ContainmentName
from .loops import manager_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["open_tree"]


class open_tree:  # noqa: N801 - used like a function, as asyncio.timeout is
    """Starts a tree for the length of a block: however that is left, nothing is left of the tree then.

    ``options`` are the fields of :class:`~treeguard.SpawnParams`, or the standard library's names for them: ``env``
    adds to the inherited environment, and standard input is the null device by default. The tree belongs to
    ``manager``, or to the running loop's own one for the mechanism ``containment``.
    Entering raises :class:`~treeguard.SpawnError` when nothing was started::

        async with treeguard.open_tree("ls", "/", stdout=treeguard.PIPE, stderr=treeguard.PIPE) as tree:
            async for name, line in tree.lines(text=True):
                print(name, line, end="")
            print(await tree.wait())
    """

    def __init__(
        self,
        program: StrPath | None,
        *args: StrPath,
        manager: LocalProcessManager | None = None,
        containment: ContainmentName = "auto",
        **options: Unpack[SpawnOptions],
    ) -> None:
        self._program = program
        self._args = args
        self._manager = manager
        self._containment: ContainmentName = containment
        self._options = options
        self._tree: Tree | None = None

    async def __aenter__(self) -> Tree:
        if self._tree is not None:
            raise RuntimeError("this block has been entered already")
        if not self._options.keys() <= FIELDS:
            from .._core.standard_names import check_names  # noqa: PLC0415 - few use other names

            check_names("open_tree", self._options)
        manager = manager_for(self._manager, self._containment)
        self._tree = await manager.spawn(self._program, *self._args, **self._options)
        return self._tree

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tree is not None:
            await self._tree.__aexit__(kind, error, trace)


show_keywords(open_tree.__init__, keywords_of(SpawnOptions, defaults=SPAWN_DEFAULTS))
