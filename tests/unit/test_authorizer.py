"""Who may call what: deny by default, quotas on a clock, limits on what is under way."""

import copy
import errno
import math
import pickle
from typing import Any

import msgspec
import pytest

from treeguard import CapabilityBundle, CapabilityDenied, CapabilitySet
from treeguard.capability import Authorizer, CapabilityToken, GlobalLimits, MethodRule, MethodSelector, QuotaSet
from treeguard.errors import QuotaExceeded

from ..support.clock import Clock

exact, prefix, everything = MethodSelector.exact, MethodSelector.prefix, MethodSelector.any


@pytest.fixture
def clock() -> Clock:
    return Clock()


def allowing(*rules: MethodRule, limits: GlobalLimits | None = None) -> CapabilitySet:
    return CapabilitySet({"storage": rules}, limits)


def allows(capabilities: CapabilitySet | Authorizer, service: str, method: str, size: int = 0) -> bool:
    try:
        capabilities.authorize(service, method, size)
    except QuotaExceeded:
        pytest.fail("a quota is not what this is about")
    except CapabilityDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("selector", "meant", "not_meant"),
    [
        (exact("get"), ["get"], ["", "ge", "gett", "Get", "storage.get", " get", "get\n", "get\0"]),
        (exact("storage.get"), ["get"], ["storage.get", "storage", ""]),
        (exact("storage.storage.get"), ["storage.get"], ["get"]),
        (exact("network.get"), ["network.get"], ["get"]),
        (exact("storage."), [], ["", "get", ".", "storage."]),
        (prefix("ge"), ["ge", "get", "ge.t"], ["", "g", "Get", "storage.get"]),
        (prefix("s"), ["set", "storage.get"], ["get", ""]),
        (prefix("stor"), ["store"], ["get"]),
        (prefix("storage."), ["get", "set", "storage.get", "\U0001f600"], [""]),
        (prefix("storage.ge"), ["get"], ["set", "storage.get"]),
        (everything(), ["get", "storage.get", "."], [""]),
    ],
)
def test_selectors(selector: MethodSelector, meant: list[str], not_meant: list[str]) -> None:
    """A name is the method's, or after the service's and a dot; a prefix that is about methods widens to no service."""
    capabilities = allowing(MethodRule(selector))
    for method in meant:
        assert selector.matches("storage", method)
        assert allows(capabilities, "storage", method), method
    for method in not_meant:
        assert not selector.matches("storage", method)
        assert not allows(capabilities, "storage", method), method


def test_what_is_not_allowed_is_denied() -> None:
    """Without a rule there is nothing: no service, none of another name, none without a name."""
    assert not allows(CapabilitySet(), "storage", "get")
    assert not allows(CapabilitySet({"storage": ()}), "storage", "get")
    for service in ("", "network", "Storage", "storage.", "storage\0"):
        assert not allows(allowing(MethodRule(everything())), service, "get")


def test_a_denial_is_a_permission_error_and_names_the_call() -> None:
    """It says what was asked for, shortened when it is long: whoever asked chose the words."""
    with pytest.raises(PermissionError, match=r"'storage\.drop\\n' is not allowed") as caught:
        CapabilitySet().authorize("storage", "drop\n")
    assert caught.value.errno == errno.EACCES
    with pytest.raises(CapabilityDenied) as caught:
        CapabilitySet().authorize("storage", "x" * 1_000_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("size", [-1, math.nan, math.inf, -math.inf])
def test_a_size_is_a_size(size: float) -> None:
    """A size that would give back what was used, or nothing that adds up, is refused."""
    with pytest.raises(ValueError, match=r"^size must be"):
        allowing(MethodRule(everything())).authorize("storage", "get", size)


def test_operations_have_a_quota(clock: Clock) -> None:
    """A second's worth at once, then as they flow in; retry_after says when, and then it is so."""
    meter = allowing(MethodRule(exact("get"), QuotaSet(ops_per_sec=2))).meter(clock=clock)
    for _ in range(2):
        meter.authorize("storage", "get")
    with pytest.raises(QuotaExceeded, match=r"'storage\.get'") as caught:
        meter.authorize("storage", "get")
    assert caught.value.retry_after == pytest.approx(0.5)
    assert caught.value.errno == errno.EAGAIN
    clock.now += 0.499
    with pytest.raises(BlockingIOError):
        meter.authorize("storage", "get")
    clock.now += 0.001 + 1e-9
    meter.authorize("storage", "get")


def test_bytes_have_a_quota(clock: Clock) -> None:
    """A call without bytes is not charged, and a call that never fits is denied."""
    meter = allowing(MethodRule(exact("put"), QuotaSet(bytes_per_sec=100, burst=150))).meter(clock=clock)
    meter.authorize("storage", "put", 150)
    meter.authorize("storage", "put")
    with pytest.raises(QuotaExceeded) as caught:
        meter.authorize("storage", "put", 50)
    assert caught.value.retry_after == pytest.approx(0.5)
    with pytest.raises(CapabilityDenied, match="151") as denied:
        meter.authorize("storage", "put", 151)
    assert not isinstance(denied.value, QuotaExceeded)
    clock.now += 0.6
    meter.authorize("storage", "put", 50)


def test_seldom_is_not_never(clock: Clock) -> None:
    """Less than one operation a second is still one at once."""
    meter = allowing(MethodRule(exact("get"), QuotaSet(ops_per_sec=0.1))).meter(clock=clock)
    meter.authorize("storage", "get")
    with pytest.raises(QuotaExceeded) as caught:
        meter.authorize("storage", "get")
    assert caught.value.retry_after == pytest.approx(10)


def test_the_methods_of_a_rule_share_its_quota(clock: Clock) -> None:
    """To spread calls over several names gives no more of them."""
    meter = allowing(MethodRule(prefix("get"), QuotaSet(ops_per_sec=2))).meter(clock=clock)
    meter.authorize("storage", "get")
    meter.authorize("storage", "get_all")
    with pytest.raises(QuotaExceeded):
        meter.authorize("storage", "get_more")


@pytest.mark.parametrize("turn", [1, -1])
def test_all_rules_that_match_count(clock: Clock, turn: int) -> None:
    """In whatever order they are written: a quota is never lost to a wider rule beside it."""
    rules = [MethodRule(exact("put"), QuotaSet(ops_per_sec=1)), MethodRule(everything(), QuotaSet(ops_per_sec=3))]
    meter = allowing(*rules[::turn]).meter(clock=clock)
    meter.authorize("storage", "put")
    with pytest.raises(QuotaExceeded):
        meter.authorize("storage", "put")
    meter.authorize("storage", "get")
    meter.authorize("storage", "get")
    with pytest.raises(QuotaExceeded):
        meter.authorize("storage", "get")


def test_what_is_refused_is_not_charged(clock: Clock) -> None:
    """A call that one quota refuses takes nothing from another."""
    rules = [
        MethodRule(everything(), QuotaSet(ops_per_sec=2)),
        MethodRule(exact("put"), QuotaSet(bytes_per_sec=10)),
    ]
    meter = allowing(*rules).meter(clock=clock)
    meter.authorize("storage", "put", 10)
    for _ in range(5):
        with pytest.raises(QuotaExceeded):
            meter.authorize("storage", "put", 1)
        with pytest.raises(CapabilityDenied):
            meter.authorize("storage", "put", 11)
    meter.authorize("storage", "get")


def test_operations_and_bytes_can_have_a_burst_each(clock: Clock) -> None:
    """One quota has one burst, for both; two rules have two."""
    both = allowing(MethodRule(everything(), QuotaSet(bytes_per_sec=100, ops_per_sec=2, burst=5))).meter(clock=clock)
    assert not allows(both, "storage", "put", 6)
    rules = [
        MethodRule(everything(), QuotaSet(ops_per_sec=2, burst=3)),
        MethodRule(everything(), QuotaSet(bytes_per_sec=100)),
    ]
    each = allowing(*rules).meter(clock=clock)
    for _ in range(3):
        each.authorize("storage", "put", 33)
    with pytest.raises(QuotaExceeded):
        each.authorize("storage", "put")


@pytest.mark.parametrize(
    "quotas", [QuotaSet(), QuotaSet(burst=1), QuotaSet(math.inf, math.inf), QuotaSet(1, 1, math.inf)]
)
def test_what_is_not_limited_is_not_limited(quotas: QuotaSet) -> None:
    """Without a rate, or with infinite ones, any number passes."""
    capabilities = allowing(MethodRule(everything(), quotas))
    for _ in range(1000):
        assert allows(capabilities, "storage", "get", 1 << 60)


def test_the_value_itself_judges() -> None:
    """Without a meter of one's own, the use is counted by the object, which stays the same value."""
    capabilities = allowing(MethodRule(exact("get"), QuotaSet(ops_per_sec=0.001)))
    equal = copy.deepcopy(capabilities)
    capabilities.authorize("storage", "get")
    with pytest.raises(QuotaExceeded):
        capabilities.authorize("storage", "get")
    assert capabilities == equal
    assert hash(capabilities) == hash(equal)
    assert repr(capabilities) == repr(equal)
    assert msgspec.json.encode(capabilities) == msgspec.json.encode(equal)


def test_use_does_not_travel() -> None:
    """Copies, and what arrives elsewhere, begin unused; so does each meter."""
    capabilities = allowing(MethodRule(exact("get"), QuotaSet(ops_per_sec=0.001)))
    capabilities.authorize("storage", "get")
    capabilities.meter().authorize("storage", "get")
    capabilities.meter().authorize("storage", "get")
    again: list[Any] = [
        copy.copy(capabilities),
        pickle.loads(pickle.dumps(capabilities)),
        msgspec.json.decode(msgspec.json.encode(capabilities), type=CapabilitySet),
    ]
    for one in again:
        one.authorize("storage", "get")


def test_a_value_denies_what_no_quota_ever_holds() -> None:
    """Too many bytes at once are never allowed, in an attenuated set neither."""
    capabilities = allowing(MethodRule(exact("get"), QuotaSet(bytes_per_sec=10)))
    for each in (capabilities, capabilities.attenuate({"storage": [MethodRule(everything())]})):
        with pytest.raises(CapabilityDenied, match="more than its quota holds"):
            each.authorize("storage", "get", 11)


def test_blobs_are_limited(clock: Clock) -> None:
    """Over all methods, whatever their quotas; the limit itself fits."""
    meter = allowing(MethodRule(everything()), limits=GlobalLimits(max_blob_bytes=10)).meter(clock=clock)
    assert allows(meter, "storage", "put", 10)
    with pytest.raises(CapabilityDenied, match="max_blob_bytes, 10"):
        meter.authorize("storage", "put", 11)


@pytest.mark.parametrize("what", ["request", "stream"])
def test_what_is_under_way_is_limited(what: str) -> None:
    """If all places are taken, it is unknown when one is free. A second release of a place has no effect."""
    limits = GlobalLimits(max_concurrent_requests=2) if what == "request" else GlobalLimits(max_streams=2)
    meter = CapabilitySet(global_limits=limits).meter()
    acquire = getattr(meter, what)
    first, second = acquire(), acquire()
    with pytest.raises(QuotaExceeded, match=f"2 {what}s") as caught:
        acquire()
    assert caught.value.retry_after is None
    first.release()
    first.release()
    with acquire(), pytest.raises(QuotaExceeded):
        acquire()
    second.release()
    kept = [acquire(), acquire()]
    with pytest.raises(QuotaExceeded):
        acquire()
    assert len(kept) == 2


def test_requests_and_streams_are_counted_apart() -> None:
    """One kind takes no place of the other; and without limits there is always a place."""
    meter = CapabilitySet(global_limits=GlobalLimits(max_concurrent_requests=1)).meter()
    slots = [meter.request(), *(meter.stream() for _ in range(100))]
    assert len(slots) == 101


@pytest.mark.parametrize("what", ["request", "stream"])
def test_no_place_at_all_is_a_denial(what: str) -> None:
    """Where nothing is ever allowed, later is no better."""
    meter = CapabilitySet(global_limits=GlobalLimits(max_concurrent_requests=0, max_streams=0)).meter()
    with pytest.raises(CapabilityDenied) as caught:
        getattr(meter, what)()
    assert not isinstance(caught.value, QuotaExceeded)


def test_attenuated_sets_are_bound_by_both() -> None:
    """A call that either set does not allow is denied. Rules that are not given stay as they were."""
    parent = CapabilitySet({"storage": (MethodRule(prefix("get")),), "network": (MethodRule(everything()),)})
    child = parent.attenuate({"storage": [MethodRule(everything())], "io": [MethodRule(everything())]})
    assert allows(child, "storage", "get_all")
    for service, method in (("storage", "put"), ("network", "open"), ("io", "read")):
        assert not allows(child, service, method)
    same = parent.attenuate(global_limits=GlobalLimits(max_blob_bytes=5))
    assert allows(same, "network", "open", 5)
    assert not allows(same, "network", "open", 6)
    assert not allows(same.attenuate(global_limits=GlobalLimits(max_blob_bytes=50)), "network", "open", 6)


def test_attenuated_sets_share_what_their_parent_has() -> None:
    """Many small bundles together get no more than the one that they were made from."""
    parent = allowing(MethodRule(everything(), QuotaSet(ops_per_sec=0.001, burst=2)))
    children = [parent.attenuate() for _ in range(3)]
    children[0].authorize("storage", "get")
    children[1].authorize("storage", "get")
    for one in (*children, parent):
        with pytest.raises(QuotaExceeded):
            one.authorize("storage", "get")


def test_places_are_taken_from_the_parent_too(clock: Clock) -> None:
    """The narrower of two limits counts, and both are given back."""
    parent = CapabilitySet(global_limits=GlobalLimits(max_streams=1))
    meter = parent.attenuate(global_limits=GlobalLimits(max_streams=5)).meter(clock=clock)
    for _ in range(3):
        with meter.stream(), pytest.raises(QuotaExceeded):
            meter.stream()


def test_an_attenuated_bundle_has_a_token_of_its_own() -> None:
    """The holder of the narrow bundle cannot pass for the holder of the wide one."""
    bundle = CapabilityBundle(CapabilityToken("s3cret"), allowing(MethodRule(everything())))
    narrow = bundle.attenuate({"storage": [MethodRule(exact("get"))]})
    assert narrow.token != bundle.token
    assert narrow.capabilities.within == bundle.capabilities
    assert not allows(narrow.capabilities, "storage", "put")
    assert bundle.attenuate(token=CapabilityToken("other")).token == CapabilityToken("other")


def test_attenuated_sets_travel() -> None:
    """What binds them goes with them."""
    bundle = CapabilityBundle(CapabilityToken("s3cret"), allowing(MethodRule(exact("get"))))
    narrow = bundle.attenuate({"storage": [MethodRule(everything())]}, GlobalLimits(max_streams=1))
    arrived = msgspec.json.decode(msgspec.json.encode(narrow), type=CapabilityBundle)
    assert arrived == narrow
    assert not allows(arrived.capabilities, "storage", "put")
