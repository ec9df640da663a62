"""`authkit.jose.jwk` and `authkit.jose.material`: keys, taken one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from authkit.jose.encoding import NotStrict, decode_base64url, encode_base64url
from authkit.jose.jwa import ALGORITHMS, SYMMETRIC_ALGORITHMS
from authkit.jose.jwk import JWK, KeyLease, UnusableKey, VerificationKey, parse_jwk_set
from authkit.jose.material import import_material, key_material
from authkit.jose.signing import SigningKey

Signer = Callable[[str], SigningKey]
RS_AND_PS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
LEASE = KeyLease(0.0)


def members(signer: Signer, alg: str, /, **changes: Any) -> dict[str, Any]:
    """A published key without `alg` and `use`, with these members added or replaced."""
    published = signer(alg).jwk() if alg in SYMMETRIC_ALGORITHMS else signer(alg).public_jwk()
    del published["alg"], published["use"]
    return {**published, **changes}


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def refused(jwk: dict[str, Any]) -> str:
    """Why the key cannot be used."""
    with pytest.raises(UnusableKey) as caught:
        JWK(jwk).verification_key(LEASE)
    assert caught.value.__cause__ is None
    return str(caught.value)


class TestFits:
    @pytest.mark.parametrize(
        ("alg", "expected"),
        [
            ("RS256", RS_AND_PS),
            ("ES256", {"ES256"}),
            ("ES384", {"ES384"}),
            ("ES512", {"ES512"}),
            ("EdDSA", {"EdDSA", "Ed25519"}),
            ("Ed448", {"EdDSA", "Ed448"}),
            ("HS256", {"HS256"}),
            ("HS384", {"HS256", "HS384"}),
            ("HS512", {"HS256", "HS384", "HS512"}),
        ],
    )
    def test_type_curve_and_length_decide(
        self, signer: Signer, alg: str, expected: set[str]
    ) -> None:
        """A key without `alg` fits all of its kind, a secret those that it is long enough for."""
        key = JWK(members(signer, alg))
        assert key.algorithms == expected
        for name in ALGORITHMS:
            assert key.fits(None, name) == (name in expected)
        assert key.is_symmetric == (alg in SYMMETRIC_ALGORITHMS)

    @pytest.mark.parametrize("alg", ["RS256", "PS384", "ES256", "EdDSA", "Ed25519", "HS256"])
    def test_alg_of_the_key_is_the_only_one(self, signer: Signer, alg: str) -> None:
        """RFC 7517 section 4.4; CVE-2026-48523: what the key is published for, it is used for."""
        key = JWK(members(signer, alg, alg=alg))
        assert key.algorithms == {alg}

    @pytest.mark.parametrize(
        "alg", ["RSA-OAEP", "ES256", "none", "rs256", "RS256 ", "", None, 256, ["RS256"]]
    )
    def test_a_foreign_alg_makes_the_key_unusable(self, signer: Signer, alg: object) -> None:
        """An `alg` of another kind, of another spelling or of another type fits nothing."""
        with pytest.raises(UnusableKey):
            JWK(members(signer, "RS256", alg=alg))

    def test_kid_is_compared_exactly(self, signer: Signer) -> None:
        """Case, space, normalization and prefixes make other ids; None asks for any."""
        key = JWK(members(signer, "ES256", kid="Key-é"))
        assert key.fits("Key-é", "ES256")
        assert key.fits(None, "ES256")
        for other in ("key-é", "Key-é ", "Key-e\u0301", "Key", "", "Key-é\0"):
            assert not key.fits(other, "ES256")

    def test_a_key_without_kid_fits_only_where_none_is_asked_for(self, signer: Signer) -> None:
        """A token that names its key does not mean one without a name; an empty name is a name."""
        jwk = members(signer, "ES256")
        del jwk["kid"]
        assert JWK(jwk).kid is None
        assert JWK(jwk).fits(None, "ES256")
        assert not JWK(jwk).fits("", "ES256")
        assert JWK({**jwk, "kid": ""}).fits("", "ES256")

    @pytest.mark.parametrize("kid", [None, 1, True, ["a"], {"a": 1}])
    def test_kid_must_be_a_string(self, signer: Signer, kid: object) -> None:
        """RFC 7517 section 4.5."""
        with pytest.raises(UnusableKey, match="kid"):
            JWK(members(signer, "ES256", kid=kid))

    @pytest.mark.parametrize("use", ["enc", "SIG", "", "sig ", None, ["sig"], 1])
    def test_use_must_be_sig_where_it_stands(self, signer: Signer, use: object) -> None:
        """RFC 7517 section 4.2: a key for encryption verifies nothing."""
        with pytest.raises(UnusableKey):
            JWK(members(signer, "RS256", use=use))
        assert JWK(members(signer, "RS256", use="sig")).algorithms == RS_AND_PS

    @pytest.mark.parametrize(
        "key_ops",
        [[], ["sign"], ["encrypt"], ["verify", "verify"], ["Verify"], "verify", None, {"verify": 1},
         [["verify"]], ["verify", 1], ["verify", {}]],
    )  # fmt: skip
    def test_key_ops_must_contain_verify_where_it_stands(
        self, signer: Signer, key_ops: object
    ) -> None:
        """RFC 7517 section 4.3: unique names, and `verify` among them."""
        with pytest.raises(UnusableKey):
            JWK(members(signer, "RS256", key_ops=key_ops))

    @pytest.mark.parametrize("key_ops", [["verify"], ["sign", "verify"], ["verify", "x-other"]])
    def test_further_key_ops_do_no_harm(self, signer: Signer, key_ops: list[str]) -> None:
        """Other values may be used (RFC 7517 section 4.3)."""
        key = JWK(members(signer, "RS256", key_ops=key_ops, use="sig"))
        assert key.verification_key(LEASE).algorithms == RS_AND_PS


class TestImport:
    @pytest.mark.parametrize("alg", sorted(ALGORITHMS))
    def test_the_key_carries_what_was_published(self, signer: Signer, alg: str) -> None:
        """Key id, algorithms, thumbprint, and the very lease that was handed in."""
        lease = KeyLease(12.5)
        key = JWK(members(signer, alg, alg=alg, kid="k")).verification_key(lease)
        assert isinstance(key, VerificationKey)
        assert (key.kid, key.algorithms) == ("k", {alg})
        assert key.thumbprint == signer(alg).kid
        assert key.lease is lease

    def test_members_that_are_not_needed_do_no_harm(self, signer: Signer) -> None:
        """What makes the library beneath refuse a whole set is never shown to it."""
        odd = {
            "x5u": "ftp://example.com/", "x5c": None, "x5t": 5, "x5t#S256": "", "ext": "yes",
            "oth": [], "issued": {}, "crv": "P-999", "k": "secret", "iat": 1e9,
        }  # fmt: skip
        plain = JWK(members(signer, "RS256"))
        decorated = JWK(members(signer, "RS256", **odd))
        assert decorated == plain
        assert decorated.verification_key(LEASE).thumbprint == signer("RS256").kid

    def test_of_a_private_key_only_the_public_part_is_taken(self, signer: Signer) -> None:
        """An issuer that publishes its private key by mistake makes it no part of ours."""
        for alg in ("RS256", "ES256", "EdDSA"):
            secret = signer(alg).jwk()
            key = JWK(secret)
            assert secret["d"] not in key._material.values()
            assert not key.verification_key(LEASE)._key.is_private
            assert key == JWK(signer(alg).public_jwk())

    def test_zero_octets_before_an_rsa_number_are_tolerated(self, signer: Signer) -> None:
        """RFC 7518 section 6.3.1.1 forbids them, yet they are seen; the thumbprint ignores them."""
        jwk = members(signer, "RS256")
        for zeros in (1, 2):
            padded = {
                name: encode_base64url(b"\0" * zeros + decode_base64url(jwk[name])) for name in "ne"
            }
            key = JWK({**jwk, **padded}).verification_key(LEASE)
            assert key.thumbprint == signer("RS256").kid

    def test_the_largest_rsa_key_is_taken(self) -> None:
        """8192 bits, with an exponent of 32 bits."""
        jwk = rsa_jwk(2**8191 + 2**4095 + 1, 2**32 - 1)
        assert JWK(jwk).verification_key(LEASE)._key.raw_value.key_size == 8192
        assert JWK(rsa_jwk(2**2047 + 2**1000 + 1)).verification_key(LEASE)

    def test_nothing_is_imported_before_it_is_asked_for(self, signer: Signer) -> None:
        """A hopeless key costs nothing while it is only parsed."""
        hopeless = members(signer, "RS256", n="!" * 300)
        (key,) = parse_jwk_set(key_set(hopeless))
        assert key.fits(None, "RS256")
        with pytest.raises(UnusableKey):
            key.verification_key(LEASE)


def rsa_jwk(n: int, e: int = 65537) -> dict[str, str]:
    def text(number: int) -> str:
        return encode_base64url(number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big"))

    return {"kty": "RSA", "n": text(n), "e": text(e)}


class TestFloors:
    """RFC 7518 sections 3.2 to 3.5, RFC 8725 section 3.5."""

    @pytest.mark.parametrize("bits", [1, 512, 1024, 2047, 8193, 8200])
    def test_rsa_has_2048_to_8192_bits(self, bits: int) -> None:
        """Neither breakable nor a way to keep the processor busy."""
        assert f"{bits} bits" in refused(rsa_jwk(2 ** (bits - 1) + 1 - (bits == 1)))

    def test_rsa_of_2047_bits_is_too_small(self) -> None:
        """A real key, not only a number of that size."""
        numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
        assert "1024 bits" in refused(rsa_jwk(numbers.n))

    def test_a_modulus_of_100_000_bits_is_not_even_decoded(self) -> None:
        """The length of the text says enough."""
        with pytest.raises(UnusableKey, match="its n"):
            JWK(rsa_jwk(2**100_000 + 1))

    @pytest.mark.parametrize("e", [0, 1, 3, 17, 65535, 65536, 65538, 2**32 + 1, 2**64 + 1])
    def test_the_rsa_exponent_is_odd_and_between_65537_and_2_to_the_32(
        self, signer: Signer, e: int
    ) -> None:
        """Small ones invite forgery, large ones are slow, even ones are none."""
        n = int.from_bytes(decode_base64url(members(signer, "RS256")["n"]), "big")
        assert "exponent" in refused(rsa_jwk(n, e))

    def test_the_rsa_modulus_is_odd(self, signer: Signer) -> None:
        """An even one has the factor two."""
        n = int.from_bytes(decode_base64url(members(signer, "RS256")["n"]), "big")
        assert "even" in refused(rsa_jwk(n - 1))

    def test_moduli_of_the_flawed_chip_are_refused(self) -> None:
        """CVE-2017-15361 (ROCA): a power of 65537 modulo the product of the first primes."""
        primes = [p for p in range(2, 702) if all(p % d for d in range(2, p))]
        product = 1
        for prime in primes:
            product *= prime
        n = product * (2**2047 // product) + pow(65537, 1234567, product)
        assert n.bit_length() == 2048
        assert "CVE-2017-15361" in refused(rsa_jwk(n))

    @pytest.mark.parametrize(
        ("alg", "crv"), [("ES256", "P-384"), ("ES384", "P-256"), ("ES512", "P-384")]
    )
    def test_a_point_is_of_the_curve_it_names(self, signer: Signer, alg: str, crv: str) -> None:
        """The coordinates of one curve are no point of another."""
        assert refused(members(signer, alg, crv=crv))

    @pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512"])
    def test_a_point_lies_on_its_curve(self, signer: Signer, alg: str) -> None:
        """Invalid-curve points, the point (0, 0) and coordinates beyond the prime are refused."""
        jwk = members(signer, alg)
        x = decode_base64url(jwk["x"])
        y = bytearray(decode_base64url(jwk["y"]))
        y[-1] ^= 1
        zero, ones = encode_base64url(bytes(len(x))), encode_base64url(b"\xff" * len(x))
        assert refused({**jwk, "y": encode_base64url(bytes(y))})
        assert refused({**jwk, "x": zero, "y": zero})
        assert refused({**jwk, "x": ones})
        assert refused({**jwk, "x": jwk["y"], "y": jwk["x"]})

    def test_a_coordinate_below_the_prime_is_the_only_one(self, signer: Signer) -> None:
        """P-521 has room for x + p in its octets: that is another spelling of the same point."""
        prime = 2**521 - 1
        jwk = members(signer, "ES512")
        x = int.from_bytes(decode_base64url(jwk["x"]), "big")
        assert refused({**jwk, "x": encode_base64url((x + prime).to_bytes(66, "big"))})

    @pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512"])
    def test_coordinates_have_the_full_length(self, signer: Signer, alg: str) -> None:
        """RFC 7518 section 6.2.1.2: no octet less, no octet more."""
        jwk = members(signer, alg)
        x = decode_base64url(jwk["x"])
        assert "length" in refused({**jwk, "x": encode_base64url(x[1:])})
        assert refused({**jwk, "y": encode_base64url(b"\0" + x)})

    @pytest.mark.parametrize("alg", ["EdDSA", "Ed448"])
    def test_edwards_points_have_the_full_length(self, signer: Signer, alg: str) -> None:
        """RFC 8032 sections 5.1.2 and 5.2.2."""
        jwk = members(signer, alg)
        x = decode_base64url(jwk["x"])
        assert "length" in refused({**jwk, "x": encode_base64url(x[1:])})
        assert refused({**jwk, "x": encode_base64url(x + b"\0")})

    @pytest.mark.parametrize("crv", ["X25519", "X448", "P-256", "ed25519", ""])
    def test_other_curves_are_no_signature_keys(self, signer: Signer, crv: str) -> None:
        """Those of key agreement least of all (RFC 8037 section 3.2)."""
        with pytest.raises(UnusableKey):
            JWK(members(signer, "EdDSA", crv=crv))

    def test_secp256k1_is_not_known(self, signer: Signer) -> None:
        """The library beneath knows it; our table does not."""
        with pytest.raises(UnusableKey):
            JWK(members(signer, "ES256", crv="secp256k1"))

    @pytest.mark.parametrize("size", [0, 1, 14, 16, 31])
    def test_a_secret_is_as_long_as_the_hash(self, size: int) -> None:
        """RFC 7518 section 3.2: 32, 48 and 64 octets, and not one less."""
        with pytest.raises(UnusableKey):
            JWK({"kty": "oct", "k": encode_base64url(b"x" * size)})
        for alg, needed in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
            JWK({"kty": "oct", "alg": alg, "k": encode_base64url(b"x" * needed)})
            with pytest.raises(UnusableKey):
                JWK({"kty": "oct", "alg": alg, "k": encode_base64url(b"x" * (needed - 1))})

    @pytest.mark.parametrize(
        ("alg", "name"),
        [
            ("RS256", "n"),
            ("RS256", "e"),
            ("ES256", "x"),
            ("ES256", "y"),
            ("EdDSA", "x"),
            ("HS256", "k"),
        ],
    )
    def test_members_are_in_canonical_base64url(self, signer: Signer, alg: str, name: str) -> None:
        """Padding, whitespace and the other alphabet are refused, as everywhere."""
        jwk = members(signer, alg)
        text = jwk[name]
        for other in (text + "=", text + "\n", " " + text, "+" + text[1:], text[:-1] + "\ud800"):
            assert "base64url" in refused({**jwk, name: other})

    @pytest.mark.parametrize(
        ("alg", "name"),
        [("RS256", "n"), ("RS256", "e"), ("ES256", "crv"), ("ES256", "x"), ("ES256", "y"),
         ("EdDSA", "crv"), ("EdDSA", "x"), ("HS256", "k")],
    )  # fmt: skip
    def test_members_are_strings_of_a_possible_size(
        self, signer: Signer, alg: str, name: str
    ) -> None:
        """Missing, null, a number, a list, empty or gigantic."""
        jwk = members(signer, alg)
        for value in (None, 1, ["a"], {}, "", "A" * 1_000_000):
            with pytest.raises(UnusableKey):
                JWK({**jwk, name: value})
        del jwk[name]
        with pytest.raises(UnusableKey):
            JWK(jwk)

    @pytest.mark.parametrize("kty", ["rsa", "RSA ", "", "AKP", None, 1, ["RSA"], {}])
    def test_the_type_is_a_known_one(self, signer: Signer, kty: object) -> None:
        """Other types may come to be (RFC 7518 section 6.1); they verify nothing here."""
        with pytest.raises(UnusableKey, match="kty"):
            JWK(members(signer, "RS256", kty=kty))
        with pytest.raises(UnusableKey, match="kty"):
            JWK({})

    def test_whatever_the_library_does_it_costs_one_key(
        self, signer: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An exception of any kind while importing is an unusable key."""

        def explode(*_: object) -> None:
            raise KeyError("hunter2")

        monkeypatch.setattr("authkit.jose.material.thumbprint", explode)
        material = key_material(members(signer, "RS256"))
        with pytest.raises(UnusableKey) as caught:
            import_material(material)
        assert "hunter2" not in str(caught.value)


class TestSet:
    def test_usable_keys_come_in_order(self, signer: Signer) -> None:
        """The order is the issuer's."""
        algs = ["ES256", "RS256", "EdDSA", "HS256"]
        keys = parse_jwk_set(key_set(*(members(signer, alg, kid=alg) for alg in algs)))
        assert [key.kid for key in keys] == algs
        assert parse_jwk_set(b'{"keys":[]}') == ()

    @pytest.mark.parametrize(
        "entry",
        [
            None, 1, "RSA", [], {}, {"kty": "RSA"}, {"kty": "AKP", "alg": "ML-DSA-44"},
            {"kty": ["RSA"]}, {"kty": {}}, {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
            {"kty": "OKP", "crv": "Ed999", "x": "AA"}, {"kty": "oct", "k": ""},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": ["sig"], "key_ops": ["verify"]},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": None},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": None},
        ],
    )  # fmt: skip
    def test_an_unusable_entry_is_skipped(self, signer: Signer, entry: object) -> None:
        """RFC 7517 section 5: the good key beside it still works."""
        good = members(signer, "ES256")
        for order in ((entry, good), (good, entry)):
            assert parse_jwk_set(key_set(*order)) == (JWK(good),)

    @pytest.mark.parametrize(
        "data",
        [
            b"", b"{}", b"[]", b"null", b"<html></html>", b'{"keys":null}', b'{"keys":{}}',
            b'{"keys":"RSA"}', b'{"keys":5}', b'{"Keys":[]}', b'{"keys":[],"keys":[]}',
            b'{"keys":[{"kty":"RSA","kty":"EC"}]}', b'{"keys":[]', b'\xef\xbb\xbf{"keys":[]}',
            b'{"keys":[' + b"[" * 40 + b"]" * 40 + b"]}", b'{"keys":[{"a":1e400}]}',
        ],
    )  # fmt: skip
    def test_what_is_no_key_set_is_refused_as_a_whole(self, data: bytes) -> None:
        """No array of keys in strict JSON: nothing of it can be trusted."""
        with pytest.raises(NotStrict):
            parse_jwk_set(data)

    def test_further_members_of_a_set_are_ignored(self, signer: Signer) -> None:
        """RFC 7517 section 5."""
        data = json.dumps({"next": [1], "keys": [members(signer, "ES256")], "x": None}).encode()
        assert len(parse_jwk_set(data)) == 1

    def test_the_number_of_keys_is_bounded(self) -> None:
        """1,000 entries, usable or not; more is no key set of an issuer."""
        assert parse_jwk_set(key_set(*[{}] * 1000)) == ()
        with pytest.raises(NotStrict, match="1000"):
            parse_jwk_set(key_set(*[{}] * 1001))
        assert len(parse_jwk_set(key_set({}, {}), max_keys=2)) == 0
        with pytest.raises(NotStrict, match="more than 1 keys"):
            parse_jwk_set(key_set({}, {}), max_keys=1)

    def test_a_key_is_not_lost_for_want_of_stack(
        self, signer: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the stack gives out the set is not read at all, rather than without some keys."""

        def exhausted(*_: object) -> None:
            raise RecursionError

        monkeypatch.setattr("authkit.jose.jwk.key_material", exhausted)
        with pytest.raises(NotStrict):
            parse_jwk_set(key_set(members(signer, "ES256")))

    def test_a_thousand_keys_with_certificates_are_not_too_deep(self, signer: Signer) -> None:
        """Many neighbours are not nesting."""
        jwk = members(signer, "ES256", x5c=["MIIB"])
        keys = parse_jwk_set(key_set(*({**jwk, "kid": str(i)} for i in range(1000))))
        assert len({key.kid for key in keys}) == 1000


class TestValues:
    def test_equal_keys_can_stand_for_each_other(self, signer: Signer) -> None:
        """A refreshed set carries over what was imported, though its certificates are new."""
        old = JWK(members(signer, "RS256", use="sig", x5t="a"))
        new = JWK(members(signer, "RS256", key_ops=["verify"], x5t="b"))
        assert old == new
        assert hash(old) == hash(new)
        assert len({old, new}) == 1

    @pytest.mark.parametrize("change", [{"kid": "other"}, {"alg": "RS256"}, {"e": "AQAD"}])
    def test_keys_that_differ_in_use_are_not_equal(
        self, signer: Signer, change: dict[str, str]
    ) -> None:
        """Another id, other algorithms or other numbers."""
        assert JWK(members(signer, "RS256")) != JWK(members(signer, "RS256", **change))

    def test_a_key_is_not_equal_to_anything_else(self, signer: Signer) -> None:
        """Not even to its own members."""
        assert JWK(members(signer, "RS256")) != members(signer, "RS256")

    @pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA", "HS256"])
    def test_no_key_material_shows(self, signer: Signer, alg: str) -> None:
        """A repr may end up in a log: it names the key and no more."""
        jwk = members(signer, alg)
        key = JWK(jwk)
        imported = key.verification_key(LEASE)
        for text in (repr(key), repr(imported), str(key), str(imported)):
            assert repr(jwk["kid"]) in text
            for name in ("n", "x", "y", "k"):
                assert jwk.get(name, "\0")[:16] not in text
        assert imported.thumbprint in repr(imported)

    def test_a_long_kid_is_cut_in_a_repr(self, signer: Signer) -> None:
        """It came from outside, and may be a megabyte."""
        key = JWK(members(signer, "ES256", kid="k" * 100_000))
        assert len(repr(key)) < 200
        assert len(repr(key.verification_key(LEASE))) < 200
        del (nameless := members(signer, "ES256"))["kid"]
        assert "kid=None" in repr(JWK(nameless))

    def test_a_lease_is_shared_and_shows_itself(self) -> None:
        """It is changed in place and read live."""
        lease = KeyLease(5.0)
        assert (lease.trusted_until, lease.withdrawn) == (5.0, False)
        lease.trusted_until, lease.withdrawn = 6.0, True
        assert repr(lease) == "KeyLease(trusted_until=6.0, withdrawn=True)"
