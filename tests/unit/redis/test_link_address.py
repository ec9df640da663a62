"""Addresses and options: each mistake is told at once, by what to change, without a secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster

from authkit.errors import ConfigurationError
from authkit_redis.link import link_over, open_link
from tests.redis.certificates import Certificates

SECRET = "open-sesame"


def refusal(url: Any, **options: Any) -> str:
    """What open_link says; never the secret, nor an exception behind it that might."""
    with pytest.raises(ConfigurationError) as caught:
        open_link(url, **options)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    return str(caught.value)


@pytest.mark.parametrize("url", [None, ""])
def test_an_address_that_is_not_set_is_told_as_such(url: str | None) -> None:
    """As `os.environ.get` gives it."""
    assert refusal(url) == "the address of Redis is not set"


def test_an_address_that_is_no_text_is_refused() -> None:
    """Bytes have a method of the same name, and would fail far from here."""
    assert "must be a str" in refusal(b"redis://localhost")


@pytest.mark.parametrize("url", [" redis://localhost", "redis://localhost/0\n"])
def test_white_space_at_the_ends_is_refused(url: str) -> None:
    """It comes of files and of shell scripts, and would become a part of the last word."""
    assert "white space" in refusal(url)


@pytest.mark.parametrize("sign", ["#", "/", "?", "["])
def test_a_password_that_is_not_encoded_is_told_as_such(sign: str) -> None:
    """The address would end within it, and its rest be taken for something else."""
    for scheme in ("redis", "rediss", "redis+cluster"):
        said = refusal(f"{scheme}://app:{SECRET}{sign}{SECRET}@localhost:6379")
        assert "percent-encode the password" in said


@pytest.mark.parametrize(
    "url",
    [
        f"redis://app:{SECRET}@localhost:port",
        f"redis://app:{SECRET}@localhost:65536",
        f"redis://app:{SECRET}@localhost:0",
        f"redis+cluster://app:{SECRET}@localhost:1,localhost:port",
    ],
)
def test_a_port_that_is_none_is_told_as_such(url: str) -> None:
    """redis-py would say so in a text that quotes more."""
    assert "port" in refusal(url)
    assert "1 to 65535" in refusal(url)


@pytest.mark.parametrize("url", ["redis://localhost/orders", "redis+sentinel://a/service/orders"])
def test_a_path_that_is_no_database_is_refused(url: str) -> None:
    """redis-py would use database 0."""
    assert "database's number" in refusal(url)


@pytest.mark.parametrize("url", ["unix://", "unix:///", "unix://run/redis.sock"])
def test_a_socket_needs_its_path(url: str) -> None:
    """What looks like a relative one would lose its first part."""
    assert "unix:///run/redis.sock" in refusal(url)


@pytest.mark.parametrize(
    "url", ["redis://", "redis://:6379", f"rediss://app:{SECRET}@", "redis:///0"]
)
def test_an_address_must_name_a_host(url: str) -> None:
    """redis-py would use localhost."""
    assert "names no host" in refusal(url)


def test_several_hosts_are_for_sentinels_and_clusters() -> None:
    """redis-py would look their list up as one name."""
    assert "redis+cluster://" in refusal("redis://one:6379,two:6379")


@pytest.mark.parametrize(
    "name",
    ["decode_responses", "max_connections", "protocol", "retry_on_timeout", "socket_timeout"],
)
def test_what_the_link_decides_is_refused_wherever_it_is_given(name: str) -> None:
    """In an address as among the options: it would have no effect."""
    said = f"the link decides about {name} by itself"
    assert refusal("redis://localhost", **{name: 1}) == said
    assert refusal(f"redis://localhost?{name}=1") == said
    assert refusal(f"redis+cluster://localhost?{name}=") == said


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster", "rediss+sentinel"])
def test_an_unknown_option_is_named(scheme: str) -> None:
    """A slip in the name of a bound must not leave the default in force without a word."""
    said = "unknown option max_stalenes_seconds"
    assert refusal(f"{scheme}://localhost/0", max_stalenes_seconds=3) == said
    assert refusal(f"{scheme}://localhost/0?max_stalenes_seconds=3") == said


def test_what_may_be_a_part_of_a_password_is_not_named() -> None:
    """Behind an unencoded question mark anything may stand."""
    assert refusal(f"redis://localhost?{SECRET}=1") == "unknown option"
    assert "percent-encode" in refusal("redis://app:123?sesame=1@localhost")


@pytest.mark.parametrize(
    ("url", "name", "needs"),
    [
        ("redis://localhost", "ssl_ca_certs", "rediss://"),
        ("unix:///run/redis.sock", "ssl_certfile", "rediss://"),
        ("redis://localhost", "sentinel_kwargs", "redis+sentinel://"),
        ("redis+sentinel://localhost/service", "address_remap", "redis+cluster://"),
    ],
)
def test_an_option_of_another_kind_of_address_says_so(url: str, name: str, needs: str) -> None:
    """It is known, but here it would have no effect."""
    assert f"{name} needs {needs}" in refusal(url, **{name: {}})


def test_what_the_address_says_is_no_option() -> None:
    """Two answers to one question."""
    assert "port" in refusal("redis://localhost", port=6380)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"passworth": SECRET}, "unknown option in sentinel_kwargs: passworth"),
        (SECRET, "sentinel_kwargs must be a mapping of options to values"),
        ({"ssl_cert_reqs": SECRET}, "sentinel_kwargs"),
    ],
)
def test_options_for_sentinels_are_tried_at_once(given: Any, said: str) -> None:
    """And not when a connection is made, where nobody would look for such a mistake."""
    assert said in refusal("rediss+sentinel://localhost/service", sentinel_kwargs=given)


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster", "rediss+sentinel"])
def test_files_for_tls_are_read_at_once(scheme: str, tmp_path: Path) -> None:
    """The option is named, and why its file cannot be used."""
    url = f"{scheme}://localhost/0"
    missing, other = str(tmp_path / "missing"), tmp_path / "other"
    other.write_text("nothing of the kind")
    assert refusal(url, ssl_ca_certs=missing) == (
        "ssl_ca_certs cannot be used: no such file or directory"
    )
    assert refusal(url, ssl_ca_certs=str(other)).startswith("ssl_ca_certs cannot be used")
    for name in ("ssl_certfile", "ssl_keyfile"):
        said = "ssl_certfile or ssl_keyfile cannot be used"
        assert refusal(url, **{name: str(other)}).startswith(said)
    assert "TLS cannot be used" in refusal(url, ssl_ciphers="none that there is")
    files = Certificates(tmp_path)
    trusted, key = str(files.ca_path), str(files.key_path)
    open_link(url, ssl_ca_certs=trusted, ssl_certfile=files.certificate_path, ssl_keyfile=key)


def test_files_for_the_tls_of_sentinels_are_read_at_once(tmp_path: Path) -> None:
    """Sentinels may have another authority than the servers."""
    own = {"ssl_ca_certs": str(tmp_path / "missing")}
    said = refusal("rediss+sentinel://localhost/service", sentinel_kwargs=own)
    assert said == "ssl_ca_certs cannot be used: no such file or directory"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://localhost", {}),
        ("redis://[::1]:6379/3", {"username": "app", "password": SECRET}),
        (f"redis://app:{SECRET}%2F%23%3F@localhost/?db=3", {}),
        ("redis://localhost?client_name=a@b", {"socket_keepalive": True}),
        (f"unix://app:{SECRET}@/run/redis.sock?db=3", {}),
        ("unix:///run/a@b", {}),
        ("redis+sentinel://a:1,b/service/3", {"sentinel_kwargs": {"password": SECRET}}),
        ("redis+cluster://a,b:7000", {"address_remap": lambda address: address}),
        ("rediss://localhost", {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
    ],
)
def test_what_is_right_is_taken(url: str, options: dict[str, Any]) -> None:
    """The checks refuse nothing that works."""
    open_link(url, **options)


def client_refusal(client: Any) -> str:
    """What link_over says."""
    with pytest.raises(ConfigurationError) as caught:
        link_over(client)
    return str(caught.value)


def test_a_client_that_cannot_work_is_refused_with_what_to_change() -> None:
    """A reader of a stream holds one connection for itself."""
    assert "decode_responses=False" in client_refusal(Redis(decode_responses=True))
    assert "decode_responses=False" in client_refusal(RedisCluster(host="a", decode_responses=True))
    single = Redis(single_connection_client=True)
    assert "without single_connection_client=True" in client_refusal(single)
    for pool in (ConnectionPool(max_connections=1), BlockingConnectionPool(max_connections=1)):
        assert "max_connections of 2" in client_refusal(Redis(connection_pool=pool))
    assert "max_connections of 2" in client_refusal(RedisCluster(host="a", max_connections=1))
    assert "must be a redis.asyncio.Redis" in client_refusal(None)
    link_over(Redis(max_connections=2))
    link_over(RedisCluster(host="a", max_connections=2))


@pytest.mark.parametrize("name", ["redis", "hiredis"])
def test_a_missing_driver_says_what_to_install(name: str) -> None:
    """With the name of the module, which the commands tell."""
    program = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "try:\n import authkit_redis\n"
        "except ModuleNotFoundError as error:\n print(error.name, error, sep=': ')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{name}: {name} is not installed: pip install 'pyauthkit[redis]'\n"
