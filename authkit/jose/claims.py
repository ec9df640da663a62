"""The registered claims of a verified token, of the types that RFC 7519 section 4.1 gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authkit.errors import ClaimRejected

__all__ = ["Claims", "text", "texts"]

# Beyond these a float no longer tells one second from the next.
_FIRST_DATE, _LAST_DATE = -(2**53), 2**53


class Claims:
    """Verified claims whose registered ones have been read.

    Attributes:
        values: every claim as it came, the registered ones included.
        audience: `aud` as a tuple; empty where the token has none.
        subject: `sub`, or None.
        expires_at: `exp` in seconds since the epoch, or None.
        not_before: `nbf`, likewise.
        issued_at: `iat`, likewise.
        authenticated_at: `auth_time` (OpenID Connect Core section 2), likewise.
    """

    __slots__ = (
        "audience",
        "authenticated_at",
        "expires_at",
        "issued_at",
        "not_before",
        "subject",
        "values",
    )

    def __init__(self, values: Mapping[str, Any], audience_claim: str = "aud") -> None:
        """Reads the registered claims.

        Args:
            values: the claims of a token whose signature is good.
            audience_claim: the claim that holds the audience.

        Raises:
            ClaimRejected: one of them has a wrong type, with the reason `invalid`.
        """
        self.values = values
        # Each is asked for by `in` first: what is absent costs no call, and a null is not absent.
        self.audience = (
            texts(audience_claim, values[audience_claim]) if audience_claim in values else ()
        )
        self.subject = text("sub", values["sub"]) if "sub" in values else None
        self.expires_at = _date("exp", values["exp"]) if "exp" in values else None
        self.not_before = _date("nbf", values["nbf"]) if "nbf" in values else None
        self.issued_at = _date("iat", values["iat"]) if "iat" in values else None
        self.authenticated_at = (
            _date("auth_time", values["auth_time"]) if "auth_time" in values else None
        )


def _date(name: str, value: Any) -> float:
    """A NumericDate (RFC 7519 section 2): a finite number, and no bool."""
    # A NaN fails both comparisons, an infinity or an integer too large for a float one of them.
    if (type(value) is int or type(value) is float) and _FIRST_DATE <= value <= _LAST_DATE:
        return float(value)
    raise ClaimRejected(name, "invalid")


def text(name: str, value: object) -> str:
    """`value`, if it is a string that is not empty.

    Raises:
        ClaimRejected: it is not; `name` is the claim that it came from.
    """
    if type(value) is str and value:
        return value
    raise ClaimRejected(name, "invalid")


def texts(name: str, value: object) -> tuple[str, ...]:
    """`value` as a tuple, if it is a string or an array of strings, none of them empty.

    Raises:
        ClaimRejected: it is not; `name` is the claim that it came from.
    """
    if type(value) is str and value:
        return (value,)
    if type(value) is list and all(type(member) is str and member for member in value):
        return tuple(value)
    raise ClaimRejected(name, "invalid")
