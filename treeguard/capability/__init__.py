"""What a child may call and how often: capabilities, quotas, and the tokens that prove a child's identity."""

from .authorizer import Authorizer, Permit
from .bundle import CapabilityBundle, CapabilitySet, CapabilityToken
from .rules import GlobalLimits, MethodRule, MethodSelector, QuotaSet
from .tokens import InMemoryTokenValidator, TokenBinding, TokenValidator

__all__ = [
    "Authorizer",
    "CapabilityBundle",
    "CapabilitySet",
    "CapabilityToken",
    "GlobalLimits",
    "InMemoryTokenValidator",
    "MethodRule",
    "MethodSelector",
    "Permit",
    "QuotaSet",
    "TokenBinding",
    "TokenValidator",
]
