"""The promises of a KeyProvider about which keys it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, SignatureInvalid
from authkit.interfaces import KeyProvider, VerificationKey
from authkit.jose.jws import UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey
from authkit.testing.contracts.backend import Advance, BackendContract
from authkit.testing.contracts.difficult_text import DIFFICULT_TEXTS
from authkit.testing.contracts.published_keys import make_signing_keys, published_document

__all__ = ["KeyProviderFinding", "verifies"]

A_FETCH_SECONDS = 0.02
"""What a fetch in the background is given before a caller comes again."""


class KeyProviderFinding(BackendContract):
    """The part of the suite in which the published keys stay the same."""

    interface = "keys"

    @pytest.fixture
    def provider(self) -> KeyProvider:
        """The provider under test; to be overridden."""
        raise NotImplementedError("override the fixture `provider`")

    @pytest.fixture
    def signing_keys(self) -> Mapping[str, SigningKey]:
        """The private keys of what is published."""
        return make_signing_keys()

    @pytest.fixture
    def published(self) -> dict[str, Any]:
        """The JWK Set that the provider knows at first, to be changed by nobody."""
        return published_document()

    @pytest.fixture
    def backend(self, provider: KeyProvider) -> KeyProvider:
        return provider

    async def use(self, backend: KeyProvider) -> None:
        assert [key.kid for key in await backend.find("ec", "ES256")] == ["ec"]

    async def find(
        self, provider: KeyProvider, kid: str | None, alg: str
    ) -> tuple[VerificationKey, ...]:
        found = await self.in_time(provider.find(kid, alg))
        assert isinstance(found, tuple)
        return found

    async def find_one(self, provider: KeyProvider, kid: str | None, alg: str) -> VerificationKey:
        (found,) = await self.find(provider, kid, alg)
        return found

    async def assert_recovers(self, provider: KeyProvider, advance: Advance) -> VerificationKey:
        """Checks that after an outage a key is found, by a caller that comes again when told to."""
        await advance(self.staleness_seconds)
        for _ in range(2):
            try:
                return await self.find_one(provider, "ec", "ES256")
            except BackendUnavailable as error:
                await advance(error.retry_after_seconds)
                await asyncio.sleep(A_FETCH_SECONDS)  # what it began it may end in the background
        return await self.find_one(provider, "ec", "ES256")

    @pytest.mark.parametrize("name", ["rsa", "ec", "ed", "without_alg", "namesake_ec"])
    async def test_finds_a_key_that_verifies(
        self, provider: KeyProvider, signing_keys: Mapping[str, SigningKey], name: str
    ) -> None:
        """By the key id and algorithm of a genuine token it finds the one key that signed it."""
        signing = signing_keys[name]
        found = await self.find_one(provider, signing.kid, signing.alg)
        assert found.kid == signing.kid
        assert signing.alg in found.algorithms
        assert verifies([found], signing)

    @pytest.mark.parametrize(
        ("kid", "alg"),
        [("rsa", "PS256"), ("rsa", "ES256"), ("ec", "RS256"), ("ec", "ES384"), ("ed", "ES256")],
    )
    async def test_a_key_is_for_its_algorithm_only(
        self, provider: KeyProvider, kid: str, alg: str
    ) -> None:
        """A key is not found for another algorithm than the published one."""
        assert await self.find(provider, kid, alg) == ()

    @pytest.mark.parametrize("alg", ["ES256", "RS256", "HS512", "none", ""])
    async def test_a_key_without_alg_is_for_its_type_and_curve_only(
        self, provider: KeyProvider, alg: str
    ) -> None:
        """Where the issuer names no `alg`, the type and the curve of the key decide."""
        assert await self.find(provider, "without alg", alg) == ()

    @pytest.mark.parametrize(
        "kid",
        ["EC", "ec ", " ec", "e", "ecc", "ec\x00", "*", "e.", "../ec", "\uff45c", ""],
        ids=ascii,
    )
    async def test_compares_key_ids_exactly(self, provider: KeyProvider, kid: str) -> None:
        """A key id that is not published gives no key, however alike it looks."""
        assert await self.find(provider, kid, "ES256") == ()

    @pytest.mark.parametrize("name", ["composed", "decomposed"])
    async def test_does_not_normalise_key_ids(
        self, provider: KeyProvider, signing_keys: Mapping[str, SigningKey], name: str
    ) -> None:
        """Of two key ids that only look the same, each finds its own key."""
        signing = signing_keys[name]
        assert verifies([await self.find_one(provider, signing.kid, "ES256")], signing)

    @pytest.mark.parametrize("name", list(DIFFICULT_TEXTS))
    async def test_takes_any_text_for_a_key_id(
        self, provider: KeyProvider, signing_keys: Mapping[str, SigningKey], name: str
    ) -> None:
        """A published key id may hold any characters and be long."""
        signing = signing_keys[f"difficult_{name}"]
        assert verifies([await self.find_one(provider, signing.kid, "ES256")], signing)

    async def test_finds_all_keys_of_one_id(
        self, provider: KeyProvider, signing_keys: Mapping[str, SigningKey]
    ) -> None:
        """Where two keys share an id, both are candidates."""
        found = await self.find(provider, "twins", "ES384")
        assert len(found) == 2
        assert verifies(found, signing_keys["twin_1"])
        assert verifies(found, signing_keys["twin_2"])

    async def test_without_an_id_finds_all_that_fit(self, provider: KeyProvider) -> None:
        """A token without a key id may be signed by any key for its algorithm."""
        found = await self.find(provider, None, "ES384")
        assert sorted(str(key.kid) for key in found) == ["namesakes", "twins", "twins"]

    async def test_finds_four_at_most(self, provider: KeyProvider) -> None:
        """However many keys fit, a token costs at most four attempts."""
        found = await self.find(provider, None, "ES256")
        assert len(found) == 4
        assert all("ES256" in key.algorithms for key in found)

    async def test_a_key_without_an_id_fits_where_none_is_named(
        self, provider: KeyProvider, signing_keys: Mapping[str, SigningKey]
    ) -> None:
        """It is found without an id, and by no id."""
        signing = signing_keys["without_kid"]
        assert verifies(await self.find(provider, None, "Ed25519"), signing)
        for kid in ("", "None", "null", signing.kid):
            assert await self.find(provider, kid, "Ed25519") == ()

    @pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
    async def test_passes_over_unusable_keys(self, provider: KeyProvider, alg: str) -> None:
        """An entry that cannot be used is no key, and spoils no other."""
        assert await self.find(provider, "unusable", alg) == ()
        assert all(key.kid != "unusable" for key in await self.find(provider, None, alg))

    async def test_never_verifies_with_an_encryption_key(self, provider: KeyProvider) -> None:
        """A key with `use` `enc` is not found (RFC 7517 section 4.2)."""
        assert await self.find(provider, "encryption", "ES384") == ()


def verifies(keys: Sequence[VerificationKey], signing: SigningKey) -> bool:
    """Whether one of the keys proves a signature made now."""
    text = signing.sign({"kid": "any"}, {"iss": "https://issuer.example"})
    token = UnverifiedToken.parse(text)
    try:
        return verify_signature(token, token.header(), keys).key in keys
    except SignatureInvalid:
        return False
