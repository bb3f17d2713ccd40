"""Capabilities: what selectors mean, and that attenuation only ever narrows."""

from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from treeguard import CapabilityBundle, CapabilityDenied, CapabilitySet
from treeguard.capability import Authorizer, CapabilityToken, GlobalLimits, MethodRule, MethodSelector, Permit, QuotaSet
from treeguard.errors import QuotaExceeded

from ..support.clock import Clock

SERVICES = st.sampled_from(["s", "sa", "n"])
#: Few letters, so that names meet; a dot, so that they look like services.
NAMES = st.text("sa.n", min_size=1, max_size=5)
SELECTORS = (
    st.builds(MethodSelector.exact, NAMES) | st.builds(MethodSelector.prefix, NAMES) | st.just(MethodSelector.any())
)
RATES = st.none() | st.integers(1, 8).map(float)
QUOTAS = st.none() | st.builds(QuotaSet, RATES, RATES, RATES)
LIMITS = st.none() | st.builds(GlobalLimits, *[st.none() | st.integers(0, 6)] * 3)
ALLOWED = st.dictionaries(SERVICES, st.lists(st.builds(MethodRule, SELECTORS, QUOTAS), max_size=3).map(tuple))
SETS = st.builds(CapabilitySet, ALLOWED, LIMITS)


class Call(msgspec.Struct, frozen=True):
    pause: float
    service: str
    method: str
    size: int
    kind: Literal["call", "call", "request", "stream", "give back"] = "call"


CALLS = st.lists(
    st.builds(
        Call,
        st.sampled_from([0, 0, 0.125, 1]),
        SERVICES,
        NAMES | st.just("a"),
        st.integers(0, 10),
        st.sampled_from(["call", "call", "request", "stream", "give back"]),
    ),
    max_size=40,
)


def passes(judge: Authorizer | CapabilitySet, call: Call) -> bool:
    try:
        judge.authorize(call.service, call.method, call.size)
    except CapabilityDenied:
        return False
    return True


def acquired(meter: Authorizer, call: Call) -> Permit | None:
    try:
        return meter.request() if call.kind == "request" else meter.stream()
    except CapabilityDenied:
        return None


@given(SERVICES, SELECTORS, NAMES)
def test_selectors(service: str, selector: MethodSelector, method: str) -> None:
    """A selector of either spelling means what a comparison of full names means, for a service's own methods."""
    qualified = selector.name.startswith(f"{service}.")
    full = selector.name if qualified else f"{service}.{selector.name}"
    asked = f"{service}.{method}"
    meant = {"exact": asked == full, "prefix": asked.startswith(full), "any": True}[selector.match]
    assert selector.matches(service, method) == meant
    assert passes(CapabilitySet({service: (MethodRule(selector),)}), Call(0, service, method, 0)) == meant


@given(ALLOWED, SERVICES, NAMES)
def test_denied_unless_a_rule_matches(allowed: dict[str, tuple[MethodRule, ...]], service: str, method: str) -> None:
    """The first call of all passes exactly where a rule matches: rules of other services do not count."""
    capabilities = CapabilitySet(allowed)
    matching = [rule for rule in allowed.get(service, ()) if rule.method.matches(service, method)]
    assert passes(capabilities.meter(), Call(0, service, method, 0)) == bool(matching)


@given(SETS, st.none() | ALLOWED, LIMITS, CALLS)
def test_attenuation_narrows(
    parent: CapabilitySet,
    allowed: dict[str, tuple[MethodRule, ...]] | None,
    limits: GlobalLimits | None,
    calls: list[Call],
) -> None:
    """Of the same calls, what an attenuated set lets pass its parent lets pass too, also when this had more to bear.

    The parent is asked only for what the child was given: it could have been asked for all of it.
    """
    clock = Clock(0.0)
    child = CapabilityBundle(CapabilityToken("t"), parent).attenuate(allowed, limits).capabilities
    arrived = msgspec.json.decode(msgspec.json.encode(child), type=CapabilitySet)
    assert arrived == child
    wide, narrow = parent.meter(clock=clock), arrived.meter(clock=clock)
    held: list[tuple[Permit, Permit]] = []
    for call in calls:
        clock.now += call.pause
        if call.kind == "call":
            if passes(narrow, call):
                assert passes(wide, call)
        elif call.kind != "give back":
            mine = acquired(narrow, call)
            if mine is not None:
                theirs = acquired(wide, call)
                assert theirs is not None
                held.append((mine, theirs))
        elif held:
            for slot in held.pop():
                slot.release()


@given(SETS, st.lists(st.none() | ALLOWED, min_size=1, max_size=3), CALLS)
def test_what_a_parent_denies_nobody_below_is_authorized(
    parent: CapabilitySet, offers: list[dict[str, tuple[MethodRule, ...]] | None], calls: list[Call]
) -> None:
    """Judged by the values themselves: at the moment when the parent denies, each of them does, for the same reason."""
    line = [parent]
    for allowed in offers:
        line.append(line[-1].attenuate(allowed))
    others = [parent.attenuate(allowed) for allowed in offers]
    for i, call in enumerate(calls):
        iter_pids = [*line, *others]
        if not passes(parent, call):
            assert not any(passes(one, call) for one in iter_pids)
        passes(iter_pids[i % len(iter_pids)], call)


@given(SETS, CALLS)
def test_to_attenuate_by_nothing_changes_nothing(parent: CapabilitySet, calls: list[Call]) -> None:
    """Neither what passes, nor how long to wait."""
    clock = Clock(0.0)
    meters = parent.meter(clock=clock), parent.attenuate().meter(clock=clock)
    for call in calls:
        clock.now += call.pause
        answers = []
        for meter in meters:
            try:
                meter.authorize(call.service, call.method, call.size)
                answers.append("passed")
            except QuotaExceeded as e:
                answers.append(f"later: {e.retry_after}")
            except CapabilityDenied:
                answers.append("never")
        assert answers[0] == answers[1]


@given(SETS, CALLS)
def test_after_the_wait_it_passes(capabilities: CapabilitySet, calls: list[Call]) -> None:
    """retry_after is true, however many quotas a call has to fit."""
    clock = Clock(0.0)
    meter = capabilities.meter(clock=clock)
    for call in calls:
        clock.now += call.pause
        wait: float | None = 0
        try:
            meter.authorize(call.service, call.method, call.size)
        except QuotaExceeded as e:
            wait = e.retry_after
        except CapabilityDenied:
            clock.now += 1e6
            assert not passes(meter, call)
            continue
        assert wait is not None
        clock.now += wait
        assert wait == 0 or passes(meter, call)
