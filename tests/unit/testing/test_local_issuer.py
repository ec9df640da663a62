"""LocalIssuer: real tokens of any kind, offline and from a real key server."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from authkit import NoRevocation, Principal, RemoteKeyProvider, TrustedIssuer, Verifier
from authkit.errors import (
    AudienceMismatch,
    BackendUnavailable,
    ConfigurationError,
    KeyNotFound,
    SignatureInvalid,
    TokenExpired,
    TokenMalformed,
)
from authkit.jose.jwa import ASYMMETRIC_ALGORITHMS
from authkit.jose.signing import SigningKey
from authkit.testing import AssertingAuditSink, LocalIssuer, ManualClock

RSA_KEY = SigningKey.generate("RS256")


@pytest.fixture
def clock() -> ManualClock:
    """The time of issuer and verifier."""
    return ManualClock()


@pytest.fixture
def issuer(clock: ManualClock) -> LocalIssuer:
    """An issuer whose first key is ready."""
    return LocalIssuer(signing_key=RSA_KEY, clock=clock)


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "===")) for part in (header, payload))


async def _verified(trusted: TrustedIssuer, token: str, clock: ManualClock) -> Principal:
    verifier = Verifier(
        trusted, revocations=NoRevocation(), audit=AssertingAuditSink(), clock=clock
    )
    async with verifier:
        return await verifier.verify(token)


def _remote(issuer: LocalIssuer, clock: ManualClock, **options: Any) -> RemoteKeyProvider:
    return RemoteKeyProvider(issuer.issuer, insecure_loopback_http=True, clock=clock, **options)


def _get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


# Tokens -------------------------------------------------------------------------------------------


def test_a_token_has_the_shape_of_rfc_9068(issuer: LocalIssuer, clock: ManualClock) -> None:
    """Section 2: type, algorithm, key id, and every claim that is required."""
    header, claims = _parts(issuer.token("bob", scopes=["a", "b"], roles=["admin"]))
    assert header == {"alg": "RS256", "kid": RSA_KEY.kid, "typ": "at+jwt"}
    now = int(clock.time())
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://issuer.test",
        "sub": "bob",
        "aud": "test-api",
        "client_id": "test-client",
        "iat": now,
        "exp": now + 300,
        "scope": "a b",
        "roles": ["admin"],
    }


def test_each_token_has_an_id_of_its_own(issuer: LocalIssuer) -> None:
    """So that one can be revoked without the other."""
    assert _parts(issuer.token())[1]["jti"] != _parts(issuer.token())[1]["jti"]


def test_claims_and_headers_can_be_added_changed_and_removed(issuer: LocalIssuer) -> None:
    """None removes, everything else is taken as given."""
    header, claims = _parts(
        issuer.token(
            claims={"jti": None, "exp": "soon", "tenant": {"id": 1}},
            headers={"kid": None, "typ": "JWT", "x": 1},
        )
    )
    assert header == {"alg": "RS256", "typ": "JWT", "x": 1}
    assert "jti" not in claims
    assert claims["exp"] == "soon"
    assert claims["tenant"] == {"id": 1}


def test_what_is_not_given_is_left_out(issuer: LocalIssuer) -> None:
    """No empty scope, no null subject."""
    claims = _parts(issuer.token(None))[1]
    assert {"sub", "scope", "roles"}.isdisjoint(claims)


@pytest.mark.anyio
async def test_a_good_token_is_accepted_offline(issuer: LocalIssuer, clock: ManualClock) -> None:
    """`trusted()` needs no network, and the strict profile accepts the tokens."""
    caller = await _verified(
        issuer.trusted(profile="rfc9068"), issuer.token("bob", scopes=["x"], roles=["r"]), clock
    )
    assert (caller.subject, caller.client_id) == ("bob", "test-client")
    assert caller.scopes == {"x"}
    assert caller.roles == {"r"}


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", sorted(ASYMMETRIC_ALGORITHMS))
async def test_every_asymmetric_algorithm_signs(algorithm: str, clock: ManualClock) -> None:
    """Whichever the application is configured for."""
    issuer = LocalIssuer(algorithm=algorithm, clock=clock)
    assert _parts(issuer.token())[0]["alg"] == algorithm
    assert (await _verified(issuer.trusted(), issuer.token(), clock)).subject == "alice"


@pytest.mark.anyio
async def test_a_further_algorithm_gets_a_published_key(
    issuer: LocalIssuer, clock: ManualClock
) -> None:
    """One issuer signs by several algorithms, and keys handed out before know of it."""
    trusted = issuer.trusted()
    token = issuer.token(algorithm="ES256")
    assert (await _verified(trusted, token, clock)).subject == "alice"
    assert [key["alg"] for key in issuer.jwks()["keys"]] == ["RS256", "ES256"]


@pytest.mark.anyio
async def test_bad_tokens_are_refused_as_what_they_are(
    issuer: LocalIssuer, clock: ManualClock
) -> None:
    """Expired, meant for others, forged, without a published key, or no JWT at all."""
    forger = SigningKey.generate("RS256", kid=RSA_KEY.kid)
    for token, error in (
        (issuer.token(expires_in=-60), TokenExpired),
        (issuer.token(audience="other"), AudienceMismatch),
        (issuer.token(key=forger), SignatureInvalid),
        (issuer.token(headers={"kid": "unknown"}), KeyNotFound),
        (issuer.opaque_token(), TokenMalformed),
    ):
        with pytest.raises(error):
            await _verified(issuer.trusted(), token, clock)


def test_a_symmetric_algorithm_is_refused_with_a_way_out() -> None:
    """A shared secret cannot be published; the message says how to sign with one."""
    with pytest.raises(ConfigurationError, match=r"token\(key=SigningKey.from_jwk"):
        LocalIssuer(algorithm="HS256")
    with pytest.raises(ConfigurationError, match="RS256"):
        LocalIssuer(signing_key=RSA_KEY).token(algorithm="none")


@pytest.mark.parametrize("field", ["scopes", "roles"])
def test_one_string_is_not_a_list_of_names(issuer: LocalIssuer, field: str) -> None:
    """Its letters would each become a scope, and the test would fail for no visible reason."""
    with pytest.raises(TypeError, match=rf"{field} must be a list of names.*\['orders:read'\]"):
        issuer.token(**{field: "orders:read"})  # type: ignore[arg-type]


def test_threads_agree_on_the_first_key() -> None:
    """A server's thread may publish the key while a test signs its first token."""
    issuer = LocalIssuer(algorithm="ES256")
    with ThreadPoolExecutor(8) as threads:
        published = {
            keys.result()["keys"][0]["kid"]
            for keys in [threads.submit(issuer.jwks) for _ in range(8)]
        }
    assert published == {issuer.signing_key.kid}


def test_a_signing_key_for_another_algorithm_is_refused() -> None:
    """Rather than tokens that nobody expects."""
    with pytest.raises(ConfigurationError, match="for RS256, not ES256"):
        LocalIssuer(algorithm="ES256", signing_key=RSA_KEY)


def test_its_representation_names_it_and_shows_no_key(issuer: LocalIssuer) -> None:
    """For failure messages."""
    assert repr(issuer) == "LocalIssuer('https://issuer.test', audience='test-api')"


# Keys ---------------------------------------------------------------------------------------------


def test_the_key_set_is_public() -> None:
    """Nothing private is ever published."""
    issuer = LocalIssuer(algorithm="ES256")
    (key,) = issuer.jwks()["keys"]
    assert key["kid"] == issuer.signing_key.kid
    assert "d" not in key


@pytest.mark.anyio
async def test_after_a_rotation_with_overlap_old_and_new_tokens_are_good(
    clock: ManualClock,
) -> None:
    """Old keys stay published."""
    issuer = LocalIssuer(algorithm="ES256", clock=clock)
    trusted, old = issuer.trusted(), issuer.token()
    issuer.rotate()
    assert _parts(issuer.token())[0]["kid"] != _parts(old)[0]["kid"]
    for token in (old, issuer.token()):
        assert (await _verified(trusted, token, clock)).subject == "alice"


@pytest.mark.anyio
async def test_after_a_rotation_without_overlap_old_tokens_are_refused(clock: ManualClock) -> None:
    """Every old key is gone, those kept by an earlier rotation too."""
    issuer = LocalIssuer(algorithm="ES256", clock=clock)
    trusted, old = issuer.trusted(), issuer.token()
    issuer.rotate()
    issuer.rotate(keep_old=False)
    with pytest.raises(KeyNotFound):
        await _verified(trusted, old, clock)
    assert (await _verified(trusted, issuer.token(), clock)).subject == "alice"


# Serving ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_served_issuer_is_discovered_like_a_real_one(clock: ManualClock) -> None:
    """By RemoteKeyProvider, over HTTP, from its address alone."""
    async with LocalIssuer(algorithm="ES256", clock=clock).serving() as issuer:
        assert issuer.issuer.startswith("http://127.0.0.1:")
        trusted = issuer.trusted(keys=_remote(issuer, clock))
        assert (await _verified(trusted, issuer.token("bob"), clock)).subject == "bob"
        assert issuer.hits == {"/.well-known/openid-configuration": 1, "/jwks": 1}


def test_a_synchronous_test_can_serve_too() -> None:
    """Metadata by both standards, the key set, and how long it may be cached."""
    with LocalIssuer(algorithm="ES256", max_age_seconds=42).serving() as issuer:
        metadata = _get(issuer.discovery_url)
        assert metadata.json()["issuer"] == issuer.issuer
        assert metadata.json()["jwks_uri"] == issuer.jwks_url
        alternative = f"{issuer.issuer}/.well-known/oauth-authorization-server"
        assert _get(alternative).json() == metadata.json()
        keys = _get(issuer.jwks_url)
        assert keys.json() == issuer.jwks()
        assert keys.headers["cache-control"] == "max-age=42"
        assert _get(f"{issuer.issuer}/nothing").status_code == 404


def test_going_down_and_coming_back() -> None:
    """503 without a word about caching, then everything again."""
    with LocalIssuer(algorithm="ES256").serving() as issuer:
        issuer.go_down()
        reply = _get(issuer.jwks_url)
        assert reply.status_code == 503
        assert "cache-control" not in reply.headers
        issuer.come_back()
        assert _get(issuer.jwks_url).status_code == 200
        assert issuer.hits["/jwks"] == 2


@pytest.mark.anyio
async def test_a_verifier_rides_out_an_outage_with_known_keys_only(clock: ManualClock) -> None:
    """Known keys serve on; a verifier that never saw any cannot tell."""
    async with LocalIssuer(algorithm="ES256", clock=clock).serving() as issuer:
        verifier = Verifier(
            issuer.trusted(keys=_remote(issuer, clock)),
            revocations=NoRevocation(),
            audit=AssertingAuditSink(),
            clock=clock,
        )
        async with verifier:
            await verifier.verify(issuer.token())
            issuer.go_down()
            assert (await verifier.verify(issuer.token("bob"))).subject == "bob"
        with pytest.raises(BackendUnavailable):
            await _verified(issuer.trusted(keys=_remote(issuer, clock)), issuer.token(), clock)


def test_the_address_stays_when_it_is_served_again() -> None:
    """Tokens and configuration of the first time stay true; in between, connections are refused."""
    issuer = LocalIssuer(algorithm="ES256")
    with issuer.serving():
        address = issuer.issuer
    assert issuer.issuer == address
    with pytest.raises(httpx.ConnectError):
        _get(issuer.jwks_url)
    with issuer.serving():
        assert issuer.issuer == address
        assert _get(issuer.jwks_url).status_code == 200


def test_an_issuer_of_your_own_keeps_its_name_while_served() -> None:
    """The metadata names it, wherever it is served."""
    name = "https://login.example.com"
    with LocalIssuer(issuer=name, algorithm="ES256").serving() as issuer:
        assert issuer.issuer == name
        assert _get(issuer.discovery_url).json()["issuer"] == name
