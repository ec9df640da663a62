"""Whether a Redis server lets its user do what a backend needs, and keeps what is written to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from authkit.errors import ConfigurationError
from authkit_redis.link import AccessRefused, Link, ReplyError, Script

__all__ = ["TRYING", "admission", "drops_keys"]

TRYING = """
-- Part of a script: `try` runs a command and adds its fault to `answer`, which begins with
-- maxmemory and its policy.
local answer = {'0', 'noeviction'}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    -- Whoever asks for a group that is not there was at least let in.
    if string.sub(reply.err, 1, 7) ~= 'NOGROUP' then
      answer[#answer + 1] = ({...})[1] .. ' ' .. reply.err
    end
    return false
  end
  return reply
end
local memory = try('INFO', 'memory')
if memory then
  answer[1] = string.match(memory, 'maxmemory:(%d+)') or '0'
  answer[2] = string.match(memory, 'maxmemory_policy:([%w-]+)') or ''
end
"""

_COMMAND = re.compile(r"[A-Z]+")
_REFUSED = ("NOPERM", "ACL failure", "can't run this command", "access")
_NOTHING: Mapping[str, str] = MappingProxyType({})


async def admission(
    link: Link,
    interface: str,
    check: Script,
    keys: Sequence[bytes],
    args: Sequence[bytes | int],
    *,
    timeout_seconds: float,
    words: Mapping[str, str] = _NOTHING,
) -> bool:
    """Tries all that a backend needs; whether the server drops keys when its memory is full.

    Args:
        link: to the servers.
        interface: begins the messages.
        check: gives maxmemory, its policy, and every fault as the command and what was said to it.
        keys: of the script.
        args: of the script.
        timeout_seconds: of each of two calls.
        words: what a fault of the script's own means.

    Raises:
        ConfigurationError: the user is not let in, or lacks a command; another program's data
            stand under the prefix; or a fault with `words` of its own.
        LinkError: the server did not answer, or cannot answer now.
    """
    try:
        answer: Any = await link.run(
            check, keys, args, timeout_seconds=timeout_seconds, is_repeatable=True
        )
        # Where the script was known already, nothing has been sent by EVAL, as it is once the
        # server has forgotten it.
        await link.call(
            b"EVAL", b"return 1", 1, keys[0], timeout_seconds=timeout_seconds, key=keys[0]
        )
    except AccessRefused as refused:
        raise ConfigurationError(f"{interface}: {refused}") from refused
    except ReplyError as error:
        if error.code == "CROSSSLOT":
            raise ConfigurationError(f"{interface}: all keys must be in one slot") from error
        raise
    maxmemory, policy, *faults = _texts(answer)
    for fault in faults:
        if fault in words:
            raise ConfigurationError(f"{interface}: {words[fault]}")
        _judge(interface, fault)
    return drops_keys([maxmemory.encode(), policy.encode()])


def drops_keys(memory: Any) -> bool:
    """Whether a server drops keys when it is full, by its maxmemory and maxmemory-policy.

    Raises:
        ReplyError: with the code UNREADABLE, where it is not these two.
    """
    maxmemory, policy = _texts(memory)[:2]
    if not maxmemory.isdecimal():
        raise ReplyError("UNREADABLE")
    return int(maxmemory) > 0 and policy != "noeviction"


def _texts(answer: Any) -> list[str]:
    if isinstance(answer, list) and len(answer) >= 2:
        texts = [part.decode("ascii", "replace") for part in answer if isinstance(part, bytes)]
        if len(texts) == len(answer):
            return texts
    raise ReplyError("UNREADABLE")


def _judge(interface: str, fault: str) -> None:
    command = _COMMAND.match(fault)
    name = command[0] if command else "?"
    if "WRONGTYPE" in fault:
        raise ConfigurationError(
            f"{interface}: the data of another program stand under this prefix; choose another one"
        )
    if any(sign in fault for sign in _REFUSED):
        raise ConfigurationError(
            f"{interface}: the Redis user may not run {name} on the keys of this prefix; "
            "the documentation lists the ACL rules that suffice"
        )
    code = fault[len(name) :].split()[0] if fault[len(name) :].split() else "ERR"
    raise ReplyError(code if code.isalpha() and code.isupper() else "ERR")
