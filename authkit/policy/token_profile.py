"""What kind of token is wanted, and by what a token shows that it is of another kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from authkit.errors import TokenTypeNotAllowed

__all__ = ["PROFILES", "TokenProfile"]

# Keycloak's `typ` claim, and `token_use` of Cognito and others, compared in lower case.
_OTHER_KINDS = frozenset({"id", "refresh", "offline", "logout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProfile:
    """A kind of token.

    Attributes:
        token_types: the values of the header's `typ` that it comes with; None is no `typ`.
        required_claims: the claims that it must have.
        foreign_claims: the claims that it never has (RFC 8725 section 3.12).
        token_use: what its `token_use` says, where it has one.
    """

    token_types: tuple[str | None, ...]
    required_claims: tuple[str, ...]
    foreign_claims: frozenset[str]
    token_use: str

    @property
    def telling_claims(self) -> frozenset[str]:
        """The claims by which a token can show that it is of another kind."""
        return self.foreign_claims | {"token_use", "typ"}

    def check(self, values: Mapping[str, Any]) -> None:
        """Returns if nothing in the claims shows another kind of token.

        Raises:
            TokenTypeNotAllowed: it is an ID, refresh or logout token where an access token is
                wanted, or the other way round.
        """
        if not self.foreign_claims.isdisjoint(values):
            raise TokenTypeNotAllowed(min(self.foreign_claims & values.keys()))
        use = values.get("token_use")
        if use is not None and use != self.token_use:
            raise TokenTypeNotAllowed("token_use")
        kind = values.get("typ")
        if kind is not None and self._is_other_kind(kind):
            raise TokenTypeNotAllowed("typ")

    def _is_other_kind(self, kind: object) -> bool:
        name = kind.lower() if isinstance(kind, str) else ""
        return name in _OTHER_KINDS and name != self.token_use


_ACCESS = TokenProfile(
    token_types=(None, "JWT", "at+jwt"),
    required_claims=("iss", "aud", "exp"),
    foreign_claims=frozenset({"at_hash", "c_hash", "events"}),
    token_use="access",
)

PROFILES: Mapping[str, TokenProfile] = MappingProxyType(
    {
        "access_token": _ACCESS,
        # RFC 9068 sections 2.2 and 4.
        "rfc9068": TokenProfile(
            token_types=("at+jwt",),
            required_claims=("iss", "aud", "exp", "sub", "client_id", "iat", "jti"),
            foreign_claims=_ACCESS.foreign_claims,
            token_use="access",
        ),
        # OpenID Connect Core sections 2 and 3.1.3.7; a logout token is told by its `events`.
        "id_token": TokenProfile(
            token_types=(None, "JWT"),
            required_claims=("iss", "sub", "aud", "exp", "iat"),
            foreign_claims=frozenset({"events"}),
            token_use="id",
        ),
    }
)
