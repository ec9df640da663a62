"""The closed family of errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from authkit import errors
from authkit.errors import (
    AudienceMismatch,
    AuthkitError,
    BackendUnavailable,
    ClaimRejected,
    ConfigurationError,
    CredentialMalformed,
    CredentialMissing,
    InsufficientScope,
    KeyNotFound,
    RateLimited,
    RequirementNotMet,
    StepUpRequired,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenRefused,
    TokenRevoked,
)

EXAMPLES: list[AuthkitError] = [
    ConfigurationError("do this"),
    CredentialMissing(),
    CredentialMalformed("two headers"),
    TokenMalformed("no dot", code="token_opaque"),
    KeyNotFound("0123456789abcdef"),
    ClaimRejected("exp", "missing"),
    TokenExpired(),
    TokenNotYetValid("iat"),
    AudienceMismatch(),
    TokenRevoked("subject"),
    StepUpRequired(max_age_seconds=60, acr_values=["mfa"]),
    InsufficientScope(["b", "a"]),
    RequirementNotMet("roles", ["admin"]),
    RateLimited(["api"], 1.5),
    BackendUnavailable("keys", code="key_unknown_unconfirmed", retry_after_seconds=7),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)  # our own bytes
def test_an_error_survives_being_copied(error: AuthkitError, copied: Any) -> None:
    """Task queues and process pools pickle what is raised."""
    again = copied(error)
    assert type(again) is type(error)
    assert (str(again), again.code) == (str(error), error.code)
    assert vars(again) == vars(error)


def test_every_class_has_a_code_of_its_own() -> None:
    """Its name in snake_case, unless a narrower one is given."""
    classes = [getattr(errors, name) for name in errors.__all__ if name != "ClaimReason"]
    codes = [one.code for one in classes]
    assert len(set(codes)) == len(codes)
    assert TokenExpired().code == "token_expired"
    assert BackendUnavailable("keys").code == "backend_unavailable"
    assert TokenMalformed("x", code="token_opaque").code == "token_opaque"
    assert TokenMalformed("x").code == "token_malformed"


def test_the_family_has_one_root() -> None:
    """One `except` catches everything that authkit raises."""
    classes = [getattr(errors, name) for name in errors.__all__ if name != "ClaimReason"]
    assert all(issubclass(one, AuthkitError) for one in classes)


@pytest.mark.parametrize(
    "kind",
    [
        "TokenMalformed",
        "AlgorithmNotAllowed",
        "IssuerNotTrusted",
        "KeyNotFound",
        "SignatureInvalid",
        "ClaimRejected",
        "TokenRevoked",
    ],
)
def test_a_bad_token_is_one_kind_of_error(kind: str) -> None:
    """Whatever is wrong with it, the answer is 401."""
    assert issubclass(getattr(errors, kind), TokenRefused)


@pytest.mark.parametrize(
    "kind",
    [
        "CredentialMissing",
        "InsufficientScope",
        "RateLimited",
        "BackendUnavailable",
        "StepUpRequired",
    ],
)
def test_what_is_not_the_tokens_fault_is_another_kind(kind: str) -> None:
    """Above all an outage, which must never look like a bad token."""
    assert not issubclass(getattr(errors, kind), TokenRefused)


def test_what_was_needed_is_in_fields() -> None:
    """Sorted, so that a challenge is the same every time."""
    assert InsufficientScope({"b", "a"}).scopes == ("a", "b")
    assert RequirementNotMet("claims", {"y", "x"}).names == ("x", "y")
    assert ClaimRejected("nbf", "invalid").reason == "invalid"
    assert RateLimited(["api"], 1.5).retry_after_seconds == 1.5
    assert BackendUnavailable("keys").interface == "keys"
    assert KeyNotFound().kid_hash is None
