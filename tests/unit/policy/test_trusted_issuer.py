"""What a trusted issuer's tokens must say, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from authkit.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    ClaimRejected,
    ConfigurationError,
    TokenExpired,
    TokenLifetimeTooLong,
    TokenNotYetValid,
    TokenTypeNotAllowed,
)
from authkit.interfaces import KeyLease, TokenFacts
from authkit.jose.jwa import ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHMS
from authkit.jose.jwk import JWK
from authkit.jose.jws import SignedPayload, UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey
from authkit.policy import ClaimMapping, TrustedIssuer
from authkit.principal import Principal

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com"
KEY = SigningKey.generate("ES256", kid="k1")
VERIFICATION_KEY = JWK(KEY.public_jwk()).verification_key(KeyLease(trusted_until=float("inf")))

# What a claim or an option is set to in order to be left out.
OUT: Any = object()


def payload_of(header: Mapping[str, Any] | None = None, **changes: Any) -> SignedPayload:
    """A payload that the issuer's key really signed; good unless changed."""
    claims = {
        "iss": ISSUER,
        "aud": "orders",
        "sub": "alice",
        "iat": NOW - 60,
        "exp": NOW + 240,
        "jti": "t-1",
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not OUT}
    token = UnverifiedToken.parse(KEY.sign({"typ": "at+jwt"} if header is None else header, claims))
    return verify_signature(token, token.header(), (VERIFICATION_KEY,))


def issuer_of(**options: Any) -> TrustedIssuer:
    return TrustedIssuer(ISSUER, "orders", **options)


def accept(
    issuer: TrustedIssuer | None = None,
    header: Mapping[str, Any] | None = None,
    now: float = NOW,
    **changes: Any,
) -> tuple[Principal, TokenFacts]:
    return (issuer or issuer_of()).accept(payload_of(header, **changes), now)


def test_a_good_token_gives_its_principal_and_facts() -> None:
    """Every field of both is filled from the claims."""
    principal, facts = accept(
        client_id="web", scope="a b", roles=["admin"], sid="s-1", auth_time=NOW - 90
    )
    assert (principal.subject, principal.issuer, principal.client_id) == ("alice", ISSUER, "web")
    assert (principal.scopes, principal.roles) == (frozenset({"a", "b"}), frozenset({"admin"}))
    assert (principal.token_id, principal.session_id) == ("t-1", "s-1")
    assert (principal.issued_at, principal.expires_at) == (NOW - 60, NOW + 240)
    assert principal.authenticated_at == NOW - 90
    assert principal.claims["scope"] == "a b"
    assert facts == TokenFacts(
        issuer=ISSUER,
        token_id="t-1",
        subject="alice",
        client_id="web",
        session_id="s-1",
        issued_at=NOW - 60,
        expires_at=NOW + 240,
        token_version=None,
        key_thumbprint=VERIFICATION_KEY.thumbprint,
    )


def test_a_token_without_an_id_is_named_by_what_was_signed() -> None:
    """The hash of the signing input, which no spelling of the signature changes."""
    payload = payload_of(jti=OUT)
    principal, facts = issuer_of().accept(payload, NOW)
    assert principal.token_id == facts.token_id == payload.signing_input_sha256()


@pytest.mark.parametrize("seconds", [10.0, 10.001, 3600.0])
def test_an_expired_token_is_refused_from_expiry_plus_leeway(seconds: float) -> None:
    """RFC 7519 section 4.1.4: on or after."""
    with pytest.raises(TokenExpired):
        accept(exp=NOW - seconds, iat=NOW - 4000)


def test_a_token_is_good_within_the_leeway_after_expiry() -> None:
    """The default leeway is 10 seconds."""
    assert accept(exp=NOW - 9.999)[0].expires_at == NOW - 9.999


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_of_the_future_is_refused_beyond_the_leeway(claim: str) -> None:
    """At most the leeway in the future, both for nbf and for iat."""
    accept(**{claim: NOW + 10})
    with pytest.raises(TokenNotYetValid) as caught:
        accept(**{claim: NOW + 10.5})
    assert caught.value.claim == claim


def test_a_leeway_of_zero_is_exact() -> None:
    """No skew is allowed when none is configured."""
    strict = issuer_of(leeway_seconds=0)
    with pytest.raises(TokenExpired):
        accept(strict, exp=NOW)
    accept(strict, exp=NOW + 0.5, nbf=NOW)


def test_a_token_that_lives_too_long_is_refused() -> None:
    """Its revocation would be forgotten before it ends."""
    accept(iat=NOW, exp=NOW + 86_400)
    with pytest.raises(TokenLifetimeTooLong):
        accept(iat=NOW, exp=NOW + 86_401)
    with pytest.raises(TokenLifetimeTooLong):
        accept(iat=OUT, exp=NOW + 86_401)


@pytest.mark.parametrize("value", [None, "1", True, [], float(2**54)], ids=repr)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat", "auth_time"])
def test_a_date_that_cannot_be_read_is_refused(claim: str, value: Any) -> None:
    """A null is not the same as a claim that is not there."""
    with pytest.raises(ClaimRejected) as caught:
        accept(**{claim: value})
    assert (caught.value.claim, caught.value.reason) == (claim, "invalid")


@pytest.mark.parametrize("value", [None, "", 7, ["alice"]], ids=repr)
def test_a_subject_that_is_no_text_is_refused(value: Any) -> None:
    """Such a caller could be neither named nor revoked."""
    with pytest.raises(ClaimRejected) as caught:
        accept(sub=value)
    assert (caught.value.claim, caught.value.reason) == ("sub", "invalid")


def test_what_a_token_leaves_out_is_none() -> None:
    """None of these is needed by every issuer."""
    principal, facts = accept(sub=OUT, iat=OUT)
    assert principal.subject is facts.subject is None
    assert principal.issued_at is facts.issued_at is principal.authenticated_at is None
    assert principal.client_id is principal.session_id is None
    assert principal.scopes == principal.roles == frozenset()


def test_a_claim_that_cannot_be_read_is_told_before_what_another_one_says() -> None:
    """The order is fixed: the types of the registered claims, then their meaning, then the rest."""
    with pytest.raises(ClaimRejected) as caught:
        accept(aud="other", iat="now")
    assert caught.value.claim == "iat"
    with pytest.raises(AudienceMismatch):
        accept(aud="other", exp=1, jti=7)
    with pytest.raises(TokenExpired):
        accept(exp=NOW - 60, jti=7)


@pytest.mark.parametrize("claim", ["exp", "aud"])
def test_exp_and_aud_are_required(claim: str) -> None:
    """A token without an end or a destination is refused."""
    with pytest.raises(ClaimRejected) as caught:
        accept(**{claim: OUT})
    assert (caught.value.claim, caught.value.reason) == (claim, "missing")


def test_further_claims_can_be_required() -> None:
    """`required_claims` adds to what the profile asks for."""
    with pytest.raises(ClaimRejected) as caught:
        accept(issuer_of(required_claims=["jti", "sub"]), sub=OUT, jti=OUT)
    assert (caught.value.claim, caught.value.reason) == ("jti", "missing")


@pytest.mark.parametrize(
    "audience", ["other", ["other", "ORDERS"], "orders ", "order", [], ["or", "ders"]]
)
def test_another_audience_is_refused(audience: Any) -> None:
    """The comparison is exact: no case folding, no substring, no prefix (CVE-2024-53861)."""
    with pytest.raises(AudienceMismatch):
        accept(aud=audience)


def test_one_of_several_audiences_is_enough() -> None:
    """Both sides may name several."""
    accept(aud=["billing", "orders"])
    TrustedIssuer(ISSUER, ["orders", "urn:orders"]).accept(payload_of(aud="urn:orders"), NOW)


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/JWT"]
)
def test_access_token_types_pass_in_any_spelling(typ: str) -> None:
    """Media types have no case, and `application/` may be left out (RFC 7515 section 4.1.9)."""
    accept(header={"typ": typ})
    accept(header={})


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "dpop+jwt", "JWE", "", "text/at+jwt", "at+jwt ", "secevent+jwt"]
)
def test_other_types_are_refused(typ: str) -> None:
    """A token of another kind is no access token (RFC 8725 section 3.11)."""
    with pytest.raises(TokenTypeNotAllowed):
        accept(header={"typ": typ})


@pytest.mark.parametrize(
    "claims",
    [
        {"at_hash": "x"},
        {"c_hash": "x"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        {"token_use": "id"},
        {"token_use": "refresh"},
        {"token_use": None},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": "Offline"},
        {"typ": "Logout"},
    ],
    ids=repr,
)
def test_a_token_that_shows_itself_as_another_kind_is_refused(claims: dict[str, Any]) -> None:
    """An ID, refresh or logout token must not open a door (RFC 8725 section 3.12)."""
    if claims == {"token_use": None}:
        accept(**claims)
        return
    with pytest.raises(TokenTypeNotAllowed):
        accept(**claims)


@pytest.mark.parametrize(
    "claims", [{"token_use": "access"}, {"typ": "Bearer"}, {"typ": 7}, {"nonce": "n"}]
)
def test_a_token_that_shows_itself_as_an_access_token_passes(claims: dict[str, Any]) -> None:
    """Marks of access tokens, and marks that mean nothing, do no harm."""
    assert accept(**claims)[0].subject == "alice"


class TestProfiles:
    """The presets for kinds of tokens."""

    def test_rfc9068_is_strict(self) -> None:
        """The type and all claims of RFC 9068 section 2.2 are required."""
        strict = issuer_of(profile="rfc9068")
        accept(strict, client_id="web")
        for claim in ("sub", "iat", "jti", "client_id"):
            with pytest.raises(ClaimRejected) as caught:
                accept(strict, **{"client_id": "web", claim: OUT})
            assert caught.value.claim == claim
        for header in ({}, {"typ": "JWT"}):
            with pytest.raises(TokenTypeNotAllowed):
                accept(strict, header, client_id="web")

    def test_an_id_token_passes_its_own_profile_alone(self) -> None:
        """What marks an ID token refuses it elsewhere, and is expected here."""
        marks = {"at_hash": "x", "token_use": "id", "nonce": "n", "typ": "ID"}
        preset = TrustedIssuer(ISSUER, "orders", profile="id_token")
        assert accept(preset, {}, **marks)[0].subject == "alice"
        with pytest.raises(TokenTypeNotAllowed):
            accept(None, {}, **marks)
        with pytest.raises(TokenTypeNotAllowed):
            accept(preset, {"typ": "at+jwt"})
        with pytest.raises(TokenTypeNotAllowed):
            accept(preset, {}, token_use="access")
        with pytest.raises(TokenTypeNotAllowed):
            accept(preset, {}, events={})

    def test_an_id_token_for_several_audiences_names_its_client(self) -> None:
        """OpenID Connect Core section 3.1.3.7, steps 4 and 5."""
        preset = issuer_of(profile="id_token")
        accept(preset, {}, aud=["orders", "other"], azp="orders")
        accept(preset, {}, aud="orders", azp="orders")
        for changes, reason in (
            ({}, "missing"),
            ({"azp": "other"}, "mismatch"),
            ({"azp": 1}, "invalid"),
            ({"azp": ["orders"]}, "invalid"),
        ):
            with pytest.raises(ClaimRejected) as caught:
                accept(preset, {}, aud=["orders", "other"], **changes)
            assert (caught.value.claim, caught.value.reason) == ("azp", reason)

    def test_token_types_can_be_named(self) -> None:
        """What is named replaces the profile's types."""
        issuer = issuer_of(token_types=["application/Special+JWT"])
        accept(issuer, {"typ": "special+jwt"})
        with pytest.raises(TokenTypeNotAllowed):
            accept(issuer, {"typ": "at+jwt"})
        with pytest.raises(TokenTypeNotAllowed):
            accept(issuer, {})


class TestMappings:
    """Where providers keep scopes, roles and the like."""

    @pytest.mark.parametrize(
        ("mapping", "claims", "expected"),
        [
            ("standard", {"scp": ["a"], "azp": "web"}, ("web", {"a"}, set(), "t-1", None)),
            (
                "keycloak",
                {"scope": "a", "azp": "web", "realm_access": {"roles": ["admin"]}, "sid": "s"},
                ("web", {"a"}, {"admin"}, "t-1", "s"),
            ),
            (
                "entra",
                {"scp": "a b", "appid": "web", "roles": ["admin"], "uti": "u-1"},
                ("web", {"a", "b"}, {"admin"}, "u-1", None),
            ),
            (
                "auth0",
                {"scope": "a", "azp": "web", "permissions": ["p"]},
                ("web", {"a"}, {"p"}, "t-1", None),
            ),
            (
                "okta",
                {"scp": ["a"], "cid": "web", "groups": ["g"]},
                ("web", {"a"}, {"g"}, "t-1", None),
            ),
            (
                "google",
                {"scope": "a", "azp": "web", "roles": ["no"]},
                ("web", {"a"}, set(), "t-1", None),
            ),
        ],
    )
    def test_a_provider_is_read_by_name(
        self, mapping: Any, claims: dict[str, Any], expected: tuple[Any, ...]
    ) -> None:
        """The named mappings fit the tokens of their providers."""
        principal, _ = accept(issuer_of(mapping=mapping), **claims)
        found = (
            principal.client_id,
            principal.scopes,
            principal.roles,
            principal.token_id,
            principal.session_id,
        )
        assert found == expected

    def test_cognito_names_its_client_as_the_audience(self) -> None:
        """Its access tokens have no `aud`."""
        issuer = TrustedIssuer(ISSUER, "app-client", mapping="cognito")
        claims = {
            "aud": OUT,
            "client_id": "app-client",
            "cognito:groups": ["g"],
            "token_use": "access",
        }
        principal, _ = accept(issuer, **claims, origin_jti="o-1")
        assert (principal.client_id, principal.roles) == ("app-client", frozenset({"g"}))
        assert principal.session_id == "o-1"
        with pytest.raises(AudienceMismatch):
            accept(issuer, **{**claims, "client_id": "other"})
        with pytest.raises(ClaimRejected):
            accept(issuer, aud="app-client")

    def test_keycloak_roles_of_a_client_join_those_of_the_realm(self) -> None:
        """Roles of other clients stay out."""
        access = {"web": {"roles": ["editor"]}, "other": {"roles": ["root"]}}
        principal, _ = accept(
            issuer_of(mapping=ClaimMapping.keycloak("web")),
            realm_access={"roles": ["user"]},
            resource_access=access,
        )
        assert principal.roles == {"user", "editor"}

    def test_nested_claims_that_are_not_there_are_absent(self) -> None:
        """A path that ends early names nothing."""
        issuer = issuer_of(mapping="keycloak")
        assert accept(issuer, realm_access={})[0].roles == frozenset()
        assert accept(issuer, realm_access="none")[0].roles == frozenset()

    def test_the_next_path_counts_where_one_ends_early(self) -> None:
        """A claim that is there does not hide another one, if the path does not lead to a value."""
        nested = ClaimMapping(
            client_id=(("app", "id"), "azp"),
            scopes=(("app", "scope"), "scp"),
            roles=(("app", "roles"), "groups"),
            token_version=(("app", "version"), "ver"),
        )
        values = {"app": {"other": 1}, "azp": "web", "scp": ["a"], "groups": "g", "ver": 3}
        principal, facts = accept(issuer_of(mapping=nested), **values)
        assert (principal.client_id, facts.token_version) == ("web", 3)
        assert (principal.scopes, principal.roles) == ({"a"}, {"g"})
        assert accept(issuer_of(mapping=nested), app={})[1].token_version is None

    def test_a_path_of_one_name_is_a_name(self) -> None:
        """Both spellings read the same claim."""
        assert accept(issuer_of(mapping=ClaimMapping(roles=(("roles",),))), roles="one")[
            0
        ].roles == {"one"}

    def test_the_version_of_a_token_is_a_whole_number(self) -> None:
        """It is compared with a minimum, so nothing else will do."""
        issuer = issuer_of(mapping=ClaimMapping(token_version=("ver",)))
        assert accept(issuer, ver=3)[1].token_version == 3
        assert accept(issuer)[1].token_version is None
        for wrong in ("3", 3.0, True, None):
            with pytest.raises(ClaimRejected):
                accept(issuer, ver=wrong)

    @pytest.mark.parametrize("claim", ["client_id", "jti", "sid"])
    @pytest.mark.parametrize("value", ["", None, 7, ["a"], {"a": 1}], ids=repr)
    def test_a_mistyped_identity_claim_is_refused(self, claim: str, value: Any) -> None:
        """What cannot be read cannot be revoked."""
        with pytest.raises(ClaimRejected) as caught:
            accept(**{claim: value})
        assert (caught.value.claim, caught.value.reason) == (claim, "invalid")

    @pytest.mark.parametrize("claim", ["scope", "roles"])
    @pytest.mark.parametrize("value", [None, 7, {"a": 1}, ["a", 1], [""]], ids=repr)
    def test_mistyped_scopes_and_roles_are_refused(self, claim: str, value: Any) -> None:
        """A grant that cannot be read is an error, not an empty grant."""
        with pytest.raises(ClaimRejected):
            accept(**{claim: value})

    def test_scopes_are_parted_by_spaces_alone(self) -> None:
        """RFC 6749 section 3.3; another white space is part of a scope's name."""
        assert accept(scope=" a  b\u00a0c\td ")[0].scopes == {"a", "b\u00a0c\td"}

    @pytest.mark.parametrize(
        "options",
        [
            {"roles": "roles"},
            {"roles": ("",)},
            {"roles": ((),)},
            {"audience": ("aud",)},
            {"audience": ""},
            {"scopes": (1,)},
        ],
        ids=repr,
    )
    def test_a_mapping_that_names_no_claims_is_refused(self, options: dict[str, Any]) -> None:
        """The message says what a path looks like."""
        with pytest.raises(ConfigurationError, match="claim names"):
            ClaimMapping(**options)


class TestConfiguration:
    """Wrong configuration fails at construction, with a message that says what to do."""

    @pytest.mark.parametrize("issuer", ["", "has space", "tab\tbed", None, 5])
    def test_the_issuer_is_a_text_without_spaces(self, issuer: Any) -> None:
        """Anything else could never equal an `iss` by intention."""
        with pytest.raises(ConfigurationError, match="issuer"):
            TrustedIssuer(issuer, "orders", jwks_url="https://login.example.com/jwks")

    @pytest.mark.parametrize("audience", ["", [], [""], [None], None, 5])
    def test_an_audience_is_required(self, audience: Any) -> None:
        """Without one, tokens made for other services would be accepted."""
        with pytest.raises(ConfigurationError, match="audience"):
            TrustedIssuer(ISSUER, audience)

    @pytest.mark.parametrize(
        "algorithms",
        [[], "RS256", "HS256,RS256", ["none"], ["rs256"], ["RS256", "RSA-OAEP"], None, [None]],
        ids=repr,
    )
    def test_algorithms_are_a_list_of_known_names(self, algorithms: Any) -> None:
        """No empty list, no string, no `none` (CVE-2026-28802 and others)."""
        with pytest.raises(ConfigurationError, match="algorithms"):
            issuer_of(algorithms=algorithms)

    def test_algorithms_default_to_the_asymmetric_ones(self) -> None:
        """A shared secret is never guessed at."""
        assert issuer_of().algorithms == ASYMMETRIC_ALGORITHMS
        assert not issuer_of().algorithms & SYMMETRIC_ALGORITHMS

    @pytest.mark.parametrize("algorithm", sorted(SYMMETRIC_ALGORITHMS))
    def test_symmetric_algorithms_need_keys_that_are_not_fetched(self, algorithm: str) -> None:
        """Whoever can read a published key set could sign with it (CVE-2017-11424 and others)."""

        class Fetched:
            async def find(self, kid: str | None, alg: str) -> tuple[()]:
                return ()

            async def refresh(self) -> None: ...

        with pytest.raises(ConfigurationError, match="shared secret"):
            issuer_of(algorithms=[algorithm])
        with pytest.raises(ConfigurationError, match="shared secret"):
            issuer_of(algorithms=[algorithm, "RS256"], keys=Fetched())

    def test_an_algorithm_that_is_not_allowed_is_refused(self) -> None:
        """The list is ours, never the token's."""
        issuer = issuer_of(algorithms=["RS256"])
        with pytest.raises(AlgorithmNotAllowed):
            issuer.check_algorithm(payload_of().header)
        issuer_of(algorithms=["ES256"]).check_algorithm(payload_of().header)

    @pytest.mark.parametrize("seconds", [-1, 60.1, float("nan"), float("inf")])
    def test_the_leeway_is_small(self, seconds: float) -> None:
        """A negative one would be a trap, a large one a hole."""
        with pytest.raises(ConfigurationError, match="leeway_seconds"):
            issuer_of(leeway_seconds=seconds)

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
    def test_the_lifetime_is_bounded(self, seconds: float) -> None:
        """Revocations are kept for that long."""
        with pytest.raises(ConfigurationError, match="max_token_lifetime_seconds"):
            issuer_of(max_token_lifetime_seconds=seconds)

    def test_an_issuer_without_an_address_needs_keys(self) -> None:
        """There is nowhere to discover them."""
        for name in ("accounts.google.com", "urn:example:issuer", "http://login.example.com"):
            with pytest.raises(ConfigurationError, match="keys="):
                TrustedIssuer(name, "orders")
            TrustedIssuer(name, "orders", jwks_url="https://login.example.com/jwks")

    def test_one_source_of_keys_is_enough(self) -> None:
        """Two would leave open which one counts."""
        with pytest.raises(ConfigurationError, match="jwks_url"):
            issuer_of(jwks_url="https://a.example/jwks", discovery_url="https://a.example/d")

    @pytest.mark.parametrize(
        "options", [{"mapping": "github"}, {"mapping": None}, {"profile": "jwt"}], ids=repr
    )
    def test_unknown_names_are_refused(self, options: dict[str, Any]) -> None:
        """The message lists the known ones."""
        with pytest.raises(ConfigurationError, match="one of"):
            issuer_of(**options)

    @pytest.mark.parametrize(
        "options",
        [
            {"token_types": [5]},
            {"required_claims": [5]},
            {"algorithms": [["x"]]},
            {"leeway_seconds": None},
            {"leeway_seconds": "1"},
            {"leeway_seconds": True},
            {"max_token_lifetime_seconds": None},
            {"mapping": ["x"]},
            {"profile": ["x"]},
        ],
        ids=repr,
    )
    def test_values_of_another_type_are_refused(self, options: dict[str, Any]) -> None:
        """With our own error, which names the option."""
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            issuer_of(**options)

    @pytest.mark.parametrize("option", ["token_types", "required_claims"])
    def test_a_string_is_no_collection(self, option: str) -> None:
        """Its letters would be taken for names."""
        with pytest.raises(ConfigurationError, match=option):
            issuer_of(**{option: "JWT"})

    def test_the_repr_names_the_issuer(self) -> None:
        """For logs and debugging."""
        assert repr(issuer_of()) == f"TrustedIssuer('{ISSUER}', audience=['orders'])"
        assert issuer_of(alias="main").alias == "main"
        assert issuer_of().alias == ISSUER
