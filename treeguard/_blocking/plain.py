"""Commands of which nothing but the arguments is given: they need no pipes, and no object for the caller."""

from __future__ import annotations

import sys
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from ..errors import SpawnError
from .arguments import error_of, plain_options, plain_params
from .manager import own_manager
from .owner import END_TIMEOUT, TreeOwner

if TYPE_CHECKING:
    from ..types import ContainmentName

__all__ = ["PlainCommand", "is_plain"]

_GIVEN = frozenset(("containment",))


class PlainCommand(TreeOwner):
    """What :func:`run` needs of a ``Popen``, for a command that inherits its streams."""

    stdin = stdout = stderr = pty = None
    text_mode = False
    _held: frozenset[str] = frozenset()
    _since = 0

    def __init__(
        self, args: list[str], *, containment: ContainmentName = "auto", _start_by: float | None, _kept: list[Any]
    ) -> None:
        """Starts it. Returns when it has ended, or after a moment; when its program runs."""
        self.args = args
        self.returncode = None
        params = plain_params(args)
        self._manager = manager = own_manager(containment)
        _kept.append(self)
        try:
            self._record = record = manager.new(params)
            over = manager.run(record, params, _start_by)
            if not over and not record.started and not manager.begin(record, _start_by):
                manager.end(record, END_TIMEOUT)
                raise TimeoutExpired(args, 0.0)
        except SpawnError as error:
            raise error_of(error, plain_options(args)) from error


def is_plain(popenargs: Any, kwargs: Any) -> bool:
    """Whether nothing else is given to ``Popen``."""
    if sys.platform == "win32":
        return False
    return len(popenargs) == 1 and type(popenargs[0]) is list and kwargs.keys() <= _GIVEN
