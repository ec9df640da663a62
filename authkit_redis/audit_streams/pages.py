"""Reads entries of the audit streams, a page at a time, however large they are."""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple

from authkit.event_lines import MAX_LINE_BYTES
from authkit_redis.audit_streams.keys import MOST_STREAMS, AuditKeys
from authkit_redis.audit_streams.lines import Line
from authkit_redis.link import Link, ReplyError, Script

__all__ = ["PAGE", "START", "Pages", "id_of"]

_log = logging.getLogger("authkit")

PAGE = 500
"""How many entries a page has, where not another number is asked for."""
START = b"0-0"
"""The id before which there is no entry."""

# A page ends with the entry that goes beyond; so much comes in time over a slow network too.
_PAGE_BYTES = 2**20
_NUMBER = re.compile(rb"[0-9]{1,4}")
_ID = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")

# Without a script a reply would be as large as whoever wrote the entries liked, and a reader that
# cannot take it could not learn where the next entry is either.
_READ = Script(
    """
-- KEYS: log.
-- ARGV: how many entries at most; after how many bytes no more are read; how long a line may be;
-- XRANGE or XREVRANGE, and from which id to which; or XREADGROUP, after which id, or >, and the
-- group and the consumer.
-- Gives: of each entry its id, and its line; or only how long that is, where it is too long; or
-- neither, where it has none.
local wanted, room, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local command, at = ARGV[4], ARGV[5]
local is_given = command == 'XREADGROUP'
local function read(count)
  if not is_given then
    return redis.pcall(command, KEYS[1], at, ARGV[6], 'COUNT', count)
  end
  local reply = redis.pcall(
    command, 'GROUP', ARGV[6], ARGV[7], 'COUNT', count, 'STREAMS', KEYS[1], at)
  if not reply then return {} end
  return reply.err and reply or reply[1][2]
end
-- Redis calls it an error to ask for what follows the last id that there can be.
local function is_over()
  return command == 'XRANGE' and at == '(18446744073709551615-18446744073709551615'
end
local found, step = {}, 1
while #found < wanted and room > 0 and not is_over() do
  local count, largest = math.min(step, wanted - #found), 1
  local entries = read(string.format('%.0f', count))
  if entries.err then return entries end
  for _, entry in ipairs(entries) do
    -- There is nothing in the place of what was given, and then deleted.
    local parts, size = entry[2] or {}, 64
    for _, part in ipairs(parts) do size = size + #part end
    local line = #parts == 2 and parts[1] == 'e' and parts[2] or nil
    if line and #line > longest then line = #line end
    found[#found + 1] = {entry[1], line}
    room, largest = room - size, math.max(largest, size)
  end
  if #entries < count then break end
  if at ~= '>' then at = (is_given and '' or '(') .. entries[#entries][1] end
  -- Few at a time: each is in the server's memory once more.
  step = math.max(1, math.min(16, 4 * step, math.floor(room / largest)))
end
return found
"""
)


class Pages:
    """The streams of a prefix, page by page.

    A page is cut short where its entries are large; only one without any entry means that there
    are no more.

    Args:
        link: to the servers.
        keys: where the streams are.
        timeout_seconds: of each call.

    Attributes:
        keys: as given.
        oversized_total: entries that were passed over, each time, because they are too large for
            an event; the logger `authkit` tells of each.
    """

    def __init__(self, link: Link, keys: AuditKeys, timeout_seconds: float) -> None:
        self.keys: AuditKeys = keys
        self.oversized_total: int = 0
        self._link = link
        self._timeout_seconds = timeout_seconds
        self._is_number_lost = False

    async def streams(self) -> int:
        """How many streams there may be; at least one.

        Where the number cannot be read it is the most that there can be, until one who writes has
        put it right.

        Raises:
            LinkError: the server did not answer.
        """
        key = self.keys.registry
        found = await self.call(b"HGET", key, b"streams", key=key)
        is_lost = found is not None and not (isinstance(found, bytes) and _NUMBER.fullmatch(found))
        if is_lost and not self._is_number_lost:
            _log.warning(
                "audit in redis: the number of streams cannot be read, so all %d that there can "
                "be are looked at",
                MOST_STREAMS,
            )
        self._is_number_lost = is_lost
        return MOST_STREAMS if is_lost else max(1, min(int(found or b"1"), MOST_STREAMS))

    async def forward(
        self, stream: int, after: bytes, last: bytes = b"+", count: int = PAGE
    ) -> list[Line | bytes]:
        """What follows an entry, oldest first: of each entry its line, or its id alone."""
        return self._seen(stream, await self._read(stream, count, b"XRANGE", b"(" + after, last))

    async def backward(self, stream: int, first: bytes, count: int) -> list[Line | bytes]:
        """What ends with an entry, newest first."""
        return self._seen(stream, await self._read(stream, count, b"XREVRANGE", first, b"-"))

    async def end(self, stream: int) -> bytes:
        """The id of the newest entry; START where there is none."""
        newest = await self._read(stream, 1, b"XREVRANGE", b"+", b"-")
        return newest[0].id if newest else START

    async def given(
        self, stream: int, count: int, group: bytes, consumer: bytes, after: bytes
    ) -> list[Line | bytes]:
        """What a consumer of a group is given.

        Args:
            after: what it has been given already comes again after this id; `>` is what nobody of
                the group has been given.

        Raises:
            LinkError: it is not known what it was given; this comes again.
        """
        how = (b"XREADGROUP", after, group, consumer)
        return self._seen(stream, await self._read(stream, count, *how))

    async def call(self, *parts: bytes | int, key: bytes) -> Any:
        """One command, as `Link.call`."""
        return await self._link.call(*parts, timeout_seconds=self._timeout_seconds, key=key)

    async def _read(self, stream: int, count: int, *how: bytes) -> list[_Entry]:
        reply = await self._link.run(
            _READ,
            (self.keys.log(stream),),
            (count, _PAGE_BYTES, MAX_LINE_BYTES, *how),
            timeout_seconds=self._timeout_seconds,
            # What is new to a group is given once.
            is_repeatable=how[1] != b">",
        )
        if not isinstance(reply, list):
            raise ReplyError("UNREADABLE")
        return [_entry_of(each) for each in reply]

    def _seen(self, stream: int, entries: list[_Entry]) -> list[Line | bytes]:
        """What a reader gets of entries; those that it does not are told of."""
        for entry in entries:
            if isinstance(entry.line, int):
                self.oversized_total += 1
                _log.warning(
                    "audit in redis: passed over the entry %s of stream %d, because its %d bytes "
                    "are too many for an event",
                    *(entry.id.decode(), stream, entry.line),
                )
        return [
            Line(stream, entry.id, entry.line) if isinstance(entry.line, bytes) else entry.id
            for entry in entries
        ]


class _Entry(NamedTuple):
    """An entry as the script gives it: its line, or only how long that is, or neither."""

    id: bytes
    line: bytes | int | None


def _entry_of(reply: Any) -> _Entry:
    if isinstance(reply, list) and 1 <= len(reply) <= 2:
        id, line = reply[0], reply[1] if len(reply) == 2 else None
        if isinstance(id, bytes) and _ID.fullmatch(id) and isinstance(line, bytes | int | None):
            return _Entry(id, line)
    raise ReplyError("UNREADABLE")


def id_of(entry: Line | bytes) -> bytes:
    """The id of an entry, whether it holds a line or not."""
    return entry.id if isinstance(entry, Line) else entry
