"""The examples of the RFCs, as data: what they sign verifies here, what they forbid is refused.

The values are those printed in RFC 7515 appendix A, RFC 7517 appendix A.1, RFC 7520 section 4,
RFC 7638 section 3.1, RFC 8032 section 7 and RFC 8037 appendix A.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from authkit.errors import SignatureInvalid, TokenMalformed
from authkit.jose.encoding import NotStrict, decode_base64url, encode_base64url, parse_json_object
from authkit.jose.jwa import ALGORITHMS
from authkit.jose.jwk import JWK, KeyLease, VerificationKey, parse_jwk_set
from authkit.jose.jws import JoseHeader, UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey

HERE = Path(__file__).parent


def vectors(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    return cases


SIGNED = [
    pytest.param(case, id=f"{name}-{case['section']}")
    for name in ("rfc7515", "rfc7520", "rfc8037")
    for case in vectors(name)
]
# PKCS#1 v1.5, Ed25519 and HMAC sign the same bytes with the same key in one way only.
REPEATABLE = [case for case in SIGNED if case.values[0]["alg"] in ("RS256", "EdDSA", "HS256")]


def verification_key(jwk: dict[str, Any]) -> VerificationKey:
    return JWK(jwk).verification_key(KeyLease(0.0))


def is_signed(case: dict[str, Any], compact: str) -> bool:
    """Asks the algorithm itself: most examples carry a payload that is no JWT's."""
    signing_input, _, signature = compact.rpartition(".")
    return ALGORITHMS[case["alg"]].verify(
        signing_input.encode(), decode_base64url(signature), verification_key(case["jwk"])._key
    )


@pytest.mark.parametrize("case", SIGNED)
def test_a_published_signature_verifies(case: dict[str, Any]) -> None:
    """What the RFC signed with its key is accepted with the public part of that key."""
    assert is_signed(case, case["compact"])


@pytest.mark.parametrize("case", SIGNED)
def test_a_published_signature_is_of_its_content_only(case: dict[str, Any]) -> None:
    """With any one segment changed, the RFC's signature is refused."""
    header, payload, signature = case["compact"].split(".")
    raw = bytearray(decode_base64url(signature))
    raw[len(raw) // 2] ^= 1
    assert not is_signed(case, f"{header}.{payload}.{encode_base64url(bytes(raw))}")
    assert not is_signed(case, f"{header}.{payload[:-2]}.{signature}")
    assert not is_signed(case, f"{header[:-2]}.{payload}.{signature}")


@pytest.mark.parametrize("case", REPEATABLE)
def test_signing_again_gives_the_published_signature(case: dict[str, Any]) -> None:
    """The private keys of the RFCs sign here as they did there, octet for octet."""
    header, payload, _ = case["compact"].split(".")
    key = SigningKey.from_jwk({**case["jwk"], "alg": case["alg"]})
    assert key.sign(decode_base64url(header), decode_base64url(payload)) == case["compact"]


@pytest.mark.parametrize("section", ["A.1", "A.2", "A.3"])
def test_the_jwts_of_rfc_7515_pass_whole(section: str) -> None:
    """The examples whose payload is a claims set go through parsing and verification."""
    case = next(case for case in vectors("rfc7515") if case["section"] == section)
    token = UnverifiedToken.parse(case["compact"])
    header = token.header()
    signed = verify_signature(token, header, [verification_key(case["jwk"])])
    assert header.alg == case["alg"]
    assert signed.claims == {
        "iss": "joe",
        "exp": 1300819380,
        "http://example.com/is_root": True,
    }


def test_the_unsecured_jws_of_rfc_7515_is_refused() -> None:
    """Appendix A.5, `alg` none: no key verifies it, whatever keys there are."""
    claims = vectors("rfc7515")[0]["compact"].split(".")[1]
    token = UnverifiedToken.parse(f"eyJhbGciOiJub25lIn0.{claims}.")
    keys = [verification_key(case["jwk"]) for case in vectors("rfc7515")]
    with pytest.raises(SignatureInvalid):
        verify_signature(token, token.header(), keys)
    with pytest.raises(SignatureInvalid):
        verify_signature(token, JoseHeader(alg="none", kid=None, typ=None), keys)


def test_the_json_serializations_of_rfc_7515_are_refused() -> None:
    """Appendices A.6 and A.7: a token is compact, or it is none."""
    header, payload, signature = vectors("rfc7515")[1]["compact"].split(".")
    flat = {"payload": payload, "protected": header, "signature": signature}
    for form in (flat, {"payload": payload, "signatures": [flat]}):
        with pytest.raises(TokenMalformed):
            UnverifiedToken.parse(json.dumps(form))


def test_the_negative_crit_example_of_rfc_7515_is_refused() -> None:
    """Appendix E: an extension that is not understood must not be passed over."""
    header = (
        "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0"
        "dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0"
    )
    assert parse_json_object(decode_base64url(header))["crit"]
    with pytest.raises(TokenMalformed):
        UnverifiedToken.parse(f"{header}.e30.").header()


def test_the_unencoded_payload_of_rfc_7797_is_refused() -> None:
    """Section 4.2: `b64` false is not for JWTs (section 7), detached or not."""
    header = "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19"
    signature = "A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY"
    for payload in ("", "$.02", "e30"):
        with pytest.raises(TokenMalformed):
            UnverifiedToken.parse(f"{header}.{payload}.{signature}").header()


@pytest.mark.parametrize("case", vectors("rfc7638"), ids=lambda case: str(case["source"]))
def test_thumbprints_are_those_of_rfc_7638(case: dict[str, Any]) -> None:
    """The key's name in revocations and audit is the standard's thumbprint."""
    assert verification_key(case["jwk"]).thumbprint == case["thumbprint"]


def test_the_key_set_of_rfc_7517_gives_its_signature_key() -> None:
    """Appendix A.1: of an encryption key and a signature key the second is usable."""
    keys = parse_jwk_set((HERE / "rfc7517.json").read_bytes())
    assert [(key.kid, key.algorithms) for key in keys] == [("2011-04-29", {"RS256"})]


@pytest.mark.parametrize("case", vectors("rfc8032"), ids=lambda case: str(case["section"]))
def test_the_edwards_curves_are_those_of_rfc_8032(case: dict[str, Any]) -> None:
    """A raw signature of the RFC verifies under every name that its curve has here."""
    x = encode_base64url(bytes.fromhex(case["public"]))
    key = verification_key({"kty": "OKP", "crv": case["crv"], "x": x})
    signature = bytes.fromhex(case["signature"])
    message = bytes.fromhex(case["message"])
    assert key.algorithms == {"EdDSA", case["crv"]}
    for alg in key.algorithms:
        assert ALGORITHMS[alg].verify(message, signature, key._key)
        assert not ALGORITHMS[alg].verify(message + b"\0", signature, key._key)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x03\xec\xff\xe0\xc1", "A-z_4ME"),  # RFC 7515 appendix C
        (b"", ""),  # RFC 4648 section 10, without its padding
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
    ],
)
def test_base64url_is_that_of_rfc_7515_and_rfc_4648(data: bytes, text: str) -> None:
    """The examples go both ways, and with padding not at all."""
    assert encode_base64url(data) == text
    assert decode_base64url(text) == data
    if len(text) % 4:
        with pytest.raises(NotStrict):
            decode_base64url(text + "=" * (-len(text) % 4))
