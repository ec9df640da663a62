"""Tokens and revocations for the suite of a RevocationStore."""

from __future__ import annotations

from typing import Any

import pytest

from authkit.interfaces import Revocation, RevocationScope, TokenFacts

__all__ = [
    "EACH_ID_SCOPE",
    "EACH_OPTIONAL_SCOPE",
    "EACH_SCOPE",
    "EACH_UNTIL_SCOPE",
    "FIELD",
    "ISSUER",
    "OTHER_ISSUER",
    "revocation",
    "token",
    "token_with",
]

ISSUER = "https://issuer.example"
OTHER_ISSUER = "https://issuer.example/"

FIELD = {
    RevocationScope.TOKEN: "token_id",
    RevocationScope.SESSION: "session_id",
    RevocationScope.SUBJECT: "subject",
    RevocationScope.CLIENT: "client_id",
    RevocationScope.VERSION: "subject",
    RevocationScope.KEY: "key_thumbprint",
}
"""The token's field that the id of a revocation is compared with."""

_OPTIONAL = [
    RevocationScope.SESSION,
    RevocationScope.SUBJECT,
    RevocationScope.CLIENT,
    RevocationScope.VERSION,
]
_UNTIL = [RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER]

EACH_SCOPE = pytest.mark.parametrize("scope", list(RevocationScope), ids=str)
EACH_ID_SCOPE = pytest.mark.parametrize("scope", list(FIELD), ids=str)
EACH_OPTIONAL_SCOPE = pytest.mark.parametrize("scope", _OPTIONAL, ids=str)
EACH_UNTIL_SCOPE = pytest.mark.parametrize("scope", _UNTIL, ids=str)


def token(now: float, **changes: Any) -> TokenFacts:
    """A token of version 3 that was issued a second ago and lives for five minutes."""
    facts: dict[str, Any] = {
        "issuer": ISSUER,
        "token_id": "token-1",
        "subject": "subject-1",
        "client_id": "client-1",
        "session_id": "session-1",
        "issued_at": now - 1,
        "expires_at": now + 299,
        "token_version": 3,
        "key_thumbprint": "thumbprint-1",
    }
    return TokenFacts(**(facts | changes))


def token_with(now: float, scope: RevocationScope, text: str | None, **changes: Any) -> TokenFacts:
    """A token that has `text` where a revocation of this scope looks."""
    return token(now, **{FIELD[scope]: text}, **changes)


def revocation(scope: RevocationScope, id: str | None = None, **changes: Any) -> Revocation:
    """A revocation that covers `token(now)`, or one like it with another id."""
    if id is None:
        id = "" if scope is RevocationScope.ISSUER else getattr(token(0), FIELD[scope])
    if scope is RevocationScope.VERSION:
        changes.setdefault("minimum_version", 4)
    changes.setdefault("issuer", ISSUER)
    return Revocation(scope=scope, id=id, **changes)
