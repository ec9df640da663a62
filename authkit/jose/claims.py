"""The values of a verified token's claims, of the types that RFC 7519 gives them and no others."""

from __future__ import annotations

from authkit.errors import ClaimRejected

__all__ = ["date", "text", "texts"]

# Beyond these a float no longer tells one second from the next.
_FIRST_DATE, _LAST_DATE = -(2**53), 2**53


def date(name: str, value: object) -> float:
    """`value` in seconds since the epoch, if it is a NumericDate (RFC 7519 section 2).

    A finite number, and no bool.

    Raises:
        ClaimRejected: it is not; `name` is the claim that it came from.
    """
    # A NaN fails both comparisons, an infinity or an integer too large for a float one of them.
    kind = type(value)
    if (kind is int or kind is float) and _FIRST_DATE <= value <= _LAST_DATE:  # type: ignore[operator] # a number, by its exact type
        return float(value)  # type: ignore[arg-type] # likewise
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
