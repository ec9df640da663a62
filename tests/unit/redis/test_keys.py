"""Every key of a prefix is in one slot, and no key is one of another prefix."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from authkit.errors import ConfigurationError
from authkit_redis.revocations.digests import DIGEST_BYTES
from authkit_redis.revocations.keys import RevocationKeys


def all_keys(prefix: str) -> list[bytes]:
    keys = RevocationKeys(prefix)
    points = [keys.point(bytes([number]) * DIGEST_BYTES) for number in range(256)]
    return [keys.log, keys.head, keys.issuers, keys.repair, *points]


@pytest.mark.parametrize("prefix", ["authkit", "a", "orders:eu-1", "!" * 64, "a.b/c|d~e"])
def test_all_are_in_one_slot(prefix: str) -> None:
    """So that scripts may touch them together in a cluster."""
    assert len({key_slot(key) for key in all_keys(prefix)}) == 1


def test_all_begin_with_what_an_acl_can_name() -> None:
    """`{prefix:rev}:*` is all of them, and none of another prefix."""
    for key in all_keys("orders"):
        assert key.startswith(b"{orders:rev}:")
    assert len(set(all_keys("orders"))) == 260
    assert not set(all_keys("orders")) & set(all_keys("orders2"))


@pytest.mark.parametrize(
    "prefix", ["", "a" * 65, "a{b", "a}b", "a b", "a\n", "ä", "\x00", "\x7f", None, b"bytes", 1]
)
def test_a_prefix_without_sense_is_refused(prefix: Any) -> None:
    """Braces would move the keys to another slot; blanks and control characters hide in tools."""
    with pytest.raises(ConfigurationError, match="prefix"):
        RevocationKeys(prefix)
