"""The names of the Redis keys that hold audit events; those of one stream are in one slot."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from authkit.errors import ConfigurationError
from authkit.jose.encoding import encode_base64url
from authkit_redis.arguments import checked_prefix

__all__ = ["MOST_STREAMS", "AuditKeys", "Place", "require_streams"]

MOST_STREAMS = 1024
"""Into how many streams the events may be divided."""


class Place(NamedTuple):
    """Where the events of one producer go.

    Attributes:
        stream: the number of the stream.
        sequence: the key that holds the last sequence of this producer in the stream.
    """

    stream: int
    sequence: bytes


class AuditKeys:
    """What is where, for one prefix.

    Attributes:
        registry: a hash: how many streams there are, by the most that anybody writes to.

    Raises:
        ConfigurationError: the prefix is empty, too long, or not printable ASCII without braces.
    """

    __slots__ = ("_prefix", "registry")

    def __init__(self, prefix: str) -> None:
        self._prefix = checked_prefix(prefix)
        self.registry: bytes = b"{%s:audit}" % self._prefix

    def log(self, stream: int) -> bytes:
        """The stream of this number."""
        return b"{%s:audit:%d}:log" % (self._prefix, stream)

    def probe(self, stream: int, name: str) -> bytes:
        """A key beside a stream that is there only for a moment."""
        return b"{%s:audit:%d}:probe:%s" % (self._prefix, stream, name.encode())

    def place(self, producer: str, streams: int) -> Place:
        """Where the events of a producer go; its name may be any text, so its hash stands for it.

        Args:
            producer: as in its events.
            streams: how many there are; with another number a producer may go elsewhere.
        """
        digest = blake2b(producer.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        stream = int.from_bytes(digest, "big") % streams
        name = encode_base64url(digest).encode()
        sequence = b"{%s:audit:%d}:seq:%s" % (self._prefix, stream, name)
        return Place(stream, sequence)


def require_streams(streams: object) -> None:
    """Whether it can be a number of streams.

    Raises:
        ConfigurationError: it is no whole number from 1 to `MOST_STREAMS`.
    """
    if type(streams) is not int or not 1 <= streams <= MOST_STREAMS:
        raise ConfigurationError(f"streams must be a whole number from 1 to {MOST_STREAMS}")
