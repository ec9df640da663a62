"""The master that Sentinels name, asked for at every connect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio.sentinel import Sentinel

from authkit_redis.link.channel import Channel
from authkit_redis.link.dialling import Dialler
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, ReplyError
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
        problems: list[LinkError] = []
        try:
            for address, client in zip(list(self._hosts), sentinel.sentinels, strict=True):
                try:
                    state = (await client.sentinel_masters()).get(self._service)
                    if state and sentinel.check_master_state(state, self._service):
                        self._hosts.sort(key=lambda each: each != address)
                        return state["ip"], state["port"]
                except Exception as error:
                    problems.append(_of_sentinel(error, is_tls="ssl" in self._settings))
                else:
                    what = "watches no master of this service" if not state else "knows it down"
                    problems.append(NotSent(f"the Redis Sentinel {what}"))
        finally:
            await sentinel.aclose()
        raise min(problems, key=_rank)


def _of_sentinel(error: Exception, *, is_tls: bool) -> LinkError:
    problem = translated(error, was_sent=False, is_tls=is_tls)
    if isinstance(problem, AccessRefused):
        told: LinkError = AccessRefused(problem.code, problem.command, is_sentinel=True)
    elif isinstance(problem, ReplyError):
        told = NotSent(f"the Redis server is no Sentinel ({problem.code})")
    else:
        told = NotSent(str(problem).replace("Redis server", "Redis Sentinel"))
    return told


def _rank(problem: LinkError) -> int:
    """A refusal first, then what a server has answered, then that there is none."""
    if isinstance(problem, AccessRefused):
        return 0
    return 1 if "no connection" not in str(problem) else 2
