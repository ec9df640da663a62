"""Where an issuer keeps what a Principal needs, with the mappings of known providers by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from authkit.errors import ConfigurationError

__all__ = ["MAPPINGS", "ClaimMapping", "ClaimPath"]

ClaimPath = str | tuple[str, ...]
"""A claim by its name, or a member of nested objects by all the names on the way to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMapping:
    """Where to find what the standard leaves open.

    Each is a tuple of paths; the first claim that is present counts, except for `roles`,
    where all are joined.  A claim that is there with a wrong type refuses the token: what
    cannot be read cannot be revoked or required either.

    Attributes:
        client_id: the OAuth client, a string.
        scopes: the granted scopes: a string with spaces between them, or an array of strings.
        roles: the caller's roles: a string or an array of strings.
        token_id: the token's id, a string.
        session_id: the session's id, a string.
        token_version: the version of the subject's tokens, a whole number.
        audience: the name of the claim with the audience.

    Raises:
        ConfigurationError: a path is neither a name nor a tuple of names.
    """

    client_id: tuple[ClaimPath, ...] = ("client_id", "azp")
    scopes: tuple[ClaimPath, ...] = ("scope", "scp")
    roles: tuple[ClaimPath, ...] = ("roles",)
    token_id: tuple[ClaimPath, ...] = ("jti",)
    session_id: tuple[ClaimPath, ...] = ("sid",)
    token_version: tuple[ClaimPath, ...] = ()
    audience: str = "aud"

    def __post_init__(self) -> None:
        for entry in fields(self):
            paths = getattr(self, entry.name)
            if entry.name == "audience":
                paths = (paths,) if isinstance(paths, str) else None
            if not isinstance(paths, tuple) or not all(map(_is_path, paths)):
                raise ConfigurationError(
                    f"ClaimMapping {entry.name}: give a tuple of claim names, or of tuples of "
                    "names for nested claims, e.g. roles=('roles', ('realm_access', 'roles'))"
                )

    @classmethod
    def keycloak(cls, client_id: str) -> ClaimMapping:
        """Keycloak's mapping with the roles of one client beside those of the realm."""
        roles = (*MAPPINGS["keycloak"].roles, ("resource_access", client_id, "roles"))
        return cls(client_id=("azp",), session_id=("sid", "session_state"), roles=roles)


def _is_path(path: object) -> bool:
    names = path if isinstance(path, tuple) else (path,)
    return bool(names) and all(isinstance(name, str) and name for name in names)


MAPPINGS: Mapping[str, ClaimMapping] = MappingProxyType(
    {
        "standard": ClaimMapping(),
        "keycloak": ClaimMapping(
            client_id=("azp",),
            roles=(("realm_access", "roles"),),
            session_id=("sid", "session_state"),
        ),
        "entra": ClaimMapping(client_id=("azp", "appid"), scopes=("scp",), token_id=("uti", "jti")),
        "auth0": ClaimMapping(client_id=("azp", "client_id"), roles=("permissions",)),
        "cognito": ClaimMapping(
            client_id=("client_id",),
            roles=("cognito:groups",),
            session_id=("origin_jti",),
            audience="client_id",
        ),
        "okta": ClaimMapping(client_id=("cid",), scopes=("scp",), roles=("groups",)),
        "google": ClaimMapping(client_id=("azp",), roles=()),
    }
)
"""The mappings by provider; `entra` is Microsoft Entra ID with a single tenant."""
