"""The verified caller, shared read-only by every request that carries its token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Self, cast

__all__ = ["Principal", "assemble_principal"]


def _frozen(value: Any) -> Any:
    """The same JSON value with read-only objects and tuples for arrays, all the way down."""
    if isinstance(value, (list, tuple)):
        return tuple([_frozen(inner) for inner in value])
    if isinstance(value, (dict, Mapping)):  # dict first: the abstract class takes 0.2 µs to answer
        return _frozen_object(value)
    return value


def _frozen_object(value: Mapping[str, Any]) -> Mapping[str, Any]:
    members = dict(value)
    for name, inner in members.items():
        if type(inner) not in _SCALARS:
            members[name] = _frozen(inner)
    return MappingProxyType(members)


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _thawed(value: Any) -> Any:
    if isinstance(value, MappingProxyType):
        return {name: _thawed(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_thawed(inner) for inner in value]
    return value


class _Fields:
    """The fields of a Principal, open for assignment while it is made and never after."""

    __slots__ = (
        "_claims",
        "_facts",
        "authenticated_at",
        "client_id",
        "expires_at",
        "issued_at",
        "issuer",
        "roles",
        "scopes",
        "session_id",
        "subject",
        "token_id",
    )

    subject: str | None
    issuer: str
    client_id: str | None
    scopes: frozenset[str]
    roles: frozenset[str]
    token_id: str
    session_id: str | None
    issued_at: float | None
    expires_at: float
    authenticated_at: float | None
    _claims: Mapping[str, Any]
    _facts: object


class Principal(_Fields):
    """Who calls, as proven by a verified token.

    It refuses assignment and its claims are read-only all the way down (objects are
    mapping proxies, arrays are tuples), because one Principal serves every request of
    its token.  Two are equal when all their fields are.

    Attributes:
        subject: `sub`, or None where the issuer leaves it out.
        issuer: `iss`.
        client_id: the OAuth client that the token was issued to, or None.
        scopes: what the token was granted.
        roles: the caller's roles, by the issuer's claim mapping.
        token_id: the mapped claim (`jti`), else the SHA-256 of the signing input in hex.
        session_id: `sid`, or None.
        issued_at: `iat` in seconds since the epoch, or None.
        expires_at: `exp` in seconds since the epoch.
        authenticated_at: `auth_time` in seconds since the epoch, or None.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        subject: str | None,
        issuer: str,
        client_id: str | None = None,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        token_id: str,
        session_id: str | None = None,
        issued_at: float | None = None,
        expires_at: float,
        authenticated_at: float | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> Self:
        principal = assemble_principal(
            subject=subject,
            issuer=issuer,
            client_id=client_id,
            scopes=frozenset(scopes),
            roles=frozenset(roles),
            token_id=token_id,
            session_id=session_id,
            issued_at=issued_at,
            expires_at=expires_at,
            authenticated_at=authenticated_at,
            claims=_frozen_object({} if claims is None else claims),
            kind=cls,
        )
        return cast(Self, principal)

    @property
    def claims(self) -> Mapping[str, Any]:
        """Every claim of the token."""
        claims = self._claims
        # A token's own are still as they were parsed: most requests never ask for them.
        if type(claims) is not MappingProxyType:
            claims = _frozen_object(claims)
            object.__setattr__(self, "_claims", claims)
        return claims

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Principal is read-only: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Principal is read-only: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Principal):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _NAMES)

    def __hash__(self) -> int:
        return hash((self.issuer, self.subject, self.token_id))

    def __repr__(self) -> str:
        return (
            f"Principal(subject={self.subject!r}, issuer={self.issuer!r}, "
            f"client_id={self.client_id!r}, scopes={sorted(self.scopes)}, "
            f"roles={sorted(self.roles)})"
        )

    def __copy__(self) -> Principal:
        return self

    def __deepcopy__(self, memo: object) -> Principal:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: _thawed(getattr(self, name)) for name in _NAMES}
        return _rebuilt, (fields,)


_NAMES = ("claims", *(name for name in _Fields.__slots__ if not name.startswith("_")))


def assemble_principal(
    *,
    subject: str | None,
    issuer: str,
    client_id: str | None,
    scopes: frozenset[str],
    roles: frozenset[str],
    token_id: str,
    session_id: str | None,
    issued_at: float | None,
    expires_at: float,
    authenticated_at: float | None,
    claims: Mapping[str, Any],
    facts: object = None,
    kind: type[Principal] = Principal,
) -> Principal:
    """A Principal as its class makes it, every field given and of its own type.

    `facts` are what a revocation store asks for, where a token was proven; they are no part of
    its value, and stay behind when it is pickled.

    For what makes one for each new token: calling a class with keywords takes 1 µs more.  The
    claims are not copied; whoever hands them over lets go of them.
    """
    # Half the price of going around __setattr__ for each field.
    fields: Any = _Fields()
    fields.subject = subject
    fields.issuer = issuer
    fields.client_id = client_id
    fields.scopes = scopes
    fields.roles = roles
    fields.token_id = token_id
    fields.session_id = session_id
    fields.issued_at = issued_at
    fields.expires_at = expires_at
    fields.authenticated_at = authenticated_at
    fields._claims = claims
    fields._facts = facts
    fields.__class__ = kind  # the same slots, closed from here on
    principal: Principal = fields
    return principal


def _rebuilt(fields: dict[str, Any]) -> Principal:
    return Principal(**fields)
