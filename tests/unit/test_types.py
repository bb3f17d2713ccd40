"""Values: frozen, comparable, and the same after a journey as JSON or MessagePack."""

import copy
import pickle
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from treeguard import (
    CapabilityBundle,
    CapabilitySet,
    ChildHandle,
    ChildKind,
    ConnectionId,
    Containment,
    GracefulShutdownOutcome,
    Left,
    Limits,
    ProcessId,
    RootExit,
    ShutdownTreeRequest,
    ShutdownTreeResponse,
    SpawnParams,
    TreeStats,
)
from treeguard.capability import CapabilityToken, GlobalLimits, MethodRule, MethodSelector, QuotaSet, TokenBinding
from treeguard.control import ClientInfo, Connection, ControlLimits
from treeguard.notify import NotifyStatus
from treeguard.shutdown import AskShutdown, CloseStdin, Kill, ShutdownReport, StepReport, Terminate
from treeguard.types import ResourceUsage, TreeState

PID = ProcessId(UUID(int=1))
BUNDLE = CapabilityBundle(
    CapabilityToken("s3cret"),
    CapabilitySet(
        {
            "storage": (MethodRule(MethodSelector.exact("get"), QuotaSet(1e6, 100, 10)),),
            "network": (MethodRule(MethodSelector.prefix("network.open")), MethodRule(MethodSelector.any())),
        },
        GlobalLimits(max_concurrent_requests=4, max_streams=0),
    ),
)
STEP = StepReport("terminate", "stayed", 0.25, 1.25, done=0.5, error="none", left=(7,))
#: These hold functions, and stay.
STAYING = {AskShutdown, CloseStdin}
VALUES: list[msgspec.Struct] = [
    ChildHandle(PID, "renderer", ProcessId(UUID(int=2)), ConnectionId(UUID(int=3)), 4),
    ChildHandle(PID, "my own kind", None, None, 0),
    Containment("subreaper", True, True, True, False, True, False),
    CapabilityToken("s3cret"),
    MethodSelector.exact("storage.get"),
    MethodSelector.any(),
    QuotaSet(bytes_per_sec=0.5),
    GlobalLimits(max_blob_bytes=1 << 40),
    Left(7, "sleep", True),
    Left(8, "sh"),
    MethodRule(MethodSelector.prefix("get")),
    CapabilitySet(),
    BUNDLE.capabilities,
    BUNDLE,
    Limits(1 << 30, 100, 0.5),
    TreeStats(0.5, 0.25, 1 << 20, 2 << 20, 3),
    TokenBinding(PID, BUNDLE.capabilities, 60.5),
    ShutdownTreeRequest(),
    ShutdownTreeRequest("the window was closed"),
    ShutdownTreeResponse(acknowledged=True),
    GracefulShutdownOutcome(acknowledged=False, exited=True, forced=True),
    NotifyStatus(ready=True, status="all is well", main_pid=7),
    Terminate(1.5, whole_tree=True),
    Kill(2.5),
    STEP,
    ShutdownReport(PID, (STEP, STEP), True, False, True, 1.5, (7, 8)),
    ShutdownReport(PID, (), False, True, False, 0.25),
    ResourceUsage(0.25, 0.5, 4096, 1, 2, 3, 4),
    RootExit(0, None),
    RootExit(None, 9, ResourceUsage(1.5)),
    TreeState(4, stopped=19, exit=RootExit(1, None), empty=True),
    Connection(PID, ConnectionId(UUID(int=3)), ClientInfo("worker", "1.0")),
    ControlLimits(line=1024),
    ClientInfo(),
    SpawnParams("true"),
    SpawnParams("true", control="path"),
    SpawnParams(
        "ls",
        ("-l", "Zoë"),
        kind="io",
        env={"A": "ä", "B": ""},
        clear_env=True,
        cwd="/",
        stdin="inherit",
        stdout=7,
        stderr="null",
        pass_fds=(8, 9),
        capabilities=BUNDLE,
        parent=PID,
        ignore_signals=(1,),
        terminal=8,
        argv0="-ls",
        user="nobody",
        group=4,
        extra_groups=("staff", 5),
        umask=0o27,
        restore_signals=False,
        nice=1,
        rlimits={7: (1, -1)},
        oom_score_adj=-1,
        cpu_affinity=(0, 1),
        creationflags=0x20,
        show_window=0,
    ),
]
NAMES = [f"{type(value).__name__}-{i}" for i, value in enumerate(VALUES)]


def by_json(value: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


def by_messagepack(value: msgspec.Struct) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value))


def by_pickle(value: msgspec.Struct) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("journey", [by_json, by_messagepack, by_pickle, copy.deepcopy])
@pytest.mark.parametrize("value", VALUES, ids=NAMES)
def test_values_travel(value: msgspec.Struct, journey: Callable[[msgspec.Struct], Any]) -> None:
    """A value is the same after its journey, in type and in every field."""
    arrived = journey(value)
    assert type(arrived) is type(value)
    assert arrived == value
    for name in value.__struct_fields__:
        assert type(getattr(arrived, name)) is type(getattr(value, name))


@pytest.mark.parametrize("value", VALUES, ids=NAMES)
def test_values_are_frozen(value: msgspec.Struct) -> None:
    """No field can be set, and none added."""
    for name in (*value.__struct_fields__, "novelty"):
        with pytest.raises(AttributeError):
            setattr(value, name, None)


@pytest.mark.parametrize("value", VALUES, ids=NAMES)
def test_values_differ_in_every_field(value: msgspec.Struct) -> None:
    """Two values are equal if all fields are, and different if one is."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    assert type(value)(**fields) == value
    for name in fields:
        other = copy.copy(value)
        msgspec.structs.force_setattr(other, name, object())
        assert other != value, name


def test_every_public_value_is_tested_here() -> None:
    """No value type is forgotten in the lists above."""
    import treeguard
    from treeguard import capability, control, notify, shutdown, types

    modules = (treeguard, capability, control, notify, shutdown, types)
    public = [getattr(module, name) for module in modules for name in module.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, msgspec.Struct)}
    assert kinds - STAYING == {type(value) for value in VALUES}


def test_the_well_known_kinds() -> None:
    """A kind is a string, and prints as one."""
    assert [str(kind) for kind in ChildKind] == [
        "renderer",
        "network",
        "io",
        "storage",
        "formats",
        "runtime",
        "external",
    ]
    assert ChildKind("io") is ChildKind.IO
    assert {"io": 1}[ChildKind.IO] == 1
    assert f"{ChildKind.IO}" == "io"


@pytest.mark.parametrize("outcome", [True, False])
def test_outcomes_read_well(outcome: bool) -> None:
    """An outcome shows its fields by name."""
    shown = repr(GracefulShutdownOutcome(outcome, True, False))
    assert shown == f"GracefulShutdownOutcome(acknowledged={outcome}, exited=True, forced=False)"
