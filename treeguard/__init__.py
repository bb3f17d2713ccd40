"""Process trees, owned: whatever you start you can stop, all of it, and none of it outlives you."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core.containment.guarantees import Containment as Containment
    from ._core.outcome import CalledProcessError as CalledProcessError
    from ._core.outcome import CompletedTree as CompletedTree
    from ._core.outcome import Left as Left
    from ._core.outcome import TimeoutExpired as TimeoutExpired
    from .aio import arun as arun
    from .aio import create_subprocess_exec as create_subprocess_exec
    from .aio import create_subprocess_shell as create_subprocess_shell
    from .aio import open_tree as open_tree
    from .capability import CapabilityBundle as CapabilityBundle
    from .capability import CapabilitySet as CapabilitySet
    from .control import ControlServer as ControlServer
    from .errors import CapabilityDenied as CapabilityDenied
    from .errors import ContainmentUnavailable as ContainmentUnavailable
    from .errors import ContainmentWarning as ContainmentWarning
    from .errors import GuardLost as GuardLost
    from .errors import ProcessEnded as ProcessEnded
    from .errors import ProgramNotFound as ProgramNotFound
    from .errors import SpawnError as SpawnError
    from .errors import TreeguardError as TreeguardError
    from .errors import TreeNotEmpty as TreeNotEmpty
    from .errors import UnknownProcess as UnknownProcess
    from .heartbeat import HeartbeatTracker as HeartbeatTracker
    from .limits import Limits as Limits
    from .local import LocalProcessManager as LocalProcessManager
    from .manager import ProcessManager as ProcessManager
    from .params import DEVNULL as DEVNULL
    from .params import PIPE as PIPE
    from .params import STDOUT as STDOUT
    from .params import SpawnParams as SpawnParams
    from .shutdown import GracefulShutdownOutcome as GracefulShutdownOutcome
    from .shutdown import ShutdownTreeRequest as ShutdownTreeRequest
    from .shutdown import ShutdownTreeResponse as ShutdownTreeResponse
    from .shutdown import graceful_shutdown_tree as graceful_shutdown_tree
    from .subprocess import run as run
    from .tree import Tree as Tree
    from .types import ChildHandle as ChildHandle
    from .types import ChildKind as ChildKind
    from .types import ConnectionId as ConnectionId
    from .types import ProcessId as ProcessId
    from .types import RootExit as RootExit
    from .types import TreeStats as TreeStats

    _HOME: dict[str, str]
else:
    # A child that imports treeguard.child needs neither manager nor compiled module, which take much longer to import
    # than what it does need. So a name is imported when it is asked for, from the module that is its home, and a module
    # likewise.
    _HOMES = {
        "_core.containment.guarantees": ["Containment"],
        "_core.outcome": ["CalledProcessError", "CompletedTree", "Left", "TimeoutExpired"],
        "aio": ["arun", "create_subprocess_exec", "create_subprocess_shell", "open_tree"],
        "capability": ["CapabilityBundle", "CapabilitySet"],
        "control": ["ControlServer"],
        "errors": [
            *("CapabilityDenied", "ContainmentUnavailable", "ContainmentWarning", "GuardLost", "ProcessEnded"),
            *("ProgramNotFound", "SpawnError", "TreeNotEmpty", "TreeguardError", "UnknownProcess"),
        ],
        "heartbeat": ["HeartbeatTracker"],
        "limits": ["Limits"],
        "local": ["LocalProcessManager"],
        "manager": ["ProcessManager"],
        "params": ["DEVNULL", "PIPE", "STDOUT", "SpawnParams"],
        "shutdown": [
            *("GracefulShutdownOutcome", "ShutdownTreeRequest", "ShutdownTreeResponse", "graceful_shutdown_tree"),
        ],
        "subprocess": ["run"],
        "tree": ["Tree"],
        "types": ["ChildHandle", "ChildKind", "ConnectionId", "ProcessId", "RootExit", "TreeStats"],
    }
    _HOME = {name: module for module, names in _HOMES.items() for name in names}
    __all__ = list(_HOME)

    def __getattr__(name: str) -> object:
        if name in _HOME:
            value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
            return value
        if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
