"""All public names, in one place. The package shows them as its own, and imports them when one is asked for."""

from .capability import (
    CapabilityBundle,
    CapabilitySet,
    CapabilityToken,
    GlobalLimits,
    MethodRule,
    MethodSelector,
    QuotaSet,
)
from .containment import Containment
from .errors import (
    ArgumentsTooLong,
    CapabilityDenied,
    ContainmentUnavailable,
    EmptyProgram,
    GuardLost,
    InvalidArgument,
    NotOwner,
    ProcessEnded,
    ProcessLimitReached,
    ProgramNotExecutable,
    ProgramNotFound,
    QuotaExceeded,
    SpawnError,
    TooManyOpenFiles,
    TreeguardError,
    TreeNotEmpty,
    TreeNotFrozen,
    UnknownConnection,
    UnknownProcess,
    WorkingDirectoryDenied,
    WorkingDirectoryInvalid,
    WorkingDirectoryNotFound,
)
from .heartbeat import HeartbeatTracker
from .limits import Limits
from .local import LocalProcessManager
from .manager import ProcessManager
from .meter import Meter, Slot
from .params import SpawnParams
from .provision import Owner, Provider, Provision
from .shutdown import (
    GracefulShutdownOutcome,
    ShutdownTreeRequest,
    ShutdownTreeResponse,
    graceful_shutdown_tree,
)
from .tokens import InMemoryTokenValidator, TokenBinding, TokenValidator
from .types import ChildHandle, ChildKind, ConnectionId, ProcessId, ResourceUsage, RootExit, TreeState, TreeStats

__all__ = [
    "ArgumentsTooLong",
    "CapabilityBundle",
    "CapabilityDenied",
    "CapabilitySet",
    "CapabilityToken",
    "ChildHandle",
    "ChildKind",
    "ConnectionId",
    "Containment",
    "ContainmentUnavailable",
    "EmptyProgram",
    "GlobalLimits",
    "GracefulShutdownOutcome",
    "GuardLost",
    "HeartbeatTracker",
    "InMemoryTokenValidator",
    "InvalidArgument",
    "Limits",
    "LocalProcessManager",
    "Meter",
    "MethodRule",
    "MethodSelector",
    "NotOwner",
    "Owner",
    "ProcessEnded",
    "ProcessId",
    "ProcessLimitReached",
    "ProcessManager",
    "ProgramNotExecutable",
    "ProgramNotFound",
    "Provider",
    "Provision",
    "QuotaExceeded",
    "QuotaSet",
    "ResourceUsage",
    "RootExit",
    "ShutdownTreeRequest",
    "ShutdownTreeResponse",
    "Slot",
    "SpawnError",
    "SpawnParams",
    "TokenBinding",
    "TokenValidator",
    "TooManyOpenFiles",
    "TreeNotEmpty",
    "TreeNotFrozen",
    "TreeState",
    "TreeStats",
    "TreeguardError",
    "UnknownConnection",
    "UnknownProcess",
    "WorkingDirectoryDenied",
    "WorkingDirectoryInvalid",
    "WorkingDirectoryNotFound",
    "graceful_shutdown_tree",
]
