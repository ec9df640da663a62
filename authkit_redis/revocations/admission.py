"""Whether the server lets this user do all that the revocations need, and is set up for it."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any

from authkit.errors import ConfigurationError
from authkit_redis.link import AccessRefused, Link, ReplyError
from authkit_redis.revocations.forms import well_formed
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.scripts import CHECK
from authkit_redis.revocations.timing import Timing

__all__ = ["admission"]

_log = logging.getLogger("authkit")

_COMMAND = re.compile(r"[A-Z]+")


async def admission(link: Link, keys: RevocationKeys, check: bytes, timing: Timing) -> bool:
    """Tries all that is needed; whether the server drops keys when its memory is full.

    Raises:
        ConfigurationError: the user is not let in, or lacks a command; another secret is in use
            under this prefix; or another program's data stand there.
        LinkError: the server did not answer, or cannot answer now.
    """
    own = keys.point(secrets.token_bytes(15))
    try:
        answer: Any = await link.run(
            CHECK,
            (keys.log, keys.head, keys.issuers, keys.repair, own),
            (check,),
            timeout_seconds=timing.timeout,
            is_repeatable=True,
        )
        # Where the script was known already, nothing has been sent by EVAL, as it is once the
        # server has forgotten it.
        await link.call(
            b"EVAL", b"return 1", 1, keys.head, timeout_seconds=timing.timeout, key=keys.head
        )
    except AccessRefused as refused:
        raise ConfigurationError(f"revocations: {refused}") from refused
    except ReplyError as error:
        if error.code == "CROSSSLOT":
            raise ConfigurationError("revocations: all keys must be in one slot") from error
        raise
    with well_formed():
        maxmemory, policy, *faults = [part.decode("ascii", "replace") for part in answer]
        has_bound = int(maxmemory) > 0
    for fault in faults:
        _judge(fault)
    return has_bound and policy != "noeviction"


def _judge(fault: str) -> None:
    if fault == "SECRET":
        raise ConfigurationError(
            "revocations: another secret is in use under this prefix; processes with different "
            "secrets would not see each other's revocations"
        )
    command = _COMMAND.match(fault)
    name = command[0] if command else "?"
    if "WRONGTYPE" in fault:
        raise ConfigurationError(
            "revocations: the data of another program stand under this prefix; choose another one"
        )
    if any(sign in fault for sign in ("NOPERM", "ACL failure", "can't run this command", "access")):
        raise ConfigurationError(
            f"revocations: the Redis user may not run {name} on the keys of this prefix; "
            "the documentation lists the ACL rules that suffice"
        )
    code = fault[len(name) :].split()[0] if fault[len(name) :].split() else "ERR"
    raise ReplyError(code if code.isalpha() and code.isupper() else "ERR")
