"""The servers of the tests are what the tests take them for."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import hiredis
import pytest

from tests.redis.certificates import Certificates
from tests.redis.connection import Connection
from tests.redis.pristine import Pristine
from tests.redis.servers import RedisServer, ServerError, free_port, redis_server_binaries


def test_the_server_is_of_the_version_asked_for(
    redis_server: RedisServer, redis_binary: Path
) -> None:
    """The version that names a test is the version that runs."""
    (version,) = [name for name, path in redis_server_binaries().items() if path == redis_binary]
    assert redis_server.info("server")["redis_version"].startswith(f"{version}.")


def test_a_server_listens_on_loopback_and_its_socket(redis_server: RedisServer) -> None:
    """Nothing else of this machine's addresses, no known port."""
    assert redis_server.command("CONFIG", "GET", "bind") == [b"bind", b"127.0.0.1"]
    assert redis_server.url == f"redis://127.0.0.1:{redis_server.port}/0"
    with Connection(str(redis_server.socket_path)) as connection:
        assert connection.command("PING") == b"PONG"


def test_an_error_reply_is_raised(redis_server: RedisServer) -> None:
    """A test never takes an error for a value."""
    with pytest.raises(hiredis.ReplyError, match=r"^ERR unknown command"):
        redis_server.command("NO-SUCH-COMMAND")


def test_a_killed_server_is_gone(own_redis_server: RedisServer) -> None:
    """Its process has ended, its connections break, and nothing listens on its port."""
    with own_redis_server.connect() as connection:
        own_redis_server.kill()
        with pytest.raises(OSError):  # noqa: PT011 # closed or reset, as it happens
            connection.command("PING")
    assert not own_redis_server.is_running
    with pytest.raises(ProcessLookupError):
        os.kill(own_redis_server.pid, 0)
    with pytest.raises(ConnectionRefusedError):
        own_redis_server.command("PING")


def test_a_restarted_server_is_empty_and_where_it_was(own_redis_server: RedisServer) -> None:
    """Another process on the same port, which has lost data and scripts."""
    port, pid = own_redis_server.port, own_redis_server.pid
    script = own_redis_server.command("SCRIPT", "LOAD", "return 1")
    own_redis_server.command("SET", "key", "value")
    own_redis_server.restart()
    assert (own_redis_server.port, own_redis_server.pid == pid) == (port, False)
    assert own_redis_server.command("GET", "key") is None
    with pytest.raises(hiredis.ReplyError, match=r"^NOSCRIPT"):
        own_redis_server.command("EVALSHA", script, 0)


def test_a_server_may_be_restarted_with_its_data(own_redis_server: RedisServer) -> None:
    """What it knew, it knows; what it then learns is lost with the next restart."""
    own_redis_server.command("SET", "key", "value")
    own_redis_server.restart(empty=False)
    assert own_redis_server.command("GET", "key") == b"value"
    own_redis_server.restart()
    assert own_redis_server.command("DBSIZE") == 0


def test_a_frozen_server_accepts_and_does_not_answer(own_redis_server: RedisServer) -> None:
    """Silence, not an error, until it is thawed; then the answer comes."""
    own_redis_server.freeze()
    with own_redis_server.connect(timeout_seconds=0.1) as connection:
        with pytest.raises(TimeoutError):
            connection.command("PING")
        own_redis_server.thaw()
        assert connection.reply() == b"PONG"


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_frozen_server_can_be_ended(own_redis_server: RedisServer, how: str) -> None:
    """It is thawed for it, within a moment."""
    own_redis_server.freeze()
    started = time.monotonic()
    getattr(own_redis_server, how)()
    assert time.monotonic() - started < 2
    assert not own_redis_server.is_running


def test_a_password_is_asked_for(redis_binary: Path) -> None:
    """Without it nothing, with it everything; the URL carries it."""
    with RedisServer(redis_binary, password="s3cret") as server:
        assert server.url == f"redis://:s3cret@127.0.0.1:{server.port}/0"
        assert server.command("PING") == b"PONG"
        with Connection(("127.0.0.1", server.port)) as stranger:
            with pytest.raises(hiredis.ReplyError, match=r"^NOAUTH"):
                stranger.command("PING")


def test_a_user_may_do_what_the_rules_say(redis_server: RedisServer) -> None:
    """An added user is held to the commands and keys given."""
    url = redis_server.add_user("service", "~mine:*", "+get", password="s3cret")
    assert url == f"redis://service:s3cret@127.0.0.1:{redis_server.port}/0"
    with redis_server.connect() as connection:
        connection.command("AUTH", "service", "s3cret")
        assert connection.command("GET", "mine:key") is None
        for refused in (("GET", "key"), ("SET", "mine:key", "1")):
            with pytest.raises(hiredis.ReplyError, match=r"^NOPERM"):
                connection.command(*refused)


def test_tls_is_spoken_with_the_certificate_of_the_authority(tls_redis_server: RedisServer) -> None:
    """A client that trusts the throw-away authority gets through, and one that does not, fails."""
    assert tls_redis_server.certificates is not None
    address = ("127.0.0.1", tls_redis_server.tls_port)
    trusting = ssl.create_default_context(cafile=tls_redis_server.certificates.ca_path)
    with socket.create_connection(address) as plain:
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(64) == b"+PONG\r\n"
    with socket.create_connection(address) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_certificate_is_for_the_addresses_named(
    tls_redis_server: RedisServer, tmp_path: Path
) -> None:
    """A server under another address than its certificate's is refused by a client."""
    certificates = Certificates(tmp_path, addresses=("127.0.0.9",))
    trusting = ssl.create_default_context(cafile=certificates.ca_path)
    with RedisServer(tls_redis_server.binary, certificates=certificates) as server:
        with socket.create_connection(("127.0.0.1", server.tls_port)) as plain:
            with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
                trusting.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_server_that_cannot_start_says_why(redis_binary: Path) -> None:
    """The error has what the server has written, and no process is left."""
    server = RedisServer(redis_binary, "--maxmemory", "not-a-number")
    with pytest.raises(ServerError, match="did not start"):
        server.start()
    assert not server.is_running
    server.close()
    assert not server.folder.exists()


def test_a_taken_port_is_not_taken_for_the_servers_own(own_redis_server: RedisServer) -> None:
    """A second server on a port is an error, even though somebody answers there."""
    second = RedisServer(own_redis_server.binary, port=own_redis_server.port)
    with pytest.raises(ServerError, match="Address already in use"):
        second.start()
    second.close()
    assert own_redis_server.command("PING") == b"PONG"


def test_another_port_is_tried_when_the_first_was_taken_meanwhile(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding a free port and listening on it, another process may be faster."""
    ports = iter([own_redis_server.port, free_port()])
    monkeypatch.setattr("tests.redis.servers.free_port", lambda: next(ports))
    with RedisServer(own_redis_server.binary) as second:
        assert second.port != own_redis_server.port
        assert second.command("PING") == b"PONG"


def test_free_ports_are_none_that_a_client_may_be_given() -> None:
    """A client that knocks at the port of a dead server can never be connected to itself."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1_024 < free_port() < first for _ in range(50))


def _do_everything(server: RedisServer) -> None:
    server.command("SET", "key", "value")
    server.command("SCRIPT", "LOAD", "return 1")
    server.command("FUNCTION", "LOAD", "#!lua name=f\nredis.register_function('f', function() end)")
    server.command("CONFIG", "SET", "maxmemory", "3mb", "timeout", "7")
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.add_user("service", "+@all", password="s3cret")
    server.command("ACL", "SETUSER", "default", "-keys")


def _refuse_the_default_user(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "default", "off")


def _become_a_replica(server: RedisServer) -> None:
    server.command("REPLICAOF", "127.0.0.1", "9")


def _refuse_writes(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


def _pause_clients(server: RedisServer) -> None:
    server.command("CLIENT", "PAUSE", "60000", "ALL")


@pytest.mark.parametrize(
    "harm",
    [
        _do_everything,
        _refuse_the_default_user,
        _become_a_replica,
        _refuse_writes,
        _pause_clients,
        RedisServer.freeze,
        RedisServer.kill,
        RedisServer.stop,
    ],
)
def test_no_test_finds_what_another_did_to_the_server(
    redis_server: RedisServer, harm: Callable[[RedisServer], None]
) -> None:
    """Whatever a test does, the next finds a server as if it had just been started."""
    pristine = Pristine(redis_server)
    before = _state(redis_server)
    with redis_server.connect() as connection:
        connection.command("PING")
        harm(redis_server)
        pristine.restore()
        with pytest.raises(OSError):  # noqa: PT011 # closed or reset, as it happens
            connection.command("PING")
    assert _state(redis_server) == before


def _state(server: RedisServer) -> list[object]:
    with server.connect() as connection:
        words = connection.command("CONFIG", "GET", "*")
        users = connection.command("ACL", "LIST")
        return [
            dict(zip(words[::2], words[1::2], strict=True)),
            # A user who was reset has it in words, and else it goes without saying.
            [user.replace(b" sanitize-payload", b"") for user in users],
            connection.command("DBSIZE"),
            connection.command("FUNCTION", "LIST"),
            connection.command("ROLE")[0],
            server.info("memory")["number_of_cached_scripts"],
        ]


def test_restoring_an_unharmed_server_takes_milliseconds(redis_server: RedisServer) -> None:
    """The fast tier may use the server of the session in hundreds of tests."""
    pristine, pid = Pristine(redis_server), redis_server.pid
    started = time.process_time()
    for _ in range(10):
        pristine.restore()
    assert redis_server.pid == pid
    assert time.process_time() - started < 0.2
