"""`authkit audit tail`: the newest events of a fleet, and those that come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from authkit.cli.audit.endings import ending, say
from authkit.cli.audit.event_text import event_text, plain_line
from authkit.cli.audit.output import StandardOutput
from authkit.cli.settings import redis_link

if TYPE_CHECKING:
    from authkit_redis.audit_streams.lines import Line
    from authkit_redis.link import Link

__all__ = ["tail"]

_NAME = "tail"

_Count = Annotated[
    int, typer.Option("--count", "-n", metavar="N", min=0, help="How many of the newest events.")
]
_Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with each new event as it comes.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print each event as its line of JSON.")]


def tail(count: _Count = 10, is_following: _Follow = False, is_json: _Json = False) -> None:
    """Show the newest audit events in a Redis, and with --follow those that come.

    A line holds time (UTC), type, outcome, code, subject, address of the caller and issuer, then
    what else there is as name=value; - is nothing. The oldest event comes first.

    AUTHKIT_REDIS_URL is the address of the apps' Redis, AUTHKIT_REDIS_PREFIX the prefix of their
    keys; both must be set.

    Exits with 0 when all is shown, or whoever reads it has gone; with 1 when Redis does not
    answer; with 2 when something is missing or wrong; with 130 when it is interrupted.
    """
    with ending(_NAME, when_nobody_reads=0):
        link, prefix = redis_link()
        output = StandardOutput()

        def show(lines: Sequence[Line]) -> None:
            texts = [
                plain_line(line.line).decode() if is_json else event_text(line.line)
                for line in lines
            ]
            output.write_texts(texts)

        asyncio.run(_show(link, prefix, count, show, is_following=is_following))


async def _show(
    link: Link,
    prefix: str,
    count: int,
    show: Callable[[Sequence[Line]], None],
    *,
    is_following: bool,
) -> None:
    from authkit_redis.audit_streams.reader import AuditReader

    reader = AuditReader(link, prefix=prefix)
    async with link:
        if is_following:
            async with aclosing(reader.follow(latest=count)) as coming:
                async for line in coming:
                    # Whoever reads the output may be slow.
                    await asyncio.to_thread(show, [line])
        elif count:
            lines = await reader.latest(count)
            await asyncio.to_thread(show, lines)
            if not lines:
                say(_NAME, f"there are no events under the prefix {prefix}")
