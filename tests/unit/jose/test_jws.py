"""`authkit.jose.jws`: taking a token apart, and proving who signed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from authkit.errors import SignatureInvalid, TokenMalformed, TokenRefused
from authkit.jose.encoding import encode_base64url
from authkit.jose.jwa import ALGORITHMS, Algorithm
from authkit.jose.jwk import JWK, KeyLease, VerificationKey
from authkit.jose.jws import MAX_TOKEN_BYTES, JoseHeader, UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey

Signer = Callable[[str], SigningKey]
CLAIMS = {"iss": "https://login.example.com", "sub": "ann", "exp": 4_000_000_000}


def segment(content: bytes | dict[str, Any]) -> str:
    return encode_base64url(
        content if isinstance(content, bytes) else json.dumps(content).encode("utf-8")
    )


def token_with(header: bytes | dict[str, Any]) -> UnverifiedToken:
    return UnverifiedToken.parse(f"{segment(header)}.{segment(CLAIMS)}.AAAA")


def verification_key(key: SigningKey, **changes: Any) -> VerificationKey:
    return JWK({**key.jwk(), **changes}).verification_key(KeyLease(0.0))


class TestParse:
    def test_a_token_comes_apart(self, signer: Signer) -> None:
        """Its text, its header still encoded, and whom it claims to be from."""
        text = signer("ES256").sign({}, CLAIMS)
        token = UnverifiedToken.parse(text)
        assert token.text == text
        assert token.header_segment == text.split(".")[0]
        assert token.issuer == CLAIMS["iss"]

    def test_what_is_not_proven_is_not_public(self, signer: Signer) -> None:
        """Claims can be had from a SignedPayload only, and the repr shows none of the token."""
        token = UnverifiedToken.parse(signer("ES256").sign({}, CLAIMS))
        assert not hasattr(token, "claims")
        assert repr(token) == f"UnverifiedToken(of {len(token.text)} characters)"

    @pytest.mark.parametrize("issuer", [None, 1, True, ["https://login.example.com"], {}])
    def test_an_issuer_that_is_no_string_is_none(self, issuer: object) -> None:
        """Nor does a missing one become anything."""
        payload = segment({"iss": issuer})
        assert UnverifiedToken.parse(f"e30.{payload}.AAAA").issuer is None
        assert UnverifiedToken.parse("e30.e30.AAAA").issuer is None

    @pytest.mark.parametrize("text", ["", "A", "opaque", "A" * 500, "\ud800", "{}"])
    def test_a_text_without_a_dot_is_opaque(self, text: str) -> None:
        """So that its own code tells: perhaps a token to be introspected, but no JWT."""
        with pytest.raises(TokenMalformed) as caught:
            UnverifiedToken.parse(text)
        assert caught.value.code == "token_opaque"

    @pytest.mark.parametrize(
        "text",
        [
            ".", "..", "...", "e30.e30", "e30.e30.AAAA.AAAA", ".e30.AAAA.", "e30.e30.AAAA.",
            "e30.e30.AAAA.AAAA.AAAA", "." * 16_000,
        ],
    )  # fmt: skip
    def test_there_are_three_segments(self, text: str) -> None:
        """Two are none, five are a JWE (RFC 7516 section 9), thousands are an attack."""
        with pytest.raises(TokenMalformed) as caught:
            UnverifiedToken.parse(text)
        assert caught.value.code == "token_malformed"

    @pytest.mark.parametrize("payload", ["", "Zm9v", segment(b"[]"), segment(b'{"a":1,"a":2}')])
    def test_the_payload_is_a_strict_json_object(self, payload: str) -> None:
        """Nothing else is a claims set (RFC 7519 section 7.2)."""
        with pytest.raises(TokenMalformed) as caught:
            UnverifiedToken.parse(f"e30.{payload}.AAAA")
        assert caught.value.code == "token_malformed"

    @pytest.mark.parametrize(
        "odd", ["AAA=", "AA A", "AAA+", "AAA/", "AAB", "A", "AAA\n", "\uff21\uff21\uff21\uff21"]
    )
    @pytest.mark.parametrize(
        "template", ["{}.e30.AAAA", "e30.{}.AAAA", "e30.e30.{}", " e30.e30.{}"]
    )
    def test_every_segment_is_strict_base64url(self, template: str, odd: str) -> None:
        """The header when it is read, the others at once."""
        with pytest.raises(TokenMalformed):
            UnverifiedToken.parse(template.format(odd)).header()

    def test_a_header_beyond_ascii_is_refused_at_once(self) -> None:
        """The signing input is made of ASCII."""
        with pytest.raises(TokenMalformed):
            UnverifiedToken.parse("é.e30.AAAA")

    @pytest.mark.parametrize("value", [None, b"e30.e30.AAAA", 1, ["e30"], bytearray(b"a.b.c")])
    def test_only_a_str_is_a_token(self, value: Any) -> None:
        """Nothing else is even looked at, and a subclass is no str: it may lie about itself."""

        class Liar(str):
            __slots__ = ()

            def split(self, *_: Any) -> list[Any]:
                raise AssertionError

        for text in (value, Liar("e30.e30.AAAA")):
            with pytest.raises(TokenMalformed):
                UnverifiedToken.parse(text)

    def test_a_token_may_have_16_kib(self) -> None:
        """Exactly so much is read, one more is refused before anything of it is."""
        head, tail = "e30.", ".AAAA"
        room = MAX_TOKEN_BYTES - len(head) - len(tail)
        text = head + segment(b'{"a":"' + b"x" * (room * 3 // 4 - 8) + b'"}') + tail
        assert len(text) == MAX_TOKEN_BYTES == 16_384
        assert UnverifiedToken.parse(text)
        with pytest.raises(TokenMalformed, match="16384"):
            UnverifiedToken.parse("e" + text)

    def test_a_signature_is_no_longer_than_that_of_the_largest_key(self) -> None:
        """1024 octets belong to RSA of 8192 bits."""
        assert UnverifiedToken.parse(f"e30.e30.{encode_base64url(bytes(1024))}")
        with pytest.raises(TokenMalformed, match="signature"):
            UnverifiedToken.parse(f"e30.e30.{encode_base64url(bytes(1025))}")

    def test_an_empty_signature_is_read_and_verifies_nothing(self, signer: Signer) -> None:
        """It is legal base64url; that it proves nothing is for the signature check to say."""
        text = signer("RS256").sign({}, CLAIMS)
        token = UnverifiedToken.parse(text[: text.rindex(".") + 1])
        for alg in sorted(ALGORITHMS):
            header = JoseHeader(alg=alg, kid=None, typ=None)
            with pytest.raises(SignatureInvalid):
                verify_signature(token, header, [verification_key(signer(alg))])


class TestVerify:
    @pytest.mark.parametrize("alg", sorted(ALGORITHMS))
    def test_a_signed_token_gives_its_claims(self, signer: Signer, alg: str) -> None:
        """Header, claims and the key that signed, under every algorithm."""
        key = verification_key(signer(alg))
        token = UnverifiedToken.parse(signer(alg).sign({"typ": "JWT"}, CLAIMS))
        signed = verify_signature(token, token.header(), [key])
        assert signed.claims == CLAIMS
        assert signed.key is key
        assert signed.header == JoseHeader(alg=alg, kid=signer(alg).kid, typ="JWT")
        signing_input = token.text.rpartition(".")[0]
        assert signed.signing_input_sha256() == sha256(signing_input.encode()).hexdigest()

    @pytest.mark.parametrize("alg", sorted(ALGORITHMS))
    def test_a_changed_token_is_refused(self, signer: Signer, alg: str) -> None:
        """One bit of header, payload or signature."""
        header, payload, signature = signer(alg).sign({}, CLAIMS).split(".")
        other_header = segment({"alg": alg, "kid": signer(alg).kid, "x": 1})
        other_payload = segment({**CLAIMS, "sub": "bob"})
        other_signature = ("B" if signature[0] == "A" else "A") + signature[1:]
        for text in (
            f"{other_header}.{payload}.{signature}",
            f"{header}.{other_payload}.{signature}",
            f"{header}.{payload}.{other_signature}",
        ):
            token = UnverifiedToken.parse(text)
            with pytest.raises(SignatureInvalid):
                verify_signature(token, token.header(), [verification_key(signer(alg))])

    @pytest.mark.parametrize("alg", sorted(ALGORITHMS))
    def test_another_key_is_refused(self, signer: Signer, alg: str) -> None:
        """The right header, the right key id, the wrong key."""
        kid = signer(alg).kid
        token = UnverifiedToken.parse(SigningKey.generate(alg, kid=kid).sign({}, CLAIMS))
        with pytest.raises(SignatureInvalid):
            verify_signature(token, token.header(), [verification_key(signer(alg))])

    def test_without_a_key_nothing_is_proven(self, signer: Signer) -> None:
        """No keys, no proof."""
        token = UnverifiedToken.parse(signer("ES256").sign({}, CLAIMS))
        with pytest.raises(SignatureInvalid):
            verify_signature(token, token.header(), [])

    def test_keys_are_tried_in_order_until_one_fits(self, signer: Signer) -> None:
        """Keys of other kinds, and others of the same kind and id, stand in nobody's way."""
        good = verification_key(signer("ES256"))
        other = verification_key(SigningKey.generate("ES256", kid=signer("ES256").kid))
        token = UnverifiedToken.parse(signer("ES256").sign({}, CLAIMS))
        keys = [verification_key(signer("RS256")), other, good, verification_key(signer("EdDSA"))]
        assert verify_signature(token, token.header(), keys).key is good

    @pytest.mark.parametrize(
        ("alg", "published"),
        [("PS256", "RS256"), ("RS512", "RS256"), ("Ed25519", "EdDSA"), ("EdDSA", "Ed25519")],
    )
    def test_a_key_is_used_for_its_own_algorithms_only(
        self, signer: Signer, alg: str, published: str
    ) -> None:
        """The signature is genuine, but the key was not published for this algorithm."""
        signing = SigningKey.from_jwk({**signer(published).jwk(), "alg": alg})
        token = UnverifiedToken.parse(signing.sign({}, CLAIMS))
        with pytest.raises(SignatureInvalid):
            verify_signature(token, token.header(), [verification_key(signer(published))])
        assert verify_signature(token, token.header(), [verification_key(signing)])

    @pytest.mark.parametrize("alg", ["none", "None", "", "HS1", "rs256", "RS256 ", "__class__"])
    def test_an_unknown_algorithm_is_refused(self, signer: Signer, alg: str) -> None:
        """CVE-2026-28498: what is not known is not true."""
        token = UnverifiedToken.parse(signer("RS256").sign({}, CLAIMS))
        key = verification_key(signer("RS256"))
        key.algorithms = frozenset({alg})
        with pytest.raises(SignatureInvalid):
            verify_signature(token, JoseHeader(alg=alg, kid=None, typ=None), [key])

    @pytest.mark.parametrize("answer", [None, 1, "yes", RuntimeError, KeyError, RecursionError])
    def test_only_true_is_proof(
        self, signer: Signer, monkeypatch: pytest.MonkeyPatch, answer: Any
    ) -> None:
        """Any odd answer and any exception of the library beneath counts as not signed."""

        def verify(*_: object) -> Any:
            if isinstance(answer, type):
                raise answer("hunter2")
            return answer

        real = ALGORITHMS["RS256"]
        odd = Algorithm(
            name=real.name,
            kty=real.kty,
            curves=real.curves,
            hash_bytes=real.hash_bytes,
            verify=verify,
            sign=real.sign,
        )
        monkeypatch.setattr("authkit.jose.jws.ALGORITHMS", {"RS256": odd})
        token = UnverifiedToken.parse(signer("RS256").sign({}, CLAIMS))
        with pytest.raises(SignatureInvalid) as caught:
            verify_signature(token, token.header(), [verification_key(signer("RS256"))])
        assert "hunter2" not in repr(caught.value)

    def test_a_key_of_another_type_behind_the_name_proves_nothing(self, signer: Signer) -> None:
        """Were a key ever labelled wrongly, its type would still stop it."""
        for alg in sorted(ALGORITHMS):
            token = UnverifiedToken.parse(signer(alg).sign({}, CLAIMS))
            for other in ("RS256", "ES256", "EdDSA", "HS512"):
                if ALGORITHMS[other].kty != ALGORITHMS[alg].kty:
                    key = verification_key(signer(other))
                    key.algorithms = frozenset(ALGORITHMS)
                    with pytest.raises(SignatureInvalid):
                        verify_signature(token, token.header(), [key])


def test_stack_exhaustion_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stack gives out within the parser, the token is refused with our own error."""

    def exhausted(*_: object) -> None:
        raise RecursionError

    token = UnverifiedToken.parse("e30.e30.AAAA")
    monkeypatch.setattr("authkit.jose.jws.decode_base64url", exhausted)
    with pytest.raises(TokenRefused):
        UnverifiedToken.parse("e30.e30.AAAA")
    with pytest.raises(TokenRefused):
        token.header()
