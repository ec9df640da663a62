"""What routes ask of a caller."""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import ConfigurationError, InsufficientScope, RequirementNotMet, StepUpRequired
from authkit.policy import Requirement
from authkit.principal import Principal

NOW = 1_800_000_000.0


def caller(**fields: Any) -> Principal:
    return Principal(
        **{
            "subject": "alice",
            "issuer": "https://login.example.com",
            "token_id": "t-1",
            "expires_at": NOW + 60,
            "scopes": {"a", "b"},
            "roles": {"admin"},
            **fields,
        }
    )


def test_nothing_required_is_always_met() -> None:
    """An empty requirement refuses nobody."""
    Requirement().check(caller(scopes=()), NOW)


def test_all_scopes_are_needed() -> None:
    """The error names what is needed, for the challenge."""
    Requirement(scopes=["a", "b"]).check(caller(), NOW)
    with pytest.raises(InsufficientScope) as caught:
        Requirement(scopes=["c", "a"]).check(caller(), NOW)
    assert (caught.value.scopes, caught.value.is_any) == (("a", "c"), False)


def test_one_of_any_scope_is_needed() -> None:
    """Either of them opens the route."""
    Requirement(any_scope=["b", "c"]).check(caller(), NOW)
    with pytest.raises(InsufficientScope) as caught:
        Requirement(any_scope=["d", "c"]).check(caller(), NOW)
    assert (caught.value.scopes, caught.value.is_any) == (("c", "d"), True)


def test_all_roles_are_needed() -> None:
    """A role is not a scope: the answer is another error."""
    Requirement(roles=["admin"]).check(caller(), NOW)
    with pytest.raises(RequirementNotMet) as caught:
        Requirement(roles=["admin", "root"]).check(caller(), NOW)
    assert (caught.value.requirement, caught.value.names) == ("roles", ("admin", "root"))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("gold", "gold"), ("gold", ["silver", "gold"]), (True, True), (1, 1), (1, 1.0), (0, [0])],
)
def test_a_claim_with_the_value_meets_it(wanted: Any, found: Any) -> None:
    """As it is, or as a member of an array."""
    Requirement(claims={"tier": wanted}).check(caller(claims={"tier": found}), NOW)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("gold", "golden"),
        ("gold", None),
        ("gold", []),
        ("gold", {"gold": 1}),
        (True, 1),
        (1, True),
        ("1", 1),
        (False, 0),
    ],
)
def test_a_claim_with_another_value_does_not(wanted: Any, found: Any) -> None:
    """No substring, no conversion: a bool is not a number here."""
    with pytest.raises(RequirementNotMet) as caught:
        Requirement(claims={"tier": wanted}).check(caller(claims={"tier": found}), NOW)
    assert (caught.value.requirement, caught.value.names) == ("claims", ("tier",))


def test_a_claim_that_is_missing_does_not_meet_it() -> None:
    """An absent claim equals nothing."""
    with pytest.raises(RequirementNotMet):
        Requirement(claims={"tier": "gold"}).check(caller(), NOW)


@pytest.mark.parametrize("authenticated_at", [None, 0.0, NOW - 301, NOW + 61, NOW * 1000])
def test_an_old_or_unknown_authentication_asks_for_a_new_one(
    authenticated_at: float | None,
) -> None:
    """RFC 9470: the challenge says how old it may be."""
    Requirement(max_age_seconds=300).check(caller(authenticated_at=NOW - 300), NOW)
    with pytest.raises(StepUpRequired) as caught:
        Requirement(max_age_seconds=300, acr_values=["mfa"]).check(
            caller(authenticated_at=authenticated_at), NOW
        )
    assert (caught.value.max_age_seconds, caught.value.acr_values) == (300, ("mfa",))


def test_a_weak_authentication_asks_for_a_stronger_one() -> None:
    """One of the contexts is enough; their order is kept for the challenge."""
    need = Requirement(acr_values=["phr", "mfa"])
    need.check(caller(claims={"acr": "mfa"}), NOW)
    for claims in ({}, {"acr": "pwd"}, {"acr": None}, {"acr": ["mfa"]}):
        with pytest.raises(StepUpRequired) as caught:
            need.check(caller(claims=claims), NOW)
        assert caught.value.acr_values == ("phr", "mfa")


def test_what_no_authentication_could_mend_is_said_first() -> None:
    """Sending a user to log in again would not help."""
    with pytest.raises(InsufficientScope):
        Requirement(scopes=["c"], max_age_seconds=1).check(caller(), NOW)


def test_requirements_are_equal_and_hashable_by_value() -> None:
    """FastAPI resolves equal dependencies once."""
    make = lambda: Requirement(scopes=["a", "b"], claims={"x": 1, "y": "z"}, max_age_seconds=5)  # noqa: E731 # called twice on purpose
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != Requirement(scopes=["a"])
    assert Requirement(claims={"x": 1}) != Requirement(claims={"x": True})
    assert Requirement() != "requirement"


def test_requirements_are_read_only() -> None:
    """They are shared by every request of a route."""
    need = Requirement(scopes=["a"])
    with pytest.raises(AttributeError):
        need.scopes = frozenset()
    assert repr(need) == "Requirement(scopes=frozenset({'a'}))"


@pytest.mark.parametrize(
    "options",
    [
        {"scopes": "orders:read"},
        {"any_scope": "a"},
        {"roles": "admin"},
        {"acr_values": "mfa"},
        {"scopes": [""]},
        {"roles": [None]},
        {"claims": {"a": None}},
        {"claims": {"a": ["b"]}},
        {"scopes": 5},
        {"scopes": None},
        {"claims": [1]},
        {"claims": {1: "a"}},
        {"max_age_seconds": "x"},
        {"max_age_seconds": 0},
        {"max_age_seconds": -1},
        {"max_age_seconds": float("inf")},
        {"max_age_seconds": float("nan")},
    ],
    ids=repr,
)
def test_a_requirement_that_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    """Above all a string where a list belongs, whose letters would be scopes."""
    with pytest.raises(ConfigurationError):
        Requirement(**options)
