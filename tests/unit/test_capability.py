"""Capabilities as values: secrets stay secret, and nonsense is refused."""

import math
from typing import Any

import msgspec
import pytest

from treeguard import CapabilityBundle, CapabilityDenied, CapabilitySet, SpawnParams
from treeguard.capability import CapabilityToken, GlobalLimits, MethodRule, MethodSelector, QuotaSet
from treeguard.errors import QuotaExceeded

SECRET = "s3cret"


def test_a_token_is_never_shown() -> None:
    """A token's text is in no representation, nor in those of what holds it."""
    bundle = CapabilityBundle(CapabilityToken(SECRET))
    rich: Any = bundle.token.__rich_repr__()
    for value in (bundle.token, bundle, SpawnParams("ls", capabilities=bundle), [bundle], list(rich)):
        assert SECRET not in repr(value)
        assert SECRET not in str(value)
        assert SECRET not in f"{value}"
        assert "…" in repr(value)
    assert bundle.token.text == SECRET


def test_an_empty_token_is_refused() -> None:
    """A token that anybody could guess is none."""
    with pytest.raises(ValueError, match="text"):
        CapabilityToken("")
    with pytest.raises(msgspec.ValidationError, match="text"):
        msgspec.json.decode(b'{"text": ""}', type=CapabilityToken)


def test_selectors() -> None:
    """A selector is made by the name of what it matches."""
    assert MethodSelector.exact("get") == MethodSelector("exact", "get")
    assert MethodSelector.prefix("storage.") == MethodSelector("prefix", "storage.")
    assert MethodSelector.any() == MethodSelector("any", "")


@pytest.mark.parametrize("make", [MethodSelector.exact, MethodSelector.prefix])
def test_a_selector_needs_a_name(make: Any) -> None:
    """Without a name there is only any()."""
    with pytest.raises(ValueError, match="name must not be empty"):
        make("")
    with pytest.raises(ValueError, match="name must be '', not 'get'"):
        MethodSelector("any", "get")


@pytest.mark.parametrize("name", QuotaSet.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, -math.inf])
def test_a_quota_is_positive(name: str, value: float) -> None:
    """Zero, less than zero, and not a number are no quotas; the message names which."""
    with pytest.raises(ValueError, match=f"^{name} must be a positive"):
        QuotaSet(**{name: value})


@pytest.mark.parametrize("name", GlobalLimits.__struct_fields__)
def test_a_limit_is_not_negative(name: str) -> None:
    """Zero is a limit, less is none; the message names which."""
    assert getattr(GlobalLimits(**{name: 0}), name) == 0
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 0 or None, not -1"):
        GlobalLimits(**{name: -1})


@pytest.mark.parametrize("kind", [QuotaSet, GlobalLimits])
@pytest.mark.parametrize("value", [True, False, "1", [1]])
def test_what_is_no_number_is_no_quota(kind: Any, value: Any) -> None:
    """Booleans above all, which are 1 and 0 elsewhere; the message names which."""
    for name in kind.__struct_fields__:
        with pytest.raises(TypeError, match=f"^{name} must be a"):
            kind(**{name: value})


@pytest.mark.parametrize("value", [0.5, 1.0, math.nan, math.inf])
def test_a_limit_is_a_whole_number(value: Any) -> None:
    """Of what is counted one by one there are no fractions."""
    for name in GlobalLimits.__struct_fields__:
        with pytest.raises(TypeError, match=f"^{name} must be a whole number"):
            GlobalLimits(**{name: value})


def test_a_burst_is_whole() -> None:
    """Less than one at once would mean never. A rate may be a fraction."""
    with pytest.raises(ValueError, match=r"^burst must be a positive whole number"):
        QuotaSet(ops_per_sec=0.5, burst=0.5)
    assert QuotaSet(ops_per_sec=0.5, burst=2.0).burst == 2


def test_a_thousand_attenuations() -> None:
    """However often a set is attenuated, it can be used, compared and shown."""
    narrow = other = CapabilitySet({"storage": (MethodRule(MethodSelector.any()),)})
    for _ in range(5000):
        narrow, other = narrow.attenuate(), other.attenuate()
    narrow.authorize("storage", "get")
    narrow.meter().authorize("storage", "get")
    with pytest.raises(CapabilityDenied):
        narrow.authorize("network", "open")
    assert narrow == other
    assert narrow != other.attenuate()
    assert narrow != CapabilitySet()
    assert repr(narrow).count("within=") == 5001


def test_each_narrower_set_counts_for_the_wider() -> None:
    """The use of a set that was attenuated is that of what it came from, whichever was used first."""
    one = CapabilitySet({"storage": (MethodRule(MethodSelector.any(), QuotaSet(ops_per_sec=0.001, burst=2)),)})
    two, three = one.attenuate(), one.attenuate().attenuate()
    three.authorize("storage", "get")
    two.authorize("storage", "get")
    for each in (one, two, three):
        with pytest.raises(QuotaExceeded):
            each.authorize("storage", "get")


def test_the_callers_later_changes_are_not_seen() -> None:
    """What the caller does to its own lists later changes no capability."""
    rules = [MethodRule(MethodSelector.any())]
    allowed: Any = {"storage": rules}
    capabilities = CapabilitySet(allowed)
    rules.append(MethodRule(MethodSelector.exact("get")))
    allowed["network"] = rules
    assert capabilities == CapabilitySet({"storage": (MethodRule(MethodSelector.any()),)})


def test_a_service_has_a_name() -> None:
    """Rules for a service without a name are refused."""
    with pytest.raises(ValueError, match="allowed"):
        CapabilitySet({"": ()})
