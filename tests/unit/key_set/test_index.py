"""Keys of a set are found without a search, imported when needed, and keep their identity."""

from __future__ import annotations

import tracemalloc

import pytest

from authkit.interfaces import (
    VerificationKey,
)
from authkit.jose.jwk import JWK, KeyLease
from authkit.key_set import MAX_CANDIDATES, KeySet
from tests.unit.key_set.scripted import (
    KEYS,
    OFF_CURVE,
    SECRET,
    kids,
    parsed,
)


def test_a_key_is_found_by_its_exact_id_and_algorithm() -> None:
    """A key id is compared byte for byte, and the algorithm must be the key's."""
    keys = KeySet(parsed("a", "b"), trusted_until=7)

    assert kids(keys.find("a", "ES256")) == ["a"]
    assert keys.find("A", "ES256") == keys.find("a ", "ES256") == keys.find("", "ES256") == ()
    assert keys.find("a", "ES384") == keys.find("a", "RS256") == ()
    assert keys.find("a", "ES256")[0].lease.trusted_until == 7


def test_without_a_key_id_all_that_fit_are_candidates_up_to_a_limit() -> None:
    """The issuer's order decides, and no set makes us try more than a few keys."""
    keys = KeySet(parsed("f", "e", "d", "c", "b", "a"), trusted_until=7)

    assert kids(keys.find(None, "ES256")) == ["f", "e", "d", "c"]
    assert MAX_CANDIDATES == 4
    assert keys.find(None, "RS256") == ()


def test_keys_that_share_an_id_are_candidates_up_to_the_limit() -> None:
    """Two keys with one id are legal (RFC 7517 section 4.5), a hundred are an attack."""
    same = [{**KEYS[name], "kid": "same"} for name in ("a", "b", "c", "d", "e", "f")]
    keys = KeySet(parsed(*same), trusted_until=7)

    assert len(keys.find("same", "ES256")) == 4


def test_a_key_without_an_id_fits_only_tokens_without_one() -> None:
    """A token that names a key is never tried with another."""
    nameless = {name: value for name, value in KEYS["a"].items() if name != "kid"}
    keys = KeySet(parsed(nameless), trusted_until=7)

    assert kids(keys.find(None, "ES256")) == [None]
    assert keys.find("a", "ES256") == ()


def test_unusable_keys_are_skipped_and_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One odd key never spoils the others, whatever importing it raises."""
    imports: list[str | None] = []
    real = JWK.verification_key

    def counted(self: JWK, lease: KeyLease) -> VerificationKey:
        imports.append(self.kid)
        if self.kid == "b":
            raise RuntimeError("an error that nobody thought of")
        return real(self, lease)

    monkeypatch.setattr(JWK, "verification_key", counted)
    keys = KeySet(parsed(OFF_CURVE, "b", "c"), trusted_until=7)

    assert imports == []
    for _ in range(3):
        assert kids(keys.find(None, "ES256")) == ["c"]
        assert keys.find("off-curve", "ES256") == keys.find("b", "ES256") == ()
    assert imports == ["off-curve", "b", "c"]
    assert keys.unusable == 2
    assert keys.is_usable
    assert not KeySet(parsed(OFF_CURVE), trusted_until=7).is_usable


def test_equal_keys_count_once() -> None:
    """A key that is published twice does not take the place of another candidate."""
    keys = KeySet(parsed("a", "a", "a", "a", "b"), trusted_until=7)

    assert len(keys) == 2
    assert kids(keys.find(None, "ES256")) == ["a", "b"]


def test_secrets_count_only_where_they_are_allowed() -> None:
    """A published secret verifies nothing: anyone could sign with it (RFC 8725 section 3.1)."""
    published = KeySet(parsed(SECRET), trusted_until=7)
    configured = KeySet(parsed(SECRET), trusted_until=7, allow_symmetric=True)

    assert published.find("secret", "HS256") == published.find(None, "HS256") == ()
    assert kids(configured.find("secret", "HS256")) == ["secret"]
    assert kids(configured.replaced_by(parsed(SECRET)).find("secret", "HS256")) == ["secret"]
    assert published.replaced_by(parsed(SECRET)).find("secret", "HS256") == ()


def test_keys_that_stay_keep_their_identity_and_those_that_go_are_withdrawn() -> None:
    """What was proven with a key stays proven across a rotation, unless it is that key's."""
    before = KeySet(parsed("a", "b"), trusted_until=7)
    a, b = before.find("a", "ES256")[0], before.find("b", "ES256")[0]

    after = before.replaced_by(parsed({**KEYS["a"], "x5t": "no difference"}, "c"))

    assert after.find("a", "ES256") == (a,)
    assert not a.lease.withdrawn
    assert b.lease.withdrawn
    assert after.find("b", "ES256") == ()
    assert kids(after.find("c", "ES256")) == ["c"]
    assert after.kept == 1


def test_a_key_that_comes_back_has_a_new_lease() -> None:
    """Withdrawn is for good: what a withdrawn key proved has to be proven again."""
    first = KeySet(parsed("a"), trusted_until=7)
    old = first.find("a", "ES256")[0]
    new = first.replaced_by(()).replaced_by(parsed("a")).find("a", "ES256")[0]

    assert new.thumbprint == old.thumbprint
    assert old.lease.withdrawn
    assert not new.lease.withdrawn


def test_the_same_id_with_another_key_is_another_key() -> None:
    """An issuer that reuses a key id withdraws the key that had it."""
    before = KeySet(parsed("a"), trusted_until=7)
    old = before.find("a", "ES256")[0]
    after = before.replaced_by(parsed({**KEYS["b"], "kid": "a"}))

    assert old.lease.withdrawn
    assert after.find("a", "ES256")[0].thumbprint != old.thumbprint


def test_leases_move_together() -> None:
    """A refresh prolongs the keys that were imported, and those that will be."""
    keys = KeySet(parsed("a", "b"), trusted_until=7)
    a = keys.find("a", "ES256")[0]
    keys.trust(9)

    assert a.lease.trusted_until == keys.find("b", "ES256")[0].lease.trusted_until == 9
    later = keys.replaced_by(parsed("c"))
    assert later.find("c", "ES256")[0].lease.trusted_until == 9


def test_what_is_not_there_is_not_remembered() -> None:
    """A flood of invented key ids and algorithms takes no memory."""
    keys = KeySet(parsed("a"), trusted_until=7)
    keys.find("a", "ES256")
    keys.find(None, "ES256")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(5_000):
        assert keys.find(f"kid-{number}", "ES256") == ()
        assert keys.find(None, f"alg-{number}") == ()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 20_000
