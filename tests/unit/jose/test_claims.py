"""Registered claims are read with the types of RFC 7519, and with no other."""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import ClaimRejected
from authkit.jose.claims import Claims, text, texts

NOT_A_DATE: list[Any] = [
    True,
    False,
    "1",
    "",
    None,
    [],
    {},
    [1],
    float("nan"),
    float("inf"),
    10**400,
    -(10**400),
]


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "auth_time"])
@pytest.mark.parametrize("value", NOT_A_DATE, ids=repr)
def test_a_date_that_is_not_a_finite_number_is_refused(name: str, value: Any) -> None:
    """A NumericDate is a finite number and no bool (RFC 7519 section 2)."""
    with pytest.raises(ClaimRejected) as caught:
        Claims({name: value})
    assert (caught.value.claim, caught.value.reason) == (name, "invalid")


def test_dates_may_be_fractional() -> None:
    """RFC 7519 section 2 allows fractions of a second."""
    claims = Claims({"exp": 1.5, "nbf": 0, "iat": -3, "auth_time": 2**53})
    assert (claims.expires_at, claims.not_before) == (1.5, 0.0)
    assert (claims.issued_at, claims.authenticated_at) == (-3.0, 2.0**53)


def test_absent_claims_are_none() -> None:
    """What the token does not say is told from what it says wrongly."""
    claims = Claims({})
    assert claims.audience == ()
    assert claims.subject is None
    assert claims.expires_at is claims.not_before is claims.issued_at is None
    assert claims.authenticated_at is None


@pytest.mark.parametrize(("value", "expected"), [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_an_audience_is_a_string_or_an_array(value: Any, expected: tuple[str, ...]) -> None:
    """Both forms of RFC 7519 section 4.1.3 give a tuple."""
    assert Claims({"aud": value}).audience == expected


@pytest.mark.parametrize(
    "value", [None, "", 1, True, {"a": 1}, ["a", ""], ["a", 1], ["a", None], [["a"]]], ids=repr
)
def test_an_audience_of_another_type_is_refused(value: Any) -> None:
    """An audience that cannot be compared exactly is no audience."""
    with pytest.raises(ClaimRejected) as caught:
        Claims({"aud": value})
    assert (caught.value.claim, caught.value.reason) == ("aud", "invalid")


def test_the_audience_may_be_kept_in_another_claim() -> None:
    """Some providers put the service's name in a claim of their own."""
    assert Claims({"client_id": "web"}, audience_claim="client_id").audience == ("web",)


@pytest.mark.parametrize("value", [None, "", 1, True, ["alice"], {"id": 1}], ids=repr)
def test_a_subject_that_is_not_a_text_is_refused(value: Any) -> None:
    """A present but empty or mistyped subject must not turn into a caller without one."""
    with pytest.raises(ClaimRejected) as caught:
        Claims({"sub": value})
    assert caught.value.claim == "sub"


def test_texts_and_text_name_the_claim_that_is_wrong() -> None:
    """The error says which claim to look at."""
    with pytest.raises(ClaimRejected, match="'roles'"):
        texts("roles", {"admin": True})
    with pytest.raises(ClaimRejected, match="'sid'"):
        text("sid", 7)
