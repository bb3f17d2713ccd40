"""Trees that outlive their supervisor on purpose: :meth:`Tree.release` and :meth:`LocalProcessManager.take_over`."""

from __future__ import annotations

import base64
import binascii

import msgspec

from .errors import TreeguardError, TreeNotEmpty
from .types import Mechanism

__all__ = ["ReleaseRefused", "ReleasedTree", "TakeOverRefused", "TreeReleased"]

#: What the text of a token begins with.
_PREFIX = "treeguard-released:"


class ReleasedTree(msgspec.Struct, frozen=True):
    """Names a released tree: the token that :meth:`LocalProcessManager.take_over` takes.

    It is no secret. A tree can be taken over by processes of its user only, and only from the pid and network namespace
    that it was released in; the token says which tree is meant, and keeps another process that has got the number of
    its guard from being taken for it.

    ``str(token)`` is one word, which :meth:`parse` reads, and ``msgspec.json`` takes it too::

        token = await tree.release()
        Path("server.token").write_text(str(token))

        async with treeguard.LocalProcessManager() as manager:
            tree = await manager.take_over(ReleasedTree.parse(Path("server.token").read_text()))
    """

    #: The process id of the guard, and its start in clock ticks after boot (``/proc/PID/stat``).
    guard: int
    started: int
    #: Of the running system (``/proc/sys/kernel/random/boot_id``).
    boot_id: str
    #: The inode of the pid namespace in which ``guard`` is its number.
    pid_namespace: int
    #: The user who may take it over.
    user: int
    #: The guard's abstract address (unix(7)). It is in the guard's command line too.
    name: str
    mechanism: Mechanism
    #: The process id of the root when it was released; another process's, perhaps, after the root's end.
    root: int
    kind: str = "external"
    program: str | None = None
    #: When the root had started at the latest, in seconds after boot.
    began: float = 0.0
    #: The name of the variable that marks processes of the tree, and the directory of its cgroup.
    mark: str = ""
    cgroup: str | None = None

    def __str__(self) -> str:
        return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode("ascii").rstrip("=")

    @classmethod
    def parse(cls, text: str) -> ReleasedTree:
        """The token that ``str(token)`` was. Raises ValueError for anything else."""
        word = text.strip()
        try:
            if not word.startswith(_PREFIX):
                raise ValueError(f"it does not begin with {_PREFIX!r}")
            encoded = word.removeprefix(_PREFIX)
            padding = "=" * (-len(encoded) % 4)
            return msgspec.json.decode(base64.b64decode(encoded + padding, altchars=b"-_", validate=True), type=cls)
        except (ValueError, msgspec.MsgspecError, binascii.Error) as error:
            raise ValueError(f"not the token of a released tree: {error}") from None


class TreeReleased(TreeNotEmpty):
    """The tree was released: it outlives its supervisor on purpose, and this manager no longer knows of it.

    ``token`` names it.
    """

    def __init__(self, words: str, token: ReleasedTree) -> None:
        super().__init__(words)
        self.token = token


class ReleaseRefused(TreeguardError, RuntimeError):
    """A tree cannot be released. The message says why. Nothing has changed: it ends with its supervisor."""


class TakeOverRefused(TreeguardError, ConnectionError):
    """A released tree cannot be taken over. The message says why. Nothing has changed: it is as it was."""
