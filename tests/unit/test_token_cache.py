"""Proven tokens and headers: found by exact text, within bounds, while their key may be used."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit.interfaces import KeyLease, TokenFacts, VerificationKey
from authkit.jose.jws import JoseHeader
from authkit.principal import Principal
from authkit.token_cache import HeaderMemo, ProvenToken, TokenCache

NOW = 1_800_000_000.0
FOREVER = float("inf")


def proven(
    subject: str = "alice",
    until: float = NOW + 300,
    lease: KeyLease | None = None,
    claims: dict[str, Any] | None = None,
) -> ProvenToken:
    principal = Principal(
        subject=subject, issuer="i", token_id=subject, expires_at=until, claims=claims
    )
    facts = TokenFacts(
        issuer="i",
        token_id=subject,
        subject=subject,
        client_id=None,
        session_id=None,
        issued_at=None,
        expires_at=until,
        token_version=None,
        key_thumbprint="t",
    )
    return ProvenToken(principal, facts, (), until, lease or KeyLease(FOREVER), "0" * 64)


@pytest.fixture(params=[False, True], ids=["text", "hash"])
def hashes_tokens(request: pytest.FixtureRequest) -> bool:
    """Both ways to key the cache."""
    return bool(request.param)


def test_a_token_is_found_by_its_exact_text(hashes_tokens: bool) -> None:
    """Not by a prefix, another case or another spelling of its signature."""
    cache = TokenCache(hashes_tokens=hashes_tokens)
    entry = proven()
    cache.add("aaa.bbb.ccc", entry)
    assert cache.find("aaa.bbb.ccc", NOW) is entry
    for other in (
        "aaa.bbb.cc",
        "aaa.bbb.ccC",
        "aaa.bbb.ccc=",
        "aaa.bbb.cccc",
        "",
        "aaa.bbb.ccc\udcff",
    ):
        assert cache.find(other, NOW) is None


def test_a_token_is_forgotten_when_its_time_is_over(hashes_tokens: bool) -> None:
    """Each hit reads the clock: at the end of its time it is gone, not a moment before."""
    cache = TokenCache(hashes_tokens=hashes_tokens)
    cache.add("t", proven(until=NOW + 10))
    assert cache.find("t", NOW + 9.999) is not None
    assert cache.find("t", NOW + 10) is None
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_a_token_is_forgotten_when_its_key_is_withdrawn(hashes_tokens: bool) -> None:
    """Each hit reads the key's lease."""
    cache = TokenCache(hashes_tokens=hashes_tokens)
    lease = KeyLease(FOREVER)
    cache.add("t", proven(lease=lease))
    assert cache.find("t", NOW) is not None
    lease.withdrawn = True
    assert cache.find("t", NOW) is None


def test_a_token_follows_its_keys_lease_as_it_moves() -> None:
    """A refresh moves `trusted_until` forward for all tokens of the key at once."""
    cache = TokenCache()
    lease = KeyLease(NOW + 5)
    cache.add("t", proven(lease=lease))
    lease.trusted_until = NOW + 50
    assert cache.find("t", NOW + 49) is not None
    assert cache.find("t", NOW + 50) is None


def test_no_more_tokens_are_kept_than_allowed(hashes_tokens: bool) -> None:
    """A stranger cannot make the process grow."""
    cache = TokenCache(max_entries=10, hashes_tokens=hashes_tokens)
    for number in range(1_000):
        cache.add(f"t{number}", proven())
    assert len(cache) == 10
    assert cache.find("t999", NOW) is not None
    assert cache.find("t0", NOW) is None


def test_tokens_in_use_outlive_those_that_are_not() -> None:
    """Second chance: a hit since the last turn keeps a token."""
    cache = TokenCache(max_entries=3)
    for name in "abc":
        cache.add(name, proven())
    cache.find("a", NOW)
    cache.add("d", proven())
    assert cache.find("b", NOW) is None
    assert cache.find("a", NOW) is not None
    assert len(cache) == 3


def test_a_cache_of_tokens_all_in_use_still_takes_a_new_one() -> None:
    """When each has had its second chance, the oldest goes."""
    cache = TokenCache(max_entries=3)
    for name in "abc":
        cache.add(name, proven())
        cache.find(name, NOW)
    cache.add("d", proven())
    assert cache.find("d", NOW) is not None
    assert cache.find("a", NOW) is None


def test_memory_is_bounded_too() -> None:
    """Large tokens make room for fewer."""
    cache = TokenCache(max_bytes=100_000)
    for number in range(100):
        cache.add(f"{number}" + "x" * 4_000, proven())
        assert cache.size_bytes <= 100_000
    assert 0 < len(cache) < 10


def test_a_token_larger_than_the_cache_is_not_kept() -> None:
    """And it drives nothing else out."""
    cache = TokenCache(max_bytes=10_000)
    cache.add("small", proven())
    cache.add("x" * 10_000, proven())
    assert cache.find("small", NOW) is not None
    assert len(cache) == 1


def test_the_estimate_of_memory_is_not_too_low() -> None:
    """A thousand real-looking tokens take no more than the cache believes."""
    cache = TokenCache()
    gc.collect()
    tracemalloc.start()
    for number in range(1_000):
        claims = {
            "iss": f"https://login.example.com/{number}",
            "sub": f"user-{number}",
            "aud": ["orders", "billing"],
            "exp": NOW + number,
            "iat": NOW + number,
            "jti": f"{number:032x}",
            "scope": f"orders:read orders:write profile-{number}",
            "realm_access": {"roles": [f"role-{number}", "user"]},
        }
        cache.add(f"{number:0800d}", proven(subject=f"user-{number}", claims=claims))
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used <= cache.size_bytes


def test_a_token_proven_twice_is_kept_once() -> None:
    """Two requests may prove the same token at the same time."""
    cache = TokenCache()
    first, second = proven(), proven()
    cache.add("t", first)
    cache.add("t", second)
    assert cache.find("t", NOW) is second
    assert len(cache) == 1


def test_a_cache_without_room_keeps_nothing() -> None:
    """`max_entries=0` verifies every token anew."""
    cache = TokenCache(max_entries=0)
    cache.add("t", proven())
    assert cache.find("t", NOW) is None


def test_a_token_that_was_forgotten_makes_no_room_twice() -> None:
    """Its place was free already when its turn comes, so that another one must go."""
    cache = TokenCache(max_entries=2)
    for name, until in (("a", NOW + 1), ("b", NOW + 100)):
        cache.add(name, proven(until=until))
    assert cache.find("a", NOW + 2) is None
    for name in ("c", "d"):
        cache.add(name, proven(until=NOW + 100))
    assert [name for name in "abcd" if cache.find(name, NOW + 2)] == ["c", "d"]
    assert len(cache) == 2


def test_tokens_that_expire_one_by_one_leave_no_trace() -> None:
    """What was forgotten early does not pile up behind the entries."""
    cache = TokenCache(max_entries=100)
    for number in range(10_000):
        cache.add(f"t{number}", proven(until=NOW + 1))
        assert cache.find(f"t{number}", NOW + 1) is None
    assert len(cache._ring) <= 16


@pytest.mark.parametrize("options", [{"max_entries": -1}, {"max_bytes": -1}])
def test_negative_bounds_are_refused(options: dict[str, int]) -> None:
    """They can only be a mistake."""
    with pytest.raises(ConfigurationError):
        TokenCache(**options)


def key(lease: KeyLease) -> VerificationKey:
    return VerificationKey(
        kid="k", algorithms=frozenset({"RS256"}), thumbprint="t", lease=lease, key=None
    )


HEADER = JoseHeader(alg="RS256", kid="k", typ=None)


def test_a_header_is_remembered_with_its_keys() -> None:
    """So that it is parsed once for all tokens of a key."""
    memo = HeaderMemo()
    keys = (key(KeyLease(FOREVER)),)
    memo.add("h", HEADER, keys)
    assert memo.find("h", NOW) == (HEADER, keys)
    assert memo.find("H", NOW) is None


@pytest.mark.parametrize("spoil", ["withdrawn", "expired"])
def test_a_header_is_forgotten_with_any_of_its_keys(spoil: str) -> None:
    """The memo obeys the same leases as the cache."""
    memo = HeaderMemo()
    lease = KeyLease(NOW + 10)
    memo.add("h", HEADER, (key(KeyLease(FOREVER)), key(lease)))
    assert memo.find("h", NOW + 9) is not None
    if spoil == "withdrawn":
        lease.withdrawn = True
        assert memo.find("h", NOW) is None
    else:
        assert memo.find("h", NOW + 10) is None


def test_the_memo_of_headers_is_bounded() -> None:
    """An issuer that makes a header for each token does not fill the memory."""
    memo = HeaderMemo(max_entries=10)
    for number in range(1_000):
        memo.add(f"h{number}", HEADER, (key(KeyLease(FOREVER)),))
    assert memo.find("h999", NOW) is not None
    assert len(memo._entries) <= 10
