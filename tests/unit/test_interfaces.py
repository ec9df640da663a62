"""The values that cross the interfaces refuse what cannot be meant."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from authkit import interfaces
from authkit.errors import ConfigurationError
from authkit.interfaces import (
    KeyLease,
    RateLimit,
    Refreshable,
    RequestContext,
    Revocation,
    RevocationScope,
)
from authkit.principal import Principal

ISSUER = "https://login.example.com"


def test_the_values_refuse_assignment() -> None:
    """They are shared between tasks and backends; only a lease is meant to move."""
    for name in interfaces.__all__:
        value = getattr(interfaces, name)
        if dataclasses.is_dataclass(value):
            parameters = value.__dataclass_params__  # type: ignore[attr-defined] # the only place it says so
            assert parameters.frozen, name
            assert "__slots__" in vars(value), name
    lease = KeyLease(trusted_until=1.0)
    lease.trusted_until = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        RequestContext().client_address = "192.0.2.1"  # type: ignore[misc] # refused at run time too


class TestRevocation:
    """A revocation that contradicts itself is never made."""

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"scope": "subject"}, "scope"),
            ({"issuer": ""}, "issuer"),
            ({"id": ""}, "id"),
            ({"id": 7}, "id"),
            ({"issuer": None}, "issuer"),
            ({"expires_at": "tomorrow"}, "expires_at"),
            ({"issued_until": True}, "issued_until"),
            ({"scope": RevocationScope.ISSUER}, "id"),
            ({"scope": RevocationScope.TOKEN, "issued_until": 1.0}, "issued_until"),
            ({"scope": RevocationScope.VERSION}, "minimum_version"),
            ({"minimum_version": 2}, "minimum_version"),
            *(
                ({"scope": RevocationScope.VERSION, "minimum_version": wrong}, "minimum_version")
                for wrong in ("3", 3.0, True, float("nan"), 2**63)
            ),
            ({"issued_until": float("nan")}, "issued_until"),
            ({"issued_until": float("inf")}, "issued_until"),
            ({"expires_at": float("inf")}, "expires_at"),
        ],
    )
    def test_contradictions_are_refused(self, fields: dict[str, Any], named: str) -> None:
        """The message names the field."""
        good = {"scope": RevocationScope.SUBJECT, "issuer": ISSUER, "id": "alice"}
        Revocation(**good)
        with pytest.raises(ConfigurationError, match=named):
            Revocation(**{**good, **fields})

    @pytest.mark.parametrize("scope", list(RevocationScope))
    def test_every_scope_can_be_made(self, scope: RevocationScope) -> None:
        """With what it needs, and nothing else."""
        id = "" if scope is RevocationScope.ISSUER else "x"
        version = 2 if scope is RevocationScope.VERSION else None
        made = Revocation(scope=scope, issuer=ISSUER, id=id, minimum_version=version)
        assert made.scope.value == scope.name.lower()

    def test_it_can_be_made_of_a_principal(self) -> None:
        """It names the token, and lives as long as that could."""
        caller = Principal(subject="alice", issuer=ISSUER, token_id="t-1", expires_at=5.0)
        assert Revocation.of(caller, reason="logout") == Revocation(
            scope=RevocationScope.TOKEN, issuer=ISSUER, id="t-1", expires_at=5.0, reason="logout"
        )

    def test_it_can_cover_more_than_the_token(self) -> None:
        """The session, the subject or the client of the caller, if the token names one."""
        caller = Principal(
            subject="alice", issuer=ISSUER, token_id="t-1", expires_at=5.0, session_id="s-1"
        )
        for scope, id in ((RevocationScope.SUBJECT, "alice"), (RevocationScope.SESSION, "s-1")):
            assert Revocation.of(caller, scope) == Revocation(scope=scope, issuer=ISSUER, id=id)
        for scope in (RevocationScope.CLIENT, RevocationScope.ISSUER, RevocationScope.VERSION):
            with pytest.raises(ConfigurationError, match=scope.value):
                Revocation.of(caller, scope)


class TestRateLimit:
    """A limit that allows nothing, or cannot be counted, is never made."""

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"name": ""}, "name"),
            ({"by": "ip"}, "by must be"),
            ({"rate": 0}, "rate"),
            ({"rate": True}, "rate"),
            ({"rate": 1.5}, "whole"),
            ({"rate": "600"}, "rate"),
            ({"per_seconds": None}, "per_seconds"),
            ({"burst": -1}, "burst"),
            ({"burst": 0.5}, "whole"),
            ({"per_seconds": 0}, "per_seconds"),
            ({"per_seconds": float("nan")}, "per_seconds"),
            ({"per_seconds": float("inf")}, "per_seconds"),
        ],
    )
    def test_senseless_numbers_are_refused(self, fields: dict[str, Any], named: str) -> None:
        """The message names the field."""
        good: dict[str, Any] = {
            "name": "api",
            "rate": 1,
            "per_seconds": 1.0,
            "burst": 1,
            "by": "subject",
        }
        RateLimit(**good)
        with pytest.raises(ConfigurationError, match=named):
            RateLimit(**{**good, **fields})


def test_an_ability_is_found_by_its_methods() -> None:
    """A backend registers nothing and inherits nothing."""

    class Mine:
        async def refresh(self) -> None: ...

    assert isinstance(Mine(), Refreshable)
    assert not isinstance(object(), Refreshable)
