"""The master that Sentinels name, asked for at every connect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio.sentinel import Sentinel

from authkit_redis.link.channel import Channel
from authkit_redis.link.dialling import Dialler
from authkit_redis.link.redis_py import translated
from authkit_redis.link.wire import Wire

__all__ = ["SentinelDialler"]

_SENTINEL: Any = Sentinel  # whose constructor is not typed


class SentinelDialler:
    """Makes connections to the master of a service.

    Args:
        hosts: the Sentinels; the one that answered last is asked first the next time.
        service: the name under which they watch the master.
        settings: for redis-py's connections to the Sentinels.
    """

    def __init__(
        self,
        dialler: Dialler,
        hosts: Sequence[tuple[str, int]],
        service: str,
        settings: Mapping[str, Any],
    ) -> None:
        self._dialler = dialler
        self._hosts = list(hosts)
        self._service = service
        self._settings = dict(settings)

    async def dial(self, channel: Channel) -> Wire:
        """Connects to the master of now.

        Raises:
            LinkError: no Sentinel knows it, or it cannot be connected to.
        """
        host, port = await self._master()
        return await self._dialler.dial(channel, must_be_master=True, host=host, port=port)

    async def _master(self) -> tuple[str, int]:
        # Made for each question, so that nothing of it belongs to an event loop.
        sentinel: Any = _SENTINEL(self._hosts, sentinel_kwargs=dict(self._settings))
        try:
            host, port = await sentinel.discover_master(self._service)
            answering = sentinel.sentinels[0].connection_pool.connection_kwargs
            first = (answering["host"], answering["port"])
        except Exception as error:
            raise translated(error, was_sent=False) from error
        finally:
            await sentinel.aclose()
        self._hosts.sort(key=lambda each: each != first)
        return host, port
