"""Key providers that find the wrong keys."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from authkit.errors import BackendUnavailable
from authkit.interfaces import VerificationKey
from authkit.jose.jwk import JWK
from tests.contracts.bad_backends.honest_key_provider import HonestProvider


class IgnoresTheAlgorithm(HonestProvider):
    breaks = (
        "test_a_key_is_for_its_algorithm_only",
        "test_a_key_without_alg_is_for_its_type_and_curve_only",
    )
    breaks_more = True

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return kid is None or kid == jwk.kid


class TakesAnyAlgorithmOfTheType(HonestProvider):
    """An RSA key for RS256 is an RSA key for PS256."""

    breaks = ("test_a_key_is_for_its_algorithm_only",)

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return super().fits(jwk, kid, "RS256" if kid == "rsa" and alg == "PS256" else alg)


class FoldsKeyIds(HonestProvider):
    breaks = ("test_compares_key_ids_exactly",)

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        is_alike = kid is not None and jwk.kid is not None and kid.lower() == jwk.kid.lower()
        return super().fits(jwk, jwk.kid if is_alike else kid, alg)


class StripsKeyIds(HonestProvider):
    breaks = ("test_compares_key_ids_exactly", "test_takes_any_text_for_a_key_id")

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return super().fits(jwk, None if kid is None else kid.strip(), alg)


class NormalisesKeyIds(HonestProvider):
    breaks = ("test_compares_key_ids_exactly", "test_does_not_normalise_key_ids")

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        if kid is None or jwk.kid is None:
            return super().fits(jwk, kid, alg)
        is_alike = unicodedata.normalize("NFKC", kid) == unicodedata.normalize("NFKC", jwk.kid)
        return is_alike and super().fits(jwk, None, alg)


class RefusesOddKeyIds(HonestProvider):
    breaks = ("test_compares_key_ids_exactly", "test_takes_any_text_for_a_key_id")

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        if kid is not None and not kid.isprintable():
            raise BackendUnavailable("keys", "not a key id")
        return super().known(kid, alg)


class IgnoresTheKeyId(HonestProvider):
    breaks = ("test_compares_key_ids_exactly", "test_finds_all_keys_of_one_id")
    breaks_more = True

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return super().fits(jwk, None, alg)


class TakesAnotherKeyForGood(HonestProvider):
    """Where no key has the id, the keys that would fit without one are taken."""

    breaks = (
        "test_a_key_without_an_id_fits_where_none_is_named",
        "test_answers_many_at_once",
        "test_compares_key_ids_exactly",
        "test_passes_over_unusable_keys",
    )
    breaks_more = True

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        return super().known(kid, alg) or super().known(None, alg)


class FindsOneKeyOnly(HonestProvider):
    breaks = (
        "test_answers_many_at_once",
        "test_finds_all_keys_of_one_id",
        "test_finds_four_at_most",
        "test_without_an_id_finds_all_that_fit",
    )

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        return super().known(kid, alg)[:1]


class FindsEveryKey(HonestProvider):
    breaks = ("test_finds_four_at_most",)

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        return tuple(self.usable(kid, alg))


class NeedsAKeyId(HonestProvider):
    breaks = (
        "test_a_key_without_an_id_fits_where_none_is_named",
        "test_finds_four_at_most",
        "test_without_an_id_finds_all_that_fit",
    )

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return kid is not None and super().fits(jwk, kid, alg)


class TakesKeysWithoutAnIdForAny(HonestProvider):
    breaks = ("test_a_key_without_an_id_fits_where_none_is_named",)

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return super().fits(jwk, None if jwk.kid is None else kid, alg)


class IgnoresTheUse(HonestProvider):
    breaks = ("test_never_verifies_with_an_encryption_key",)

    def parsed(self, published: Mapping[str, Any]) -> Sequence[JWK]:
        keys = [
            {**key, "use": "sig"} if isinstance(key, dict) else key for key in published["keys"]
        ]
        return super().parsed({"keys": keys})

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        found = super().known(kid, alg)
        return found if kid is not None else tuple(key for key in found if key.kid != "encryption")


class NeedsAlg(HonestProvider):
    breaks = ("test_finds_a_key_that_verifies",)

    def parsed(self, published: Mapping[str, Any]) -> Sequence[JWK]:
        return super().parsed({"keys": [key for key in published["keys"] if "alg" in key]})


class IsSpoiledByOneKey(HonestProvider):
    breaks = ("test_takes_any_text_for_a_key_id",)
    breaks_more = True

    def take(self, published: Mapping[str, Any]) -> None:
        if '"FUTURE"' not in json.dumps(published):
            super().take(published)


class OffersUnusableKeys(HonestProvider):
    breaks = ("test_passes_over_unusable_keys",)

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        found = super().known(kid, alg)
        return found if kid != "unusable" else super().known("ec", "ES256")


class SwapsKeysOfOneAlgorithm(HonestProvider):
    """The key of one id is handed out under another one."""

    breaks = ("test_does_not_normalise_key_ids",)

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        return super().known("cl\u00e9" if kid == "cle\u0301" else kid, alg)
