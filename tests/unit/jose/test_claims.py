"""The values of claims are of the types of RFC 7519, and of no other."""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import ClaimRejected
from authkit.jose.claims import date, text, texts

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


@pytest.mark.parametrize("value", NOT_A_DATE, ids=repr)
def test_a_date_that_is_not_a_finite_number_is_refused(value: Any) -> None:
    """A NumericDate is a finite number and no bool (RFC 7519 section 2)."""
    with pytest.raises(ClaimRejected) as caught:
        date("exp", value)
    assert (caught.value.claim, caught.value.reason) == ("exp", "invalid")


@pytest.mark.parametrize("value", [1.5, 0, -3, 2**53, -(2**53), float(2**53)])
def test_a_date_is_a_float_whatever_it_was(value: float) -> None:
    """RFC 7519 section 2 allows fractions of a second."""
    assert date("exp", value) == value
    assert type(date("exp", value)) is float


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2.0**54, -1e300])
def test_a_date_that_no_double_tells_from_the_next_second_is_refused(value: float) -> None:
    """Comparing it with the time would say nothing."""
    with pytest.raises(ClaimRejected):
        date("exp", value)


@pytest.mark.parametrize(("value", "expected"), [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_texts_are_a_string_or_an_array(value: Any, expected: tuple[str, ...]) -> None:
    """Both forms that RFC 7519 section 4.1.3 gives an audience."""
    assert texts("aud", value) == expected


@pytest.mark.parametrize(
    "value", [None, "", 1, True, {"a": 1}, ["a", ""], ["a", 1], ["a", None], [["a"]]], ids=repr
)
def test_texts_of_another_type_are_refused(value: Any) -> None:
    """What cannot be compared exactly is no audience and no role."""
    with pytest.raises(ClaimRejected) as caught:
        texts("aud", value)
    assert (caught.value.claim, caught.value.reason) == ("aud", "invalid")


def test_a_text_is_given_as_it_is() -> None:
    """Neither trimmed nor changed."""
    assert text("sub", " Alice ") == " Alice "


@pytest.mark.parametrize("value", [None, "", 1, True, ["alice"], {"id": 1}], ids=repr)
def test_a_text_that_is_none_is_refused(value: Any) -> None:
    """A present but empty or mistyped subject must not turn into a caller without one."""
    with pytest.raises(ClaimRejected) as caught:
        text("sub", value)
    assert (caught.value.claim, caught.value.reason) == ("sub", "invalid")
