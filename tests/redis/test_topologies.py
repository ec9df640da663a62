"""The topologies of the tests fail over as they are said to, and are well again afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hiredis
import pytest

from tests.redis.cluster import RedisCluster
from tests.redis.connection import Connection
from tests.redis.machine import ServerError
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.topology import eventually

# What fails over with other versions of Redis too is in the tests that use these topologies.
on_one_version = True


def _roles(servers: list[RedisServer]) -> list[bytes]:
    return sorted(server.command("ROLE")[0] for server in servers)


class TestCluster:
    """Three masters, three replicas."""

    def test_it_is_whole(self, cluster: RedisCluster) -> None:
        """Every slot is served; each master has its replica; the URL has every node."""
        for node in cluster.nodes:
            answer = node.command("CLUSTER", "INFO").decode()
            assert "cluster_state:ok" in answer
            assert "cluster_slots_ok:16384" in answer
        assert _roles(cluster.nodes) == [b"master"] * 3 + [b"slave"] * 3
        hosts = [f"127.0.0.1:{node.port}" for node in cluster.nodes]
        assert cluster.url == "redis+cluster://" + ",".join(hosts)

    def test_a_key_is_at_its_master(self, cluster: RedisCluster) -> None:
        """The master of a key takes it, its replica has it too, and another one sends away."""
        masters = {cluster.master_of(str(number)) for number in range(20)}
        assert len(masters) == 3
        master = cluster.master_of("key")
        master.command("SET", "key", "value")
        replica = cluster.replica_of(master)
        eventually(
            "the key at the replica",
            lambda: replica.command("CLUSTER", "COUNTKEYSINSLOT", cluster.slot_of("key")) == 1,
            timeout_seconds=5,
        )
        for other in masters - {master}:
            with pytest.raises(hiredis.ReplyError, match=f":{master.port}$"):
                other.command("GET", "key")

    @pytest.mark.parametrize("harm", [RedisServer.kill, RedisServer.freeze])
    def test_the_replica_of_a_lost_master_is_promoted(
        self, cluster: RedisCluster, harm: Callable[[RedisServer], None]
    ) -> None:
        """It has the data, serves the slot, and stays the master when the old one is back."""
        old = cluster.master_of("key")
        old.command("SET", "key", "value")
        assert old.command("WAIT", 1, 5_000) == 1
        harm(old)
        new = cluster.wait_for_new_master(old)
        assert new is cluster.replica_of(old) is not old
        assert new.command("GET", "key") == b"value"
        assert cluster.master_of("key") is new
        cluster.restore()
        assert cluster.master_of("key") is new
        assert new.command("GET", "key") is None
        assert old.command("ROLE")[0] == b"slave"

    def test_a_killed_master_is_gone_before_anybody_is_promoted(
        self, cluster: RedisCluster
    ) -> None:
        """For a moment the slot is nobody's, which is what a client has to live with."""
        old = cluster.kill_master_of("key")
        assert not old.is_running
        assert cluster.replica_of(old).command("ROLE")[0] == b"slave"
        with pytest.raises(ServerError, match="a promoted replica: not within 0"):
            cluster.wait_for_new_master(old, timeout_seconds=0)

    def test_roles_are_swapped_in_an_orderly_way(self, cluster: RedisCluster) -> None:
        """Nobody is killed, and no data is lost."""
        old = cluster.master_of("key")
        old.command("SET", "key", "value")
        new = cluster.failover("key")
        assert new is cluster.replica_of(old)
        assert new.command("GET", "key") == b"value"
        assert all(node.is_running for node in cluster.nodes)

    def test_a_slot_moves(self, cluster: RedisCluster) -> None:
        """On the way clients are told to ASK, and then that it has MOVED."""
        source = cluster.master_of("key")
        source.command("SET", "key", "value")
        target = cluster.begin_move("key")
        assert source.command("GET", "key") == b"value"
        with pytest.raises(hiredis.ReplyError, match=f"^ASK .*:{target.port}$"):
            source.command("GET", "{key}of the same slot")
        cluster.finish_move("key", target)
        with pytest.raises(hiredis.ReplyError, match=f"^MOVED .*:{target.port}$"):
            source.command("GET", "key")
        assert target.command("GET", "key") == b"value"
        cluster.restore()
        assert cluster.master_of("key") is source

    @pytest.mark.parametrize("is_finished", [False, True])
    def test_the_next_test_finds_it_as_it_was(
        self, cluster: RedisCluster, is_finished: bool
    ) -> None:
        """Moved slots, settings, users, data and scripts are taken back."""
        for node in cluster.nodes:
            node.command("CONFIG", "SET", "maxmemory", "5mb")
            node.command("SCRIPT", "LOAD", "return 1")
            node.add_user("service", "+@all", password="s3cret")
        for number in range(50):
            cluster.master_of(f"{number}").command("SET", number, "value")
        target = cluster.begin_move("key")
        if is_finished:
            cluster.finish_move("key", target)
        cluster.restore()
        for node in cluster.nodes:
            assert node.command("DBSIZE") == 0
            assert node.command("CONFIG", "GET", "maxmemory")[1] == b"0"
            assert node.info("memory")["number_of_cached_scripts"] == "0"
            assert len(node.command("ACL", "LIST")) == 1
            assert b"[" not in node.command("CLUSTER", "NODES")
        assert cluster.master_of("key") is not target

    def test_even_the_loss_of_all_nodes_is_mended(self, cluster: RedisCluster) -> None:
        """A test may do its worst."""
        for node in cluster.nodes:
            node.kill()
        cluster.restore()
        cluster.wait_until_ok(timeout_seconds=0)

    def test_what_cannot_be_mended_is_built_anew(
        self, cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A node that forgot who it is is no reason for later tests to fail."""
        before = cluster.url
        cluster.replica_of(cluster.master_of("key")).command("CLUSTER", "RESET", "HARD")
        monkeypatch.setattr(cluster, "patience_seconds", 1.0)
        cluster.restore()
        cluster.wait_until_ok(timeout_seconds=0)
        assert cluster.url != before

    @pytest.mark.full
    def test_it_may_ask_for_a_password(self, redis_binary: Path) -> None:
        """Nodes know it, and still fail over, move slots, and are mended; the URL has it."""
        with RedisCluster(redis_binary, password="s3cret") as cluster:
            assert cluster.url.startswith("redis+cluster://:s3cret@127.0.0.1:")
            with Connection(("127.0.0.1", cluster.nodes[0].port)) as stranger:
                with pytest.raises(hiredis.ReplyError, match=r"^NOAUTH"):
                    stranger.command("PING")
            cluster.master_of("key").command("SET", "key", "value")
            cluster.finish_move("key", cluster.begin_move("key"))
            assert cluster.master_of("key").command("GET", "key") == b"value"
            cluster.restore()
            old = cluster.kill_master_of("key")
            cluster.wait_for_new_master(old)
            cluster.restore()
            assert old.command("ROLE")[0] == b"slave"


class TestSentinels:
    """A master, a replica, three Sentinels."""

    def test_all_know_each_other(self, sentinels: SentinelTopology) -> None:
        """Every Sentinel names the master; the replica follows it; the URL has the Sentinels."""
        master, replica = sentinels.master, sentinels.replica
        assert {sentinel.master_port() for sentinel in sentinels.sentinels} == {master.port}
        assert replica.command("ROLE")[:3] == [b"slave", b"127.0.0.1", master.port]
        for sentinel in sentinels.sentinels:
            assert sentinel.command("SENTINEL", "CKQUORUM", "authkit").startswith(b"OK 3 usable")
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels.sentinels)
        assert sentinels.url == f"redis+sentinel://{hosts}/authkit"

    @pytest.mark.parametrize("harm", [RedisServer.kill, RedisServer.freeze])
    def test_the_replica_of_a_lost_master_is_promoted(
        self, sentinels: SentinelTopology, harm: Callable[[RedisServer], None]
    ) -> None:
        """The Sentinels send clients to the former replica, which has the data."""
        old = sentinels.master
        old.command("SET", "key", "value")
        assert old.command("WAIT", 1, 5_000) == 1
        harm(old)
        new = sentinels.wait_for_new_master(old)
        assert new is sentinels.master is not old
        assert new.command("GET", "key") == b"value"
        sentinels.restore()
        assert _roles(sentinels.pair) == [b"master", b"slave"]
        assert sentinels.master.command("DBSIZE") == 0

    def test_a_killed_master_is_gone_before_anybody_is_promoted(
        self, sentinels: SentinelTopology
    ) -> None:
        """For a moment there is no master, which is what a client has to live with."""
        old = sentinels.kill_master()
        assert not old.is_running
        with pytest.raises(ServerError, match="a promoted replica: not within 0"):
            sentinels.wait_for_new_master(old, timeout_seconds=0)

    def test_roles_are_swapped_in_an_orderly_way(self, sentinels: SentinelTopology) -> None:
        """Nobody is killed."""
        old = sentinels.master
        assert sentinels.failover() is not old
        assert all(server.is_running for server in sentinels.servers)

    def test_the_loss_of_two_sentinels_stops_failovers(self, sentinels: SentinelTopology) -> None:
        """One that is left has no majority, and promotes nobody; all of it is mended."""
        sentinels.sentinels[0].kill()
        sentinels.sentinels[1].freeze()
        old = sentinels.kill_master()
        with pytest.raises(ServerError, match="not within"):
            sentinels.wait_for_new_master(old, timeout_seconds=3)
        sentinels.restore()
        sentinels.wait_until_ok(timeout_seconds=0)

    def test_the_next_test_finds_it_as_it_was(self, sentinels: SentinelTopology) -> None:
        """Settings, users, data and scripts are taken back."""
        sentinels.master.command("SET", "key", "value")
        for server in sentinels.pair:
            server.command("CONFIG", "SET", "maxmemory", "5mb")
            server.command("SCRIPT", "LOAD", "return 1")
            server.add_user("service", "+@all", password="s3cret")
        sentinels.restore()
        for server in sentinels.pair:
            assert server.command("DBSIZE") == 0
            assert server.command("CONFIG", "GET", "maxmemory")[1] == b"0"
            assert server.info("memory")["number_of_cached_scripts"] == "0"
            assert len(server.command("ACL", "LIST")) == 1

    def test_even_the_loss_of_everybody_is_mended(self, sentinels: SentinelTopology) -> None:
        """A test may do its worst."""
        for server in sentinels.servers:
            server.kill()
        sentinels.restore()
        sentinels.wait_until_ok(timeout_seconds=0)

    @pytest.mark.full
    def test_the_servers_may_ask_for_a_password(self, redis_binary: Path) -> None:
        """The Sentinels know it, and still fail over; the URL has it."""
        with SentinelTopology(redis_binary, password="s3cret") as sentinels:
            assert sentinels.url.startswith("redis+sentinel://:s3cret@127.0.0.1:")
            with Connection(("127.0.0.1", sentinels.master.port)) as stranger:
                with pytest.raises(hiredis.ReplyError, match=r"^NOAUTH"):
                    stranger.command("PING")
            old = sentinels.kill_master()
            assert sentinels.wait_for_new_master(old) is not old
            sentinels.restore()
            assert _roles(sentinels.pair) == [b"master", b"slave"]
