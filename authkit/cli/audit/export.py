"""`authkit audit export`: hands the audit trail of a fleet on as JSON lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from authkit.cli.audit.endings import FAILED, ending, say
from authkit.cli.audit.event_text import plain_line
from authkit.cli.audit.output import FileOutput, Output, StandardOutput
from authkit.cli.settings import redis_link
from authkit.errors import ConfigurationError

if TYPE_CHECKING:
    from authkit_redis.audit_streams.lines import Line
    from authkit_redis.audit_streams.reader import AuditReader
    from authkit_redis.link import Link

__all__ = ["export"]

_NAME = "export"
# One name for all: who comes back after a crash gets first what it had not acknowledged.
_CONSUMER = "authkit"

_Group = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Go on where the last export of this consumer group ended."),
]
_Consumer = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="With --group: who exports, if there are several at a time."),
]
_Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="With --group: wait for new events, without an end.")
]
_File = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Append to this file, and to its disk."),
]


def export(
    group: _Group = None,
    consumer: _Consumer = None,
    is_following: _Follow = False,
    file: _File = None,
) -> None:
    """Write the audit events in a Redis as JSON lines, to standard output or a file.

    Without --group, all that are there. With --group, all that this consumer group has not
    acknowledged, each at least once: a batch is acknowledged when it is written, and what is not
    acknowledged comes again. The group is made at its first export, at the oldest event; from
    then on nothing is trimmed that it has not acknowledged, so a group that nobody exports any
    more must be destroyed.

    AUTHKIT_REDIS_URL is the address of the apps' Redis, AUTHKIT_REDIS_PREFIX the prefix of their
    keys; both must be set.

    Says on standard error how many events were exported. Exits with 0 when it is all of them;
    with 1 when it is not: Redis does not answer, or the output takes no more; with 2 when
    something is missing or wrong; with 130 when it is interrupted.
    """
    with ending(_NAME, when_nobody_reads=FAILED):
        if group is None and (consumer is not None or is_following):
            raise ConfigurationError(
                f"{'--follow' if is_following else '--consumer'} has no meaning without --group"
            )
        link, prefix = redis_link()  # which says so where the driver is not installed
        from authkit_redis.audit_streams.reader import AuditReader

        output = StandardOutput() if file is None else FileOutput(file)
        reader = AuditReader(link, prefix=prefix)
        if group is None:
            coming = reader.history()
        else:
            consumer = _CONSUMER if consumer is None else consumer
            coming = reader.export(group, consumer, follow=is_following)
        exported = _Exported(reader)
        try:
            asyncio.run(_write(link, coming, output, exported))
        finally:
            say(_NAME, str(exported))


class _Exported:
    """Counts what was written, and what could not be."""

    def __init__(self, reader: AuditReader) -> None:
        self.events = 0
        self.odd = 0
        self._reader = reader

    def __str__(self) -> str:
        odd = f", {self.odd} of them not as authkit writes them" if self.odd else ""
        passed = self._reader.oversized_total
        oversized = f"; {passed} too large for an event passed over" if passed else ""
        return f"{self.events} event{'' if self.events == 1 else 's'} exported{odd}{oversized}"


async def _write(
    link: Link, batches: AsyncGenerator[list[Line]], output: Output, exported: _Exported
) -> None:
    """Writes each batch, which is acknowledged when the next one is asked for."""
    async with link, aclosing(batches):
        async for batch in batches:
            lines = [plain_line(line.line) for line in batch]
            # Whoever reads the output may be slow, and a disk is.
            await asyncio.to_thread(output.write, [line + b"\n" for line in lines])
            exported.events += len(lines)
            exported.odd += sum(line != read.line for line, read in zip(lines, batch, strict=True))
