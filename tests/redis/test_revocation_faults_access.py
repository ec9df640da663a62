"""A server that lets a store do less than it needs: it says so, and answers nothing wrong."""

from __future__ import annotations

import asyncio
import re

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis import RedisRevocationStore
from authkit_redis.revocations.keys import RevocationKeys
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    NO_PROOF,
    PREFIX,
    REVOKED,
    STALENESS,
    asking,
    lift,
    opened,
    revocation,
    revoke,
    revoke_at_last,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

KEYS = RevocationKeys(PREFIX)

COMMANDS = (
    "evalsha",
    "eval",
    "xread",
    "xadd",
    "xrange",
    "xtrim",
    "xinfo|stream",
    "get",
    "set",
    "pttl",
    "del",
    "exists",
    "hget",
    "hmget",
    "hset",
    "hsetnx",
    "hgetall",
    "time",
    "info",
)
"""What the documentation says that a user must be allowed, and nothing else."""


def rules(*lacking: str) -> list[str]:
    allowed = [f"+{command}" for command in COMMANDS if command not in lacking]
    return [f"~{{{PREFIX}:rev}}:*", "resetchannels", *allowed]


async def test_a_user_with_just_the_documented_rules_can_do_everything(
    redis_server: RedisServer,
) -> None:
    """Following, asking, revoking, lifting, and writing back after a loss."""
    url = redis_server.add_user("authkit", *rules(), password="s3cret")
    async with opened(url) as store, asking(url) as direct:
        await revoke(store, range(3))
        await lift(store, 2)
        assert await verdicts(direct, range(2)) == {REVOKED}
        assert await verdicts(direct, [2, "another"]) == {LIVE}
        redis_server.command("FLUSHALL")
        redis_server.command("SCRIPT", "FLUSH")
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) == 3)
        await asyncio.sleep(STALENESS)
        resyncs = store.stats()["resyncs_total"]
        redis_server.command("DEL", KEYS.log)
        await until("found out", lambda: store.stats()["resyncs_total"] > resyncs)
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) == 3)
        await until("fresh again", lambda: store.is_fresh)
    log = redis_server.command("ACL", "LOG")
    refused = {dict(zip(each[::2], each[1::2], strict=True))[b"object"] for each in log}
    assert refused <= {b"client|setinfo"}  # of redis-py, which does not mind


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("is_cached", [False, True], ids=["new", "scripts cached"])
async def test_a_missing_permission_is_named_at_the_start(
    redis_server: RedisServer, command: str, is_cached: bool
) -> None:
    """Each command that the rules lack is named, whether others have loaded the scripts or not."""
    if is_cached:
        async with opened(redis_server.url) as store:
            await revoke(store, [1])
            await lift(store, 1)
    url = redis_server.add_user("authkit", *rules(command), password="s3cret")
    name = command.partition("|")[0]
    with pytest.raises(ConfigurationError, match=rf"(?i)\b{name}\b") as raised:
        async with opened(url):
            pass
    assert "s3cret" not in str(raised.value)


async def test_keys_that_the_user_may_not_touch_are_reported_at_the_start(
    redis_server: RedisServer,
) -> None:
    """The rules are of another prefix."""
    url = redis_server.add_user("authkit", *rules(), password="s3cret")
    with pytest.raises(ConfigurationError, match="user"):
        async with opened(url, prefix="other"):
            pass


async def test_a_wrong_password_fails_at_the_start(redis_server: RedisServer) -> None:
    """The message says so, and says neither password; who does not enter gets no answer."""
    redis_server.add_user("authkit", *rules(), password="s3cret")
    url = f"redis://authkit:wr0ng@127.0.0.1:{redis_server.port}/0"
    with pytest.raises(ConfigurationError, match="WRONGPASS") as raised:
        async with opened(url):
            pass
    assert not re.search("s3cret|wr0ng", str(raised.value))
    async with asking(url) as direct:
        assert await verdict(direct, 1) == NO_PROOF
        with pytest.raises(ConfigurationError, match="WRONGPASS"):
            await direct.revoke(revocation(1))


@pytest.mark.full
async def test_a_password_that_was_changed_lets_nobody_in(redis_server: RedisServer) -> None:
    """A running store that is not let in any more grows stale, until it is let in again."""
    url = redis_server.add_user("authkit", *rules(), password="s3cret")
    async with opened(url) as store:
        await revoke(store, [1])
        redis_server.command("ACL", "SETUSER", "authkit", "resetpass", ">another")
        redis_server.command("CLIENT", "KILL", "USER", "authkit")
        await until("stale", lambda: not store.is_fresh, timeout_seconds=STALENESS + 2)
        assert await verdict(store, "another") == NO_PROOF
        assert await verdict(store, 1) == REVOKED
        redis_server.command("ACL", "SETUSER", "authkit", "resetpass", ">s3cret")
        await until("fresh again", lambda: store.is_fresh)


async def test_a_permission_that_was_taken_away_is_never_a_wrong_answer(
    redis_server: RedisServer,
) -> None:
    """Without GET nobody can ask, without XADD nobody can revoke; what is known stays known."""
    url = redis_server.add_user("authkit", *rules(), password="s3cret")
    async with opened(url) as store, asking(url) as direct:
        await revoke(store, [1])
        redis_server.command("ACL", "SETUSER", "authkit", "-get", "-xadd")
        assert await verdicts(direct, [1, 2]) == {NO_PROOF}
        with pytest.raises(ConfigurationError, match="NOPERM"):
            await store.revoke(revocation(2))
        assert await verdict(store, 1) == REVOKED


async def test_a_full_server_gives_no_receipt_and_loses_nothing(
    own_redis_server: RedisServer,
) -> None:
    """With noeviction: no receipt, and the answers stay right, also of a store that begins."""
    server = own_redis_server
    async with opened(server.url) as store, asking(server.url) as direct:
        await revoke(store, range(10))
        server.command("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(BackendUnavailable, match="full"):
            await store.revoke(revocation("refused"))
        with pytest.raises(BackendUnavailable, match="full"):
            await lift(store, 1)
        async with opened(server.url) as later:
            assert await later.wait_until_fresh(10)
            for each in (store, direct, later):
                assert await verdicts(each, range(10)) == {REVOKED}
                assert await verdicts(each, ["refused", "another"]) == {LIVE}
        server.command("CONFIG", "SET", "maxmemory", "0")
        await revoke_at_last(store, "refused")
        assert await verdict(direct, "refused") == REVOKED


async def test_a_server_that_may_evict_is_reported_and_not_believed(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It warns at the start, says so in its state; Redis itself then proves no token live."""
    redis_server.command("CONFIG", "SET", "maxmemory", "1gb")
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    changes: list[tuple[str, str | None]] = []
    async with asking(redis_server.url) as store:
        store.observe(lambda change: changes.append((change.new, change.code)))
        await revoke(store, [1])
        assert await verdict(store, 1) == REVOKED
        await asyncio.sleep(STALENESS / 2)  # the server is not new any more
        assert await verdict(store, "another") == NO_PROOF  # nor before it is entered
        async with store:
            assert changes == [("evicting", "revocations_evicting")]
            assert "noeviction" in caplog.text
            assert await verdict(store, 1) == REVOKED
            assert await verdict(store, "another") == LIVE  # by the replica, which has all


async def is_revoked(store: RedisRevocationStore, number: int) -> bool:
    return await verdict(store, number) == REVOKED


async def test_a_user_of_a_cluster_needs_the_slot_map_too(cluster: RedisCluster) -> None:
    """`CLUSTER SLOTS`, beside the commands for a single server; nothing else."""
    for node in cluster.nodes:
        node.add_user("authkit", *rules(), "+cluster|slots", password="s3cret")
    url = cluster.url.replace("://", "://authkit:s3cret@")
    async with opened(url) as store, opened(url) as other:
        await revoke(store, [1])
        await until("known", lambda: is_revoked(other, 1))
        assert await verdict(other, "another") == LIVE


async def test_a_user_behind_sentinels_needs_no_more(sentinels: SentinelTopology) -> None:
    """Who may run ROLE is spared a connection to a master that was demoted a moment ago."""
    for server in sentinels.pair:
        server.add_user("authkit", *rules(), password="s3cret")
    url = sentinels.url.replace("://", "://authkit:s3cret@")
    async with opened(url) as store, opened(url) as other:
        await revoke(store, [1])
        await until("known", lambda: is_revoked(other, 1))
        assert await verdict(other, "another") == LIVE
