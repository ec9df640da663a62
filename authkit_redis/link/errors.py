"""What a call to a Redis server can end in other than with its reply."""

from __future__ import annotations

import re
from typing import Self

__all__ = [
    "AccessRefused",
    "LinkError",
    "NotSent",
    "OutcomeUnknown",
    "Redirected",
    "ReplyError",
    "Saturated",
    "reply_error",
]

_REFUSALS = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,31}")
_NAMED_COMMAND = re.compile(r"'([a-z|_.-]{1,64})' command")
# A script's own call that an ACL forbids: Redis 6 and 7 word it so, under the code ERR.
_NO_DATABASE = "DB index is out of range"
_FORBIDDEN_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't run this")


class LinkError(Exception):
    """A call ended without a usable reply.

    The text is safe to show: it holds no command, no key, no address and no secret.
    """

    def copy(self, cause: BaseException | None) -> Self:
        """The same for another task that waits: each raises its own, and writes into it."""
        copy = type(self).__new__(type(self), *self.args)
        copy.__dict__.update(self.__dict__)
        copy.args = self.args
        copy.__cause__ = cause
        return copy


class NotSent(LinkError):
    """The server surely has not executed it, so that it may be repeated at will."""


class Saturated(NotSent):
    """More calls wait for replies than the link was allowed to hold."""


class OutcomeUnknown(LinkError):
    """The server may have executed it, or not: it was written, and no reply came in time."""


class ReplyError(LinkError):
    """The server answered with an error.

    Attributes:
        code: the first word of its answer, such as READONLY, OOM or CROSSSLOT.
    """

    def __init__(self, code: str) -> None:
        super().__init__(f"the Redis server answered with the error {code}")
        self.code = code


class AccessRefused(ReplyError):
    """The server does not let this user in, or does not let it run the command.

    Attributes:
        code: NOAUTH, WRONGPASS, NOPERM, or NODB where there is no such database.
        command: the command that an ACL rule is missing for, where the server names one.
        is_sentinel: whether it is a Sentinel, whose users are not those of the servers.
    """

    def __init__(self, code: str, command: str | None = None, *, is_sentinel: bool = False) -> None:
        super().__init__(code)
        self.command = command
        self.is_sentinel = is_sentinel

    def __str__(self) -> str:
        who = "the Redis Sentinel" if self.is_sentinel else "the Redis server"
        if self.command is not None:
            return f"{who} refuses this user the command {self.command} ({self.code})"
        said = f"{who} refuses this user ({self.code})"
        if self.code == "NOPERM":
            return said
        if self.code == "NODB":
            return "the Redis server has no database of the number that the address names"
        place = "sentinel_kwargs" if self.is_sentinel else "the address"
        return f"{said}: check user and password in {place}"


class Redirected(ReplyError):
    """A node of a cluster names the one that has the slot (MOVED), or takes it over (ASK)."""

    def __init__(self, code: str, slot: int, host: str, port: int) -> None:
        super().__init__(code)
        self.slot = slot
        self.host = host
        self.port = port


def reply_error(text: str) -> ReplyError:
    """The error for an error reply; of its text only what is surely harmless is kept."""
    code, _, rest = text.partition(" ")
    if code in ("MOVED", "ASK"):
        return _redirected(code, rest)
    if any(words in text for words in _FORBIDDEN_IN_SCRIPT):
        code = "NOPERM"
    if _NO_DATABASE in text:
        return AccessRefused("NODB")
    if code in _REFUSALS:
        named = _NAMED_COMMAND.search(rest)
        return AccessRefused(code, named.group(1) if named else None)
    # Lua's `error()` and old servers put anything there, a key or a value among it.
    return ReplyError(code if _CODE.fullmatch(code) else "ERR")


def _redirected(code: str, rest: str) -> ReplyError:
    slot, _, address = rest.partition(" ")
    host, _, port = address.rpartition(":")
    try:
        return Redirected(code, int(slot), host.strip("[]"), int(port))
    except ValueError:
        return ReplyError(code)
