"""Fixtures for pytest, by `pytest_plugins = ["authkit.testing.plugin"]` in the root conftest.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from authkit.clock import SystemClock
from authkit.jose.signing import SigningKey
from authkit.testing.audit import AssertingAuditSink
from authkit.testing.clock import ManualClock
from authkit.testing.local_issuer import LocalIssuer
from authkit.testing.signing_in import signed_in

if TYPE_CHECKING:
    from fastapi import FastAPI

    from authkit.fastapi import Auth, SignedIn
    from authkit.principal import Principal

__all__ = ["SignIn", "audit_sink", "authkit_clock", "local_issuer", "sign_in"]

# A failure in a contract suite then shows the values that were compared.
pytest.register_assert_rewrite("authkit.testing.contracts")


class SignIn(Protocol):
    """What the fixture `sign_in` gives: `signed_in` that lasts until the end of the test."""

    def __call__(
        self,
        app: FastAPI,
        auth: Auth,
        caller: Principal | str | None = "alice",
        *,
        scopes: Collection[str] = (),
        roles: Collection[str] = (),
        claims: Mapping[str, Any] | None = None,
    ) -> SignedIn:
        """Signs every later request of the test in; a later call replaces an earlier one.

        With `revoke()` of what it gives, the caller's token is revoked.
        """
        ...


@pytest.fixture
def authkit_clock() -> ManualClock:
    """A clock that stands still at the present: the machine's clock agrees with it at first."""
    return ManualClock(start=float(int(SystemClock().time())))


@pytest.fixture(scope="session")
def _authkit_signing_key() -> SigningKey:
    # An RSA key takes about a tenth of a second to make: one does for the whole run.
    return SigningKey.generate("RS256")


@pytest.fixture
def local_issuer(authkit_clock: ManualClock, _authkit_signing_key: SigningKey) -> LocalIssuer:
    """An issuer of this test alone, on `authkit_clock`; offline until `local_issuer.serving()`."""
    return LocalIssuer(signing_key=_authkit_signing_key, clock=authkit_clock)


@pytest.fixture
def audit_sink() -> AssertingAuditSink:
    """An audit sink to give to a Verifier, and to ask what was recorded."""
    return AssertingAuditSink()


@pytest.fixture
def sign_in(authkit_clock: ManualClock) -> Iterator[SignIn]:
    """Signs the test in as any principal: `sign_in(app, auth, "alice", scopes=["orders:read"])`."""
    with ExitStack() as until_the_end:

        def sign(
            app: FastAPI, auth: Auth, caller: Principal | str | None = "alice", **fields: Any
        ) -> SignedIn:
            return until_the_end.enter_context(
                signed_in(app, auth, caller, clock=authkit_clock, **fields)
            )

        yield sign
