"""Ids are hashed so that none is taken for another, and with a secret nobody can try names."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.errors import ConfigurationError
from authkit.interfaces import RevocationScope
from authkit.testing.contracts.revocation_examples import ISSUER, token
from authkit_redis.revocations.digests import DIGEST_BYTES, Digests, issuer_tag, named

SCOPES = st.sampled_from(RevocationScope)
IDS = st.tuples(SCOPES, st.text(max_size=8), st.text(max_size=8))


@given(IDS, IDS)
def test_different_ids_have_different_digests(one: Any, other: Any) -> None:
    """Wherever issuer and id are divided, and whatever characters they have."""
    digests = Digests(None)
    assert (digests.hash(*one) == digests.hash(*other)) == (one == other)


@pytest.mark.parametrize("issuer", ["", "1:", "12:ab", "\ud800"])
def test_no_issuer_runs_into_its_id(issuer: str) -> None:
    """However the text is cut into issuer and id, the digest tells where."""
    digests, text = Digests(None), f"{issuer}3:abc"
    cuts = [digests.hash(RevocationScope.TOKEN, text[:at], text[at:]) for at in range(len(text))]
    assert len(set(cuts)) == len(cuts)


def test_every_scope_has_digests_of_its_own() -> None:
    """A session that is named like a token is not revoked with it."""
    digests = Digests(None)
    found = {digests.hash(scope, ISSUER, "same") for scope in RevocationScope}
    assert len(found) == len(RevocationScope)
    assert {len(digest) for digest in found} == {DIGEST_BYTES}


def test_secrets_divide() -> None:
    """With another secret all digests are others, and so is the check, which tells no secret."""
    secrets: list[bytes | None] = [None, b"1" * 16, b"2" * 16, b"1" * 17]
    for one, other in combinations(map(Digests, secrets), 2):
        arguments = (RevocationScope.TOKEN, ISSUER, "token-1")
        assert one.hash(*arguments) != other.hash(*arguments)
        assert one.check != other.check
    assert Digests(b"1" * 16).check == Digests(b"1" * 16).check


@pytest.mark.parametrize("secret", [b"", b"1" * 15, "1" * 16, bytearray(16), 16])
def test_a_secret_without_sense_is_refused(secret: Any) -> None:
    """And is not repeated in the message."""
    with pytest.raises(ConfigurationError, match="at least 16 bytes") as raised:
        Digests(secret)
    assert "111" not in str(raised.value)


def test_of_a_token_there_is_one_digest_for_each_id() -> None:
    """In the order of the scopes; those that it has not are left out."""
    digests, facts = Digests(None), token(1_000.0, session_id=None, client_id=None)
    expected = [digests.hash(scope, ISSUER, name) for scope, name in named(facts)]
    assert list(digests.of(facts)) == expected
    assert [scope for scope, _ in named(facts)] == [
        RevocationScope.TOKEN,
        RevocationScope.SUBJECT,
        RevocationScope.ISSUER,
        RevocationScope.VERSION,
        RevocationScope.KEY,
    ]


def test_what_is_remembered_is_that_of_the_very_token() -> None:
    """However many come in between, and wherever the memory of one is used for the next."""
    digests = Digests(None)
    first = token(1_000.0, token_id="first")
    before = digests.of(first)
    assert digests.of(first) is before
    for number in range(10_100):
        facts = token(1_000.0, token_id=f"token-{number}")
        assert digests.of(facts)[0] == digests.hash(RevocationScope.TOKEN, ISSUER, facts.token_id)
    assert digests.of(first) == before
    assert digests.of(first)[0] != digests.of(token(1_000.0, token_id="other"))[0]


@given(st.text())
def test_any_issuer_has_a_tag(issuer: str) -> None:
    """Four bytes, the same each time."""
    assert len(issuer_tag(issuer)) == 4
    assert issuer_tag(issuer) == issuer_tag(issuer)
