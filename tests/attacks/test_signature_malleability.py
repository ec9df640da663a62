"""Signatures that are almost right, or right in more than one form.

Would have caught: CVE-2006-4339, CVE-2014-1568, CVE-2016-1494 and CVE-2018-16152 (PKCS#1 padding
not compared whole), CVE-2022-21449 (r = s = 0 fits everything), the HAProxy overflow by a long
ES256 signature, DER taken for raw, CVE-2020-36843 (S of EdDSA not below the group's order).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from authkit.errors import SignatureInvalid, TokenMalformed
from authkit.jose.encoding import decode_base64url, encode_base64url
from tests.attacks.forging import CLAIMS, signer, verify

ORDERS = {
    "ES256": ec.SECP256R1().group_order,
    "ES384": ec.SECP384R1().group_order,
    "ES512": ec.SECP521R1().group_order,
    "EdDSA": 2**252 + 27742317777372353535851937790883648493,
    "Ed448": 2**446 - 13818066809895115352007386748515426880336692474882178609894547503885,
}
HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
DIGEST_INFOS = {
    "1": "3021300906052b0e03021a05000414",
    "256": "3031300d060960864801650304020105000420",
    "384": "3041300d060960864801650304020205000430",
    "512": "3051300d060960864801650304020305000440",
}
ES_SIZES = {"ES256": 32, "ES384": 48, "ES512": 66}


def parts(alg: str) -> tuple[str, bytes]:
    signing_input, _, signature = signer(alg).sign({}, CLAIMS).rpartition(".")
    return signing_input, decode_base64url(signature)


def accepts(alg: str, signing_input: str, signature: bytes) -> bool:
    try:
        return bool(verify(f"{signing_input}.{encode_base64url(signature)}", signer(alg).jwk()))
    except (SignatureInvalid, TokenMalformed):
        return False


# RSA ----------------------------------------------------------------------------------------------


def raw_rsa(alg: str, encoded: bytes) -> bytes:
    """The private operation on an encoded message that need not be a good one."""
    jwk = signer(alg).jwk()
    p, q, dp, dq, qi = (
        int.from_bytes(decode_base64url(jwk[name]), "big") for name in ("p", "q", "dp", "dq", "qi")
    )
    message = int.from_bytes(encoded, "big")
    of_p, of_q = pow(message, dp, p), pow(message, dq, q)
    return (of_q + q * ((of_p - of_q) * qi % p)).to_bytes(256, "big")


def pkcs1(
    info: bytes, *, start: bytes = b"\0\1", fill: bytes = b"\xff", end: bytes = b"\0"
) -> bytes:
    return start + fill * (256 - len(start) - len(end) - len(info)) + end + info


def bad_pkcs1(alg: str, message: bytes) -> Iterator[tuple[str, bytes]]:
    bits = alg[2:]
    digest = HASHES[bits](message).digest()
    prefix = bytes.fromhex(DIGEST_INFOS[bits])
    good = prefix + digest
    without_null = bytearray(prefix.replace(b"\x05\x00", b"", 1))
    without_null[1] -= 2
    without_null[3] -= 2
    yield "block type 0", pkcs1(good, start=b"\0\0", fill=b"\0")
    yield "block type 2", pkcs1(good, start=b"\0\2", fill=b"\x11")
    yield "first octet not zero", b"\1" + pkcs1(good)[1:]
    yield "padding not all ones", pkcs1(good)[:9] + b"\xfe" + pkcs1(good)[10:]
    yield "padding with a zero", pkcs1(good)[:9] + b"\0" + pkcs1(good)[10:]
    yield "no zero after the padding", pkcs1(good, end=b"\xff")
    yield "two zeros after the padding", pkcs1(good, end=b"\0\0")
    yield "garbage after the hash", b"\0\1" + b"\xff" * 8 + b"\0" + (good + b"\x42" * 256)[:245]
    yield "zeros after the hash", b"\0\1" + b"\xff" * 8 + b"\0" + good.ljust(245, b"\0")
    yield "short padding, hash at the end", b"\0\1\xff\0" + b"\x42" * (252 - len(good)) + good
    yield "no padding", b"\0\1\0" + good.rjust(253, b"\0")
    yield "no algorithm, hash alone", pkcs1(digest)
    yield "algorithm without its NULL", pkcs1(bytes(without_null) + digest)
    yield "long form of a length", pkcs1(b"\x30\x81" + good[1:])
    yield "one octet of the hash missing", pkcs1(good[:-1])
    yield "one octet after the hash", pkcs1(good + b"\0")
    yield "empty", pkcs1(b"")
    for other, oid in DIGEST_INFOS.items():
        if other != bits:
            yield f"hash {bits} named {other}", pkcs1(bytes.fromhex(oid) + digest)
            if other in HASHES:
                honest = bytes.fromhex(oid) + HASHES[other](message).digest()
                yield f"hash {other}", pkcs1(honest)
    yield "nothing at all", bytes(256)
    yield "one", (1).to_bytes(256, "big")


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512"])
def test_pkcs1_padding_is_compared_whole(alg: str) -> None:
    """RFC 8017 section 8.2.2: the encoded message is the one, octet for octet."""
    signing_input, signature = parts(alg)
    info = bytes.fromhex(DIGEST_INFOS[alg[2:]]) + HASHES[alg[2:]](signing_input.encode()).digest()
    assert raw_rsa(alg, pkcs1(info)) == signature
    assert accepts(alg, signing_input, signature)
    taken = [
        name
        for name, encoded in bad_pkcs1(alg, signing_input.encode())
        if accepts(alg, signing_input, raw_rsa(alg, encoded))
    ]
    assert taken == []


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
def test_an_rsa_signature_is_as_long_as_the_modulus_and_below_it(alg: str) -> None:
    """No zero octet more or less, and not the same residue again (RFC 8017 5.2.2)."""
    signing_input, signature = parts(alg)
    n = int.from_bytes(decode_base64url(signer(alg).public_jwk()["n"]), "big")
    value = int.from_bytes(signature, "big")
    assert accepts(alg, signing_input, signature)
    for other in (
        b"\0" + signature,
        signature + b"\0",
        signature[1:],
        signature[:-1],
        (value + n).to_bytes(257, "big").lstrip(b"\0"),
        (value + n).to_bytes(257, "big"),
        (n - value).to_bytes(256, "big"),
        n.to_bytes(256, "big"),
        (n - 1).to_bytes(256, "big"),
        b"",
        bytes(256),
        b"\xff" * 256,
        signature * 2,
        signature * 4,
    ):
        assert not accepts(alg, signing_input, other)


@pytest.mark.parametrize("alg", ["PS256", "PS384", "PS512"])
def test_a_pss_salt_is_as_long_as_the_hash(alg: str) -> None:
    """RFC 7518 section 3.5; the mask is made with the same hash, too."""
    signing_input, _ = parts(alg)
    private = signer(alg)._key.private_key
    named = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    right = named[alg[2:]]
    for salt in (0, 20, 32, 48, 64, right.digest_size - 1, padding.PSS.MAX_LENGTH):
        for mask, digest in itertools.product([*named.values(), hashes.SHA1()], named.values()):
            signature = private.sign(
                signing_input.encode(), padding.PSS(padding.MGF1(mask), salt), digest
            )
            is_right = salt == right.digest_size and mask.name == digest.name == right.name
            assert accepts(alg, signing_input, signature) == is_right


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
def test_an_rsa_signature_keeps_its_zeros_in_front(alg: str) -> None:
    """OpenSSL takes a PSS signature without them, which makes a second spelling of one in 256."""
    for count in itertools.count():
        signing_input, _, text = signer(alg).sign({}, {"count": count}).rpartition(".")
        signature = decode_base64url(text)
        if signature[0] == 0:
            break
    assert accepts(alg, signing_input, signature)
    assert not accepts(alg, signing_input, signature[1:])
    assert not accepts(alg, signing_input, signature.lstrip(b"\0"))


# ECDSA --------------------------------------------------------------------------------------------


def raw_ec(alg: str, r: int, s: int) -> bytes:
    return r.to_bytes(ES_SIZES[alg], "big") + s.to_bytes(ES_SIZES[alg], "big")


@pytest.mark.parametrize("alg", sorted(ES_SIZES))
def test_r_and_s_lie_between_zero_and_the_order(alg: str) -> None:
    """CVE-2022-21449: 0, the order and what lies beyond are no signatures of anything."""
    signing_input, signature = parts(alg)
    n, size = ORDERS[alg], ES_SIZES[alg]
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    assert accepts(alg, signing_input, raw_ec(alg, r, s))
    edges = [0, 1, 2, n - 1, n, n + 1, (1 << 8 * size) - 1, r, s]
    for edge_r, edge_s in itertools.product(edges, edges):
        if (edge_r, edge_s) != (r, s):
            assert not accepts(alg, signing_input, raw_ec(alg, edge_r, edge_s))
    for other_r, other_s in ((r + n, s), (r, s + n), (r + n, s + n)):
        if max(other_r, other_s) < 1 << 8 * size:
            assert not accepts(alg, signing_input, raw_ec(alg, other_r, other_s))


@pytest.mark.parametrize("alg", sorted(ES_SIZES))
def test_an_ecdsa_signature_is_raw_and_of_its_full_length(alg: str) -> None:
    """RFC 7518 section 3.4: no DER, no octet more or less, and nothing very long."""
    signing_input, signature = parts(alg)
    size = ES_SIZES[alg]
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    wider = (b"\0" + signature[:size], b"\0" + signature[size:])
    for other in (
        encode_dss_signature(r, s),
        signature[:-1],
        signature[1:],
        signature + b"\0",
        b"\0" + signature,
        b"".join(wider),
        signature[:size],
        signature * 2,
        signature[:size].rjust(500, b"\0") + signature[size:].rjust(500, b"\0"),
        b"",
    ):
        assert not accepts(alg, signing_input, other)


@pytest.mark.parametrize("alg", sorted(ES_SIZES))
def test_the_mirrored_ecdsa_signature_names_the_same_token(alg: str) -> None:
    """n - s is as good as s for everybody, so a token's name must not depend on it."""
    signing_input, signature = parts(alg)
    size = ES_SIZES[alg]
    mirrored = ORDERS[alg] - int.from_bytes(signature[size:], "big")
    other = signature[:size] + mirrored.to_bytes(size, "big")
    one, two = (
        verify(f"{signing_input}.{encode_base64url(each)}", signer(alg).public_jwk())
        for each in (signature, other)
    )
    assert one.signing_input_sha256() == two.signing_input_sha256()


# EdDSA --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alg", "half"), [("EdDSA", 32), ("Ed448", 57)])
def test_s_of_eddsa_lies_below_the_order(alg: str, half: int) -> None:
    """RFC 8032 sections 5.1.7 and 5.2.7: S + L would be a second signature."""
    signing_input, signature = parts(alg)
    s = int.from_bytes(signature[half:], "little")
    assert accepts(alg, signing_input, signature)
    for multiple in (1, 2, 3):
        other = s + multiple * ORDERS[alg]
        if other < 1 << 8 * half:
            encoded = signature[:half] + other.to_bytes(half, "little")
            assert not accepts(alg, signing_input, encoded)


@pytest.mark.parametrize(("alg", "half"), [("EdDSA", 32), ("Ed448", 57)])
def test_an_eddsa_signature_is_of_its_exact_form(alg: str, half: int) -> None:
    """No octet more or less, no other R, nothing trivial."""
    signing_input, signature = parts(alg)
    neutral = b"\1" + bytes(half - 1)
    for other in (
        signature[:-1],
        signature + b"\0",
        b"\0" + signature,
        signature[half:] + signature[:half],
        neutral + signature[half:],
        signature[:half] + bytes(half),
        neutral + bytes(half),
        bytes(2 * half),
        b"\xff" * 2 * half,
        b"",
    ):
        assert not accepts(alg, signing_input, other)


# All ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["HS256", "HS512", "RS256", "PS256", "ES256", "EdDSA"])
def test_no_part_of_a_signature_is_enough(alg: str) -> None:
    """Every single bit counts, and so does every octet of the length."""
    signing_input, signature = parts(alg)
    assert accepts(alg, signing_input, signature)
    for bit in range(0, 8 * len(signature), 5):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not accepts(alg, signing_input, bytes(flipped))
    for length in range(0, len(signature), 7):
        assert not accepts(alg, signing_input, signature[:length])
