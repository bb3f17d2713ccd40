"""Wrong arguments of what needs no processes: each is refused at once, by an error that names it."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from treeguard import (
    CapabilityBundle,
    CapabilitySet,
    ConnectionId,
    ControlServer,
    HeartbeatTracker,
    Limits,
    LocalProcessManager,
    ProcessId,
    ShutdownTreeRequest,
    ShutdownTreeResponse,
    SpawnParams,
)
from treeguard._core.validation import LONGEST_LEASE, one_of, whole_number
from treeguard.capability import (
    Authorizer,
    CapabilityToken,
    GlobalLimits,
    InMemoryTokenValidator,
    MethodRule,
    MethodSelector,
    QuotaSet,
)
from treeguard.control import ControlLimits
from treeguard.shutdown import AskShutdown, CloseStdin, Kill, Terminate

from ..property.managers import NeverSpawning

#: One of each kind, and those that pass for another kind elsewhere.
VALUES: list[Any] = [
    *(None, True, 3, 0, -1, 10**5000, 1.5, -0.5, math.nan, math.inf, "x", "", b"x"),
    *([3], ["x"], {"x": 3}, object(), float, Limits, Limits()),
]

PID = ProcessId(uuid.UUID(int=1))
CONN = ConnectionId(uuid.UUID(int=2))
RULE = MethodRule(MethodSelector.any())
SET = CapabilitySet({"storage": (RULE,)})
TOKEN = CapabilityToken("t")


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    return (whole(value) and value < 10**300) or (isinstance(value, float) and not math.isnan(value))


def seconds(value: Any) -> bool:
    return number(value) and value >= 0


def positive(value: Any) -> bool:
    return number(value) and 0 < value < math.inf


def truth(value: Any) -> bool:
    return isinstance(value, bool)


def string(value: Any) -> bool:
    return isinstance(value, str)


def path(value: Any) -> bool:
    return isinstance(value, str | bytes)


def nothing(value: Any) -> bool:
    return value is None


def never(value: Any) -> bool:
    return False


def limit(value: Any) -> bool:
    return whole(value) and value >= 0


def strings(value: Any) -> bool:
    return value in (["x"], {"x": 3})


def numbers(value: Any) -> bool:
    return bool(value == [3])


def or_none(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


class Made(NamedTuple):
    """Something to call with one wrong argument at a time: by each argument's name, what is right for it."""

    make: Callable[..., object]
    accepts: Mapping[str, Callable[[Any], bool]]
    others: Mapping[str, Any] = {}


def _spawn_params() -> Made:
    accepts = {
        "program": or_none(path),
        "args": strings,
        "kind": string,
        "env": never,
        "clear_env": truth,
        "cwd": or_none(path),
        "pass_fds": numbers,
        "ignore_signals": numbers,
        "capabilities": nothing,
        "parent": nothing,
        "terminal": or_none(whole),
        "limits": lambda value: value in (None, Limits()),
        "control": truth,
        "notify": truth,
        "watchdog": nothing,
        "isolation": nothing,
        "new_session": or_none(truth),
        "max_extension": lambda value: seconds(value) and value < math.inf,
    }
    return Made(SpawnParams, accepts, {"program": "x"})


MADE: dict[str, Made] = {
    "SpawnParams": _spawn_params(),
    "LocalProcessManager": Made(
        LocalProcessManager,
        {
            "containment": never,
            "require": never,
            "isolation": nothing,
            "control": nothing,
            "providers": never,
            "lease": or_none(lambda value: positive(value) and value <= LONGEST_LEASE),
            "on_hung": or_none(callable),
        },
    ),
    "Limits": Made(
        Limits,
        {
            **dict.fromkeys(["memory", "processes"], or_none(lambda value: whole(value) and 0 < value < 1 << 63)),
            "cpu": or_none(lambda value: positive(value) and value < 1 << 63),
        },
    ),
    "QuotaSet": Made(
        QuotaSet,
        {
            **dict.fromkeys(["bytes_per_sec", "ops_per_sec"], or_none(lambda value: number(value) and value > 0)),
            "burst": or_none(lambda value: number(value) and value in (3, math.inf)),
        },
    ),
    "GlobalLimits": Made(GlobalLimits, dict.fromkeys(GlobalLimits.__struct_fields__, or_none(limit))),
    "MethodSelector": Made(
        MethodSelector, {"match": never, "name": lambda v: v == "x"}, {"match": "exact", "name": "x"}
    ),
    "MethodSelector.matches": Made(
        MethodSelector.any().matches, {"service": string, "method": string}, {"service": "s", "method": "m"}
    ),
    "MethodRule": Made(MethodRule, {"method": never, "quotas": nothing}, {"method": RULE.method}),
    "CapabilitySet": Made(CapabilitySet, {"allowed": never, "global_limits": nothing, "within": nothing}),
    "CapabilitySet.authorize": Made(
        SET.authorize,
        {"service": string, "method": string, "size": lambda v: limit(v) or (seconds(v) and v < math.inf)},
        {"service": "storage", "method": "get"},
    ),
    "CapabilitySet.meter": Made(SET.meter, {"clock": callable}),
    "CapabilitySet.attenuate": Made(SET.attenuate, {"allowed": nothing, "global_limits": nothing}),
    "Authorizer": Made(
        Authorizer, {"allowed": never, "limits": nothing, "within": nothing, "clock": callable}, {"allowed": {}}
    ),
    "Authorizer.authorize": Made(
        SET.meter().authorize, {"service": string, "method": string}, {"service": "storage", "method": "get"}
    ),
    "CapabilityToken": Made(CapabilityToken, {"text": lambda value: value == "x"}),
    "CapabilityBundle": Made(CapabilityBundle, {"token": never, "capabilities": never}, {"token": TOKEN}),
    "CapabilityBundle.attenuate": Made(
        CapabilityBundle(TOKEN).attenuate, {"allowed": nothing, "global_limits": nothing, "token": nothing}
    ),
    "InMemoryTokenValidator": Made(InMemoryTokenValidator, {"lifetime": positive, "clock": callable}),
    "issue": Made(
        InMemoryTokenValidator().issue,
        {"pid": never, "capabilities": nothing, "lifetime": or_none(positive)},
        {"pid": PID},
    ),
    "register": Made(
        InMemoryTokenValidator().register,
        {"pid": never, "bundle": never},
        {"pid": PID, "bundle": CapabilityBundle(TOKEN)},
    ),
    "validate": Made(InMemoryTokenValidator().validate, {"token": never, "pid": never}, {"token": TOKEN}),
    "revoke": Made(InMemoryTokenValidator().revoke, {"pid": never}),
    "ControlLimits": Made(ControlLimits, dict.fromkeys(ControlLimits.__struct_fields__, lambda v: whole(v) and v > 0)),
    "ControlServer": Made(
        ControlServer,
        {
            "services": nothing,
            "tokens": nothing,
            "limits": nothing,
            "hello_timeout": positive,
            "grace": positive,
            "on_shutdown_tree": or_none(callable),
            "clock": callable,
        },
    ),
    "ControlServer.service": Made(ControlServer().service, {"name": never}),
    "ControlServer.watch": Made(ControlServer().watch, {"tracker": never}),
    "ControlServer.tell": Made(ControlServer().tell, {"pid": never}, {"method": "page.show"}),
    "shutdown_request": Made(ControlServer().shutdown_request, {"pid": never, "reason": or_none(string)}, {"pid": PID}),
    "AskShutdown": Made(
        AskShutdown,
        {"send_shutdown": callable, "ack_timeout": seconds, "exit_timeout": seconds},
        {"send_shutdown": float, "ack_timeout": 1, "exit_timeout": 1},
    ),
    "CloseStdin": Made(CloseStdin, {"close": callable, "exit_timeout": seconds}, {"close": float, "exit_timeout": 1}),
    "Terminate": Made(
        Terminate,
        {
            "exit_timeout": seconds,
            "whole_tree": truth,
            "to": lambda value: value in (None, "group", "root", "all"),
            "until": lambda value: value in ("empty", "root"),
        },
        {"exit_timeout": 1},
    ),
    "Kill": Made(Kill, {"exit_timeout": seconds}),
    "ShutdownTreeRequest": Made(ShutdownTreeRequest, {"reason": or_none(string)}),
    "ShutdownTreeResponse": Made(ShutdownTreeResponse, {"acknowledged": truth}),
    "HeartbeatTracker": Made(
        HeartbeatTracker,
        {
            "manager": never,
            "check_interval": positive,
            "allowed_missed_intervals": lambda v: whole(v) and v > 0,
            "on_expired": or_none(callable),
            "drain": or_none(callable),
            "clock": callable,
        },
        {"manager": NeverSpawning(), "check_interval": 1, "allowed_missed_intervals": 1},
    ),
    "track_connection": Made(
        HeartbeatTracker(NeverSpawning(), 1, 1).track_connection,
        {"conn": never, "pid": never},
        {"conn": CONN, "pid": PID},
    ),
    **{
        verb: Made(getattr(HeartbeatTracker(NeverSpawning(), 1, 1), verb), {"conn": never})
        for verb in ("record_heartbeat", "remove", "expire")
    },
}


def wrong() -> Iterator[tuple[str, str, Any]]:
    """What is made, the argument, and a value that is wrong for it; an empty default is none."""
    for label, made in MADE.items():
        for name, accepts in made.accepts.items():
            for value in VALUES:
                optional = value is None and name == "pid" and label == "validate"
                if not (accepts(value) or optional):
                    yield label, name, value


@pytest.mark.parametrize("label", MADE)
def test_wrong_arguments_are_named(label: str) -> None:
    """At once, and by a sentence that says what is accepted."""
    make, _, others = MADE[label]
    tried = 0
    for _, name, value in (each for each in wrong() if each[0] == label):
        with pytest.raises((TypeError, ValueError)) as caught:
            make(**{**others, name: value})
        assert re.search(rf"\b{name}\b.* must (not )?be", str(caught.value)), (name, str(caught.value))
        assert len(str(caught.value)) < 250
        tried += 1
    assert tried > 0


def test_hundreds_are_tried() -> None:
    """Control: the table holds what it seems to."""
    assert len(list(wrong())) > 700


@pytest.mark.parametrize("label", MADE)
def test_right_arguments_are_taken(label: str) -> None:
    """Control: what the table calls right is."""
    make, accepts, others = MADE[label]
    if label.endswith("authorize"):  # It denies what is right but not allowed.
        accepts = {name: accept for name, accept in accepts.items() if name == "size"}
    for name, accept in accepts.items():
        for value in filter(accept, VALUES):
            make(**{**others, name: value})


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        ({"storage": RULE}, r"allowed\['storage'\] must be a sequence of MethodRule"),
        ({"storage": [3]}, r"allowed\['storage'\] must be a sequence of MethodRule, not 3"),
        ({3: [RULE]}, "the name of a service must be a string, not 3"),
        ({"": [RULE]}, "the name of a service must not be empty"),
    ],
)
def test_a_wrong_rule_is_found_where_it_is(allowed: Any, words: str) -> None:
    """The service is named."""
    for make in (CapabilitySet, SET.attenuate, Authorizer):
        with pytest.raises((TypeError, ValueError), match=words):
            make(allowed)


async def a_coroutine_function(*_: object) -> None:
    """Nobody awaits it."""


def test_a_coroutine_function_is_refused_where_nobody_would_await_it() -> None:
    """It would never run."""
    with pytest.raises(TypeError, match="on_hung must be a function, not a coroutine function"):
        LocalProcessManager(on_hung=a_coroutine_function)
    with pytest.raises(TypeError, match="on_expired must be a function, not a coroutine function"):
        HeartbeatTracker(NeverSpawning(), 1, 1, on_expired=a_coroutine_function)


def test_a_secret_is_not_shown() -> None:
    """Not even where it is refused."""
    with pytest.raises(TypeError) as caught:
        CapabilityToken(b"s3cret")  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


def test_true_is_not_one() -> None:
    """Nor the other way round."""
    with pytest.raises(ValueError, match="mode must be False, True or 'x', not 1"):
        one_of("mode", 1, (False, True, "x"))
    with pytest.raises(TypeError, match="count must be a whole number, not True"):
        whole_number("count", True)
