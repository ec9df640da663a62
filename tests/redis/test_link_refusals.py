"""Why a real server cannot be used: the text says what to change."""

from __future__ import annotations

import pytest

from authkit.errors import ConfigurationError
from authkit_redis.link import AccessRefused, LinkError, Script, open_link
from tests.redis.servers import RedisServer
from tests.redis.stores import opened

pytestmark = pytest.mark.anyio

ONE = Script("return 1")


async def refusal(url: str) -> LinkError:
    """What the first call ends in."""
    async with open_link(url) as link:
        with pytest.raises(LinkError) as caught:
            await link.run(ONE, [b"k"], [], timeout_seconds=5)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value


async def test_an_ordinary_server_is_neither_cluster_nor_sentinel(
    redis_server: RedisServer,
) -> None:
    """The scheme of the address is wrong."""
    at = f"127.0.0.1:{redis_server.port}"
    assert "is no cluster" in str(await refusal(f"redis+cluster://{at}"))
    assert "is no Sentinel" in str(await refusal(f"redis+sentinel://{at}/name"))


async def test_a_server_that_is_gone_refuses_connections(own_redis_server: RedisServer) -> None:
    """And the text says that it does."""
    own_redis_server.kill()
    assert "connection refused" in str(await refusal(own_redis_server.url))


async def test_tls_and_its_absence_are_told_apart(tls_redis_server: RedisServer) -> None:
    """A certificate that is not trusted, and a port without TLS."""
    assert "certificate verify failed: " in str(await refusal(tls_redis_server.tls_url))
    plain = tls_redis_server.url.replace("redis://", "rediss://")
    assert "does the server speak TLS on this port?" in str(await refusal(plain))


async def test_a_user_who_may_not_ask_for_the_slots_is_told_at_the_start(
    redis_server: RedisServer,
) -> None:
    """By the name of the command, as a mistake of whoever wrote the rules."""
    url = redis_server.add_user("app", "~*", "+@all", "-cluster", password="s3cret")
    of_cluster = f"redis+cluster://{url.partition('://')[2].rpartition('/')[0]}"
    problem = await refusal(of_cluster)
    assert isinstance(problem, AccessRefused)
    assert "cluster" in str(problem.command)
    with pytest.raises(ConfigurationError, match="cluster") as caught:
        async with opened(of_cluster):
            pass
    assert "s3cret" not in str(caught.value)


async def test_a_wrong_password_says_where_to_look(redis_server: RedisServer) -> None:
    """As does a missing one."""
    url = redis_server.add_user("app", "~*", "+@all", password="right")
    said = "check user and password in the address"
    assert said in str(await refusal(url.replace("right", "wrong")))
