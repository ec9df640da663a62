"""Takes the bearer token out of a request's headers, by the rules of RFC 6750 section 2.1."""

from __future__ import annotations

import re
from collections.abc import Iterable

from authkit.errors import CredentialMalformed

__all__ = ["bearer_credential"]

_SCHEME = re.compile(rb"bearer(?![!#$%&'*+\-.^_`|~0-9a-z])", re.IGNORECASE)
_B64TOKEN = re.compile(rb" ([A-Za-z0-9\-._~+/]+=*)")
_QUERY_TOKEN = re.compile(rb"(?:^|[&;])access_token(?:=|&|;|$)")


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
    if found is None:
        return None
    scheme = _SCHEME.match(found)
    if scheme is None:
        return None
    token = _B64TOKEN.fullmatch(found, scheme.end())
    if token is None:
        return CredentialMalformed(
            "the Authorization header must be 'Bearer', one space and the token"
        )
    if query_string and _QUERY_TOKEN.search(query_string):
        return CredentialMalformed(
            "a request may carry its token in the Authorization header only, "
            "not in the query string as well"
        )
    return token[1].decode("ascii")
