"""Takes the bearer token out of a request's headers, by the rules of RFC 6750 section 2.1."""

from __future__ import annotations

import re
from collections.abc import Iterable

from authkit.errors import CredentialMalformed

__all__ = ["bearer_credential"]

_ALPHA_DIGIT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
_B64TOKEN_MARKS = _ALPHA_DIGIT + b"-._~+/"
# A name that goes on with one of these is that of another scheme (tchar, RFC 9110 section 5.6.2).
_NAME_MARKS = frozenset(bytes([mark]) for mark in _ALPHA_DIGIT + b"!#$%&'*+-.^_`|~")
# Any character of a parameter's name may be percent-encoded (RFC 3986 section 2.1).
_ACCESS_TOKEN = b"".join(b"(?:%c|(?i:%%%02x))" % (mark, mark) for mark in b"access_token")
_names_token = re.compile(rb"[&;]" + _ACCESS_TOKEN + rb"(?:[=&;]|\Z)").search


def bearer_credential(
    headers: Iterable[tuple[bytes, bytes]], query_string: bytes = b""
) -> str | CredentialMalformed | None:
    """The bearer token of a request, without its scheme.

    A token in the query string or in the body is never used (RFC 9700 section 4.3.2); the
    query is looked at only to refuse a request that presents two credentials.

    Args:
        headers: names in lower case and values, as ASGI gives them.
        query_string: still percent-encoded, as ASGI gives it.

    Returns:
        The token; None where there is none of our scheme; the error, not raised, where
        there is one that is badly formed, so that the verifier can put it on record.
    """
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                return CredentialMalformed("a request may carry one Authorization header only")
            found = value
    if found is None or found[:6].lower() != b"bearer" or found[6:7] in _NAME_MARKS:
        return None
    token = found[7:]
    unpadded = token.rstrip(b"=")
    # What is left without the marks that may be there: a third of the time of a pattern.
    if found[6:7] != b" " or not unpadded or unpadded.translate(None, _B64TOKEN_MARKS):
        return CredentialMalformed(
            "the Authorization header must be 'Bearer', one space and the token"
        )
    if query_string and _names_token(b"&" + query_string):
        return CredentialMalformed(
            "a request may carry its token in the Authorization header only, "
            "not in the query string as well"
        )
    return token.decode("ascii")
