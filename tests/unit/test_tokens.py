"""Tokens: good once, for one child, for a while, and never seen."""

import gc
import logging
import math
from typing import Any
from uuid import UUID

import pytest

from treeguard import CapabilityBundle, CapabilityDenied, CapabilitySet, ProcessId
from treeguard.capability import (
    CapabilityToken,
    InMemoryTokenValidator,
    MethodRule,
    MethodSelector,
    TokenBinding,
    TokenValidator,
)

from ..support.clock import Clock

PID, OTHER = ProcessId(UUID(int=1)), ProcessId(UUID(int=2))
STORAGE = CapabilitySet({"storage": (MethodRule(MethodSelector.any()),)})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def validator(clock: Clock) -> InMemoryTokenValidator:
    return InMemoryTokenValidator(lifetime=10, clock=clock)


def test_tokens_have_256_random_bits() -> None:
    """They are text that fits on a line, and all different."""
    tokens = {CapabilityToken.generate() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token.text) for token in tokens} == {43}
    assert all(token.text.isascii() and token.text.isprintable() for token in tokens)


def test_tokens_are_compared_whole() -> None:
    """Equal means the same text, whatever it is made of; nothing else is a token."""
    assert CapabilityToken("a") == CapabilityToken("a")
    assert CapabilityToken("a") != CapabilityToken("ab")
    assert CapabilityToken("\ud800é") == CapabilityToken("\ud800é")
    assert hash(CapabilityToken("a")) == hash(CapabilityToken("a"))
    assert CapabilityToken("a") != "a"


def test_a_token_says_whose_it_is(validator: InMemoryTokenValidator, clock: Clock) -> None:
    """The binding has the child and its capabilities; the tree that it came from may be checked with it."""
    any_validator: TokenValidator = validator
    bundle = validator.issue(PID, STORAGE)
    assert bundle.capabilities == STORAGE
    assert any_validator.validate(bundle.token, PID) == TokenBinding(PID, STORAGE, clock.now + 10)
    assert validator.validate(validator.issue(PID).token) == TokenBinding(PID, CapabilitySet(), clock.now + 10)


def test_a_token_is_good_once(validator: InMemoryTokenValidator) -> None:
    """A replayed token is denied."""
    token = validator.issue(PID).token
    validator.validate(token, PID)
    with pytest.raises(CapabilityDenied, match="unknown, used or revoked"):
        validator.validate(token, PID)


@pytest.mark.parametrize("text", ["x", "\0", "\ud800", "x" * 1_000_000])
def test_a_wrong_token_is_denied(validator: InMemoryTokenValidator, text: str) -> None:
    """Whatever it looks like; and it does no harm to the right one."""
    token = validator.issue(PID).token
    with pytest.raises(CapabilityDenied):
        validator.validate(CapabilityToken(text), PID)
    with pytest.raises(CapabilityDenied):
        validator.validate(CapabilityToken(token.text[:-1]), PID)
    validator.validate(token, PID)


def test_a_token_expires(validator: InMemoryTokenValidator, clock: Clock) -> None:
    """Up to its end it is good, from then on it is not."""
    early, late = validator.issue(PID), validator.issue(OTHER, lifetime=10.5)
    clock.now += 9.999
    validator.validate(early.token)
    early = validator.issue(PID)
    clock.now += 10
    for token in (early.token, late.token):
        with pytest.raises(CapabilityDenied, match="expired"):
            validator.validate(token)
    assert len(validator) == 0


def test_another_childs_token_is_denied(validator: InMemoryTokenValidator) -> None:
    """It is valid for its own tree only, and stays valid there after an attempt to steal it."""
    token = validator.issue(PID).token
    with pytest.raises(CapabilityDenied, match=f"{OTHER} showed is that of {PID}"):
        validator.validate(token, OTHER)
    validator.validate(token, PID)


def test_a_token_is_revoked(validator: InMemoryTokenValidator) -> None:
    """Only the child's own token is revoked. To revoke a token that does not exist is no error."""
    token, other = validator.issue(PID).token, validator.issue(OTHER).token
    validator.revoke(PID)
    validator.revoke(PID)
    with pytest.raises(CapabilityDenied):
        validator.validate(token)
    validator.validate(other, OTHER)
    validator.revoke(OTHER)


def test_a_newer_token_replaces_the_older(validator: InMemoryTokenValidator) -> None:
    """A child has one at a time."""
    older, newer = validator.issue(PID).token, validator.issue(PID).token
    with pytest.raises(CapabilityDenied):
        validator.validate(older)
    validator.validate(newer)


def test_a_bundle_from_elsewhere_is_registered(validator: InMemoryTokenValidator) -> None:
    """One token names one child: the same for two is refused, and the first keeps it."""
    bundle = CapabilityBundle(CapabilityToken("s3cret"), STORAGE)
    validator.register(bundle, PID)
    for pid in (PID, OTHER):
        with pytest.raises(ValueError, match=f"for {PID}") as caught:
            validator.register(bundle, pid)
        assert "s3cret" not in str(caught.value)
    assert validator.validate(bundle.token).pid == PID


@pytest.mark.parametrize("lifetime", [0, -1, math.inf, math.nan])
def test_a_lifetime_ends(validator: InMemoryTokenValidator, lifetime: float) -> None:
    """No token is good for ever, and none from the beginning useless."""
    with pytest.raises(ValueError, match=r"^lifetime"):
        InMemoryTokenValidator(lifetime=lifetime)
    with pytest.raises(ValueError, match=r"^lifetime"):
        validator.issue(PID, lifetime=lifetime)
    assert len(validator) == 0


def test_memory_is_bounded(validator: InMemoryTokenValidator, clock: Clock) -> None:
    """Children that never came do not pile up, nor do those that did."""
    for i in range(10_000):
        clock.now += 0.1
        bundle = validator.issue(ProcessId(UUID(int=i + 1)))
        if i % 2:
            validator.validate(bundle.token)
        assert len(validator) <= 2 * 100
    assert len(validator._bindings) == len(validator._digests)


def test_secrets_are_not_kept(validator: InMemoryTokenValidator, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that the validator holds, shows or raises has the text of a token in it."""
    caplog.set_level(logging.DEBUG)
    text = CapabilityToken.generate().text
    validator.register(CapabilityBundle(CapabilityToken(text)), PID)
    with pytest.raises(CapabilityDenied) as caught:
        validator.validate(CapabilityToken(text), OTHER)
    shown = f"{validator!r} {vars(validator)} {caught.value!r} {caplog.text}"
    assert text not in shown
    gc.collect()
    assert not [thing for thing in _reachable(validator) if isinstance(thing, str) and text in thing]
    assert not [thing for thing in _reachable(validator) if isinstance(thing, bytes) and text.encode() in thing]


def _reachable(thing: Any) -> list[Any]:
    """Everything that a validator's own attributes lead to, as far as it is data."""
    found, todo = [], [vars(thing)]
    while todo:
        found.append(one := todo.pop())
        if isinstance(one, dict | list | tuple):
            todo += [*one.keys(), *one.values()] if isinstance(one, dict) else one
        elif hasattr(one, "__struct_fields__"):
            todo += [getattr(one, name) for name in one.__struct_fields__]
    return found
