"""Another server takes over from the one that has the audit events: none comes twice."""

from __future__ import annotations

import asyncio

import pytest

from authkit.audit import AuditTrail
from tests.redis.audit_events import LOG, kept, opened
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.stores import elsewhere, until

pytestmark = [pytest.mark.anyio, pytest.mark.full]


async def add(trail: AuditTrail, count: int) -> None:
    for _ in range(count):
        await trail.append_control("test.event")
        await asyncio.sleep(0.001)


class OverAFailover:
    """A trail goes on while the master is killed: its sequence may have a gap, and nothing else."""

    on_one_version = True

    async def check(self, topology: SentinelTopology | RedisCluster) -> None:
        async with opened(topology.url, timeout_seconds=0.5) as sink:
            trail = AuditTrail(sink, retry_seconds=0.05, drain_seconds=20.0)
            async with trail:
                await add(trail, 100)
                await until("written", lambda: trail.stats()["written_total"] >= 100)
                killing = asyncio.create_task(elsewhere(self.kill, topology))
                await add(trail, 300)
                await killing
                await add(trail, 100)
                await until("caught up", lambda: not trail.stats()["queued"], timeout_seconds=20)
            assert trail.stats()["lost_total"] == 0
        master = topology.master_of(LOG) if isinstance(topology, RedisCluster) else topology.master
        arrived = kept(master, trail.producer)
        assert arrived == sorted(set(arrived)), "an event came twice, or out of order"
        assert arrived[-1] == 500
        # What the master had acknowledged, and not yet replicated, is lost.
        assert len(arrived) > 400

    def kill(self, topology: SentinelTopology | RedisCluster) -> None:
        raise NotImplementedError


class TestOnSentinels(OverAFailover):
    """A replica of one master takes over."""

    def kill(self, topology: SentinelTopology | RedisCluster) -> None:
        assert isinstance(topology, SentinelTopology)
        topology.wait_for_new_master(topology.kill_master())

    async def test_no_event_comes_twice(self, sentinels: SentinelTopology) -> None:
        """A batch whose reply was lost is skipped by the new master as far as it has it."""
        await self.check(sentinels)


class TestOnACluster(OverAFailover):
    """A replica of the master that has the slot takes over."""

    def kill(self, topology: SentinelTopology | RedisCluster) -> None:
        assert isinstance(topology, RedisCluster)
        topology.wait_for_new_master(topology.kill_master_of(LOG))

    async def test_no_event_comes_twice(self, cluster: RedisCluster) -> None:
        """The same."""
        await self.check(cluster)
