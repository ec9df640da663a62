"""`authkit.jose.signing`: keys that sign."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit.jose import signing
from authkit.jose.encoding import decode_base64url, parse_json_object
from authkit.jose.jwa import ALGORITHMS, ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHMS
from authkit.jose.jwk import JWK, KeyLease
from authkit.jose.jws import SignedPayload, UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey

Signer = Callable[[str], SigningKey]
CLAIMS = {"iss": "https://login.example.com", "sub": "änn"}


def verified(text: str, jwk: dict[str, str]) -> SignedPayload:
    token = UnverifiedToken.parse(text)
    return verify_signature(token, token.header(), [JWK(jwk).verification_key(KeyLease(0.0))])


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_a_generated_key_signs_what_its_public_part_verifies(signer: Signer, alg: str) -> None:
    """The key id is the thumbprint, and the token names it."""
    key = signer(alg)
    jwk = key.jwk() if alg in SYMMETRIC_ALGORITHMS else key.public_jwk()
    signed = verified(key.sign({"typ": "at+jwt"}, CLAIMS), jwk)
    assert signed.claims == CLAIMS
    assert (signed.header.alg, signed.header.kid, signed.header.typ) == (alg, key.kid, "at+jwt")
    assert (key.alg, key.kid) == (alg, signed.key.thumbprint)
    assert (jwk["alg"], jwk["kid"], jwk["use"]) == (alg, key.kid, "sig")


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_a_key_goes_through_its_jwk(signer: Signer, alg: str) -> None:
    """What is stored and read again is the same key."""
    again = SigningKey.from_jwk(json.loads(json.dumps(signer(alg).jwk())))
    assert again.jwk() == signer(alg).jwk()
    jwk = signer(alg).jwk()
    assert verified(again.sign({}, CLAIMS), jwk).claims == CLAIMS


@pytest.mark.parametrize("alg", sorted(ASYMMETRIC_ALGORITHMS))
def test_the_public_part_holds_nothing_private(signer: Signer, alg: str) -> None:
    """Exactly the members of RFC 7518 section 6 and RFC 8037 section 2 that are public."""
    needed = {"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}
    public = signer(alg).public_jwk()
    assert set(public) == needed[public["kty"]] | {"kty", "use", "alg", "kid"}
    assert "d" in signer(alg).jwk()


@pytest.mark.parametrize("alg", sorted(SYMMETRIC_ALGORITHMS))
def test_a_secret_has_no_public_part(signer: Signer, alg: str) -> None:
    """Publishing it would hand out the right to sign."""
    with pytest.raises(ConfigurationError, match="secret"):
        signer(alg).public_jwk()
    assert len(decode_base64url(signer(alg).jwk()["k"])) == ALGORITHMS[alg].hash_bytes


def test_nothing_secret_shows(signer: Signer) -> None:
    """A repr names the key only."""
    for alg in ("RS256", "ES256", "EdDSA", "HS256"):
        key = signer(alg)
        assert repr(key) == f"SigningKey(alg='{alg}', kid='{key.kid}')"


def test_the_kid_can_be_chosen() -> None:
    """At generation and in the JWK, the empty one included; else it is the thumbprint."""
    key = SigningKey.generate("EdDSA", kid="2026-01")
    assert key.kid == key.public_jwk()["kid"] == "2026-01"
    jwk = key.jwk()
    assert SigningKey.from_jwk({**jwk, "kid": ""}).kid == ""
    del jwk["kid"]
    assert SigningKey.from_jwk(jwk).kid == JWK(jwk).verification_key(KeyLease(0.0)).thumbprint


def test_an_rsa_key_may_come_with_its_private_exponent_alone(signer: Signer) -> None:
    """RFC 7518 section 6.3.2: the factors can be computed."""
    jwk = signer("RS256").jwk()
    short = {name: jwk[name] for name in ("kty", "n", "e", "d", "alg")}
    assert SigningKey.from_jwk(short).sign({}, CLAIMS) == signer("RS256").sign({}, CLAIMS)


class TestSign:
    def test_the_header_can_lie(self, signer: Signer) -> None:
        """Members given replace those that are set, and the key signs all the same."""
        text = signer("RS256").sign({"alg": "none", "kid": None, "crit": ["x"]}, CLAIMS)
        header = parse_json_object(decode_base64url(text.split(".")[0]))
        assert header == {"alg": "none", "kid": None, "crit": ["x"]}
        signing_input, _, signature = text.rpartition(".")
        key = JWK(signer("RS256").public_jwk()).verification_key(KeyLease(0.0))
        assert ALGORITHMS["RS256"].verify(
            signing_input.encode(), decode_base64url(signature), key._key
        )

    def test_bytes_are_taken_as_they_are(self, signer: Signer) -> None:
        """Whatever they hold."""
        text = signer("ES256").sign(b"\xff{", b'{"a":1,"a":2}')
        header, payload, _ = text.split(".")
        assert decode_base64url(header) == b"\xff{"
        assert decode_base64url(payload) == b'{"a":1,"a":2}'

    def test_json_is_written_compactly_in_utf_8(self, signer: Signer) -> None:
        """As short as it can be, in the order given."""
        text = signer("ES256").sign({"kid": "é"}, {"b": 1, "a": ["ü"]})
        header, payload, _ = text.split(".")
        assert decode_base64url(header) == '{"alg":"ES256","kid":"é"}'.encode()
        assert decode_base64url(payload) == '{"b":1,"a":["ü"]}'.encode()

    @pytest.mark.parametrize(
        "claims",
        [{"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}, {"a": b"x"}, {"a": {1, 2}}],
    )
    def test_what_json_cannot_hold_is_refused(self, signer: Signer, claims: dict[str, Any]) -> None:
        """Nobody could read such a token."""
        with pytest.raises(ConfigurationError, match="JSON"):
            signer("ES256").sign({}, claims)
        with pytest.raises(ConfigurationError, match="JSON"):
            signer("ES256").sign(claims, {})

    def test_claims_within_themselves_are_refused(self, signer: Signer) -> None:
        """They would have no end."""
        claims: dict[str, Any] = {}
        claims["a"] = claims
        with pytest.raises(ConfigurationError, match="JSON"):
            signer("ES256").sign({}, claims)


class TestRefusedKeys:
    @pytest.mark.parametrize("alg", ["none", "", "RS1", "rs256", "ES256K", None, 1, ["RS256"]])
    def test_the_algorithm_is_a_known_one(self, signer: Signer, alg: Any) -> None:
        """Both ways of making a key say which there are."""
        for make in (
            lambda: SigningKey.generate(alg),
            lambda: SigningKey.from_jwk({**signer("RS256").jwk(), "alg": alg}),
        ):
            with pytest.raises(ConfigurationError, match="RS256, RS384"):
                make()

    @pytest.mark.parametrize(
        ("alg", "change"),
        [
            ("RS256", {"alg": "ES256"}),
            ("ES256", {"alg": "ES384"}),
            ("EdDSA", {"alg": "Ed448"}),
            ("HS256", {"alg": "HS512"}),
            ("HS256", {"alg": "RS256"}),
            ("RS256", {"use": "enc"}),
            ("RS256", {"key_ops": ["verify"]}),
            ("RS256", {"kid": 5}),
            ("RS256", {"d": "!"}),
            ("RS256", {"p": "AQAB"}),
            ("RS256", {"e": "AQ"}),
            ("ES256", {"d": None}),
            ("EdDSA", {"x": "AQ" + "A" * 41}),
            ("HS256", {"k": ""}),
            ("HS256", {"kty": "AKP"}),
        ],
    )
    def test_a_key_that_does_not_fit_is_refused(
        self, signer: Signer, alg: str, change: dict[str, Any]
    ) -> None:
        """Wrong algorithm, wrong use, too small, broken: it fails where it is configured."""
        secret = signer(alg).jwk()
        with pytest.raises(ConfigurationError) as caught:
            SigningKey.from_jwk({**secret, **change})
        assert caught.value.__cause__ is None
        for name in ("d", "k"):
            assert secret.get(name, "\0") not in str(caught.value)

    @pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
    def test_a_public_key_signs_nothing(self, signer: Signer, alg: str) -> None:
        """It lacks what signs."""
        with pytest.raises(ConfigurationError):
            SigningKey.from_jwk(signer(alg).public_jwk())

    @pytest.mark.parametrize("alg", ["ES256", "EdDSA", "Ed448"])
    def test_the_public_part_belongs_to_the_private_one(self, signer: Signer, alg: str) -> None:
        """Else every token of this key would be refused by everybody."""
        other = SigningKey.generate(alg).public_jwk()
        del other["kid"]
        with pytest.raises(ConfigurationError):
            SigningKey.from_jwk({**signer(alg).jwk(), **other})

    def test_where_a_curve_is_missing_it_is_said_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """OpenSSL may be built without Ed448."""

        def unsupported(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(signing, "_generated", unsupported)
        with pytest.raises(ConfigurationError, match="Ed448"):
            SigningKey.generate("Ed448")
