"""Running commands from asyncio, as :mod:`asyncio.subprocess` does, each as a tree."""

from .create import create_subprocess_exec, create_subprocess_shell
from .opening import open_tree
from .run import arun

__all__ = ["arun", "create_subprocess_exec", "create_subprocess_shell", "open_tree"]
