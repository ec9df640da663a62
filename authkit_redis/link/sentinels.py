"""The master that Sentinels name, asked for at every connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from authkit_redis.link.channel import Channel
from authkit_redis.link.dialling import Dialler
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, ReplyError
from authkit_redis.link.first_answer import Address, Unanswered, first_answer
from authkit_redis.link.wire import Wire

__all__ = ["SentinelDialler"]

_DOWN = frozenset({b"s_down", b"o_down"})
_HEAD_START = 0.2  # of the time that one Sentinel has


class SentinelDialler:
    """Makes connections to the master of a service.

    Args:
        dialler: for the servers.
        asking: for the Sentinels.
        hosts: the Sentinels; the one that answered last is asked first the next time.
        service: the name under which they watch the master.
    """

    def __init__(
        self, dialler: Dialler, asking: Dialler, hosts: Sequence[Address], service: str
    ) -> None:
        self._dialler = dialler
        self._asking = asking
        self._hosts = list(hosts)
        self._service = service.encode()

    async def dial(self, channel: Channel) -> Wire:
        """Connects to the master of now.

        Raises:
            LinkError: no Sentinel knows it, or it cannot be connected to.
        """
        head_start = self._asking.timeout_seconds * _HEAD_START
        try:
            host, port = await first_answer(self._master, self._hosts, head_start)
        except Unanswered as error:
            problem = error.worst
        else:
            return await self._dialler.dial(channel, must_be_master=True, host=host, port=port)
        raise problem

    async def _master(self, address: Address) -> Address:
        """What one Sentinel says."""
        host, port = address
        try:
            reply = await self._asking.ask("SENTINEL", "MASTERS", host=host, port=port)
        except LinkError as error:
            problem = _of_sentinel(error)
        else:
            master = _master_in(reply, self._service)
            self._hosts.sort(key=lambda each: each != address)
            return master
        raise problem


def _master_in(reply: Any, service: bytes) -> Address:
    try:
        # RESP2 has a list of names and values where RESP3 has a mapping.
        states = [dict(zip(each[::2], each[1::2], strict=True)) for each in reply]
        found = [state for state in states if state[b"name"] == service]
        if not found:
            raise NotSent("the Redis Sentinel watches no master of this service")
        flags = frozenset(found[0][b"flags"].split(b","))
        if b"master" not in flags or flags & _DOWN:
            raise NotSent("the Redis Sentinel knows it down")
        return found[0][b"ip"].decode(), int(found[0][b"port"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotSent("the Redis Sentinel has answered something else") from error


def _of_sentinel(problem: LinkError) -> LinkError:
    if isinstance(problem, AccessRefused):
        return AccessRefused(problem.code, problem.command, is_sentinel=True)
    if isinstance(problem, ReplyError):
        return NotSent(f"the Redis server is no Sentinel ({problem.code})")
    return NotSent(str(problem).replace("Redis server", "Redis Sentinel"))
