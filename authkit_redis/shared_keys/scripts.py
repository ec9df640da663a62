"""What Redis itself decides about a shared key set, each script in one step.

One hash holds all of it: `record` (sealed), `time` (when its provider was asked) and `until` (how
long it suffices), `owner` and `lease` (who fetches, and its end), `note` (sealed) and `failed`
(that the last attempt failed, and when it began).  All times are this server's, in ms.

What stands there in clear only chooses whom the script lets fetch: nobody takes a key set, or
holds back, for anything but a record or a note whose seal fits.
"""

from __future__ import annotations

from authkit_redis.link import Script

__all__ = ["CLAIM", "END", "FAILED", "GRANTED", "HELD", "LOOK", "PUBLISH", "SUFFICES", "TRY"]

SUFFICES, GRANTED, HELD, FAILED = 0, 1, 2, 3
"""What CLAIM answers: the record is new enough; fetch; another does; it failed a moment ago."""

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function number(text) return tonumber(text or '') or 0 end
local function whole(n) return string.format('%.0f', n) end
local function keep(ms)
  local left = redis.call('PTTL', KEYS[1])
  if left < tonumber(ms) then redis.call('PEXPIRE', KEYS[1], ms) end
end
"""

CLAIM = Script(
    _NOW
    + """
-- KEYS: the hash.  ARGV: 1 name of this attempt, 2 lease, 3 time of what is known (or minus its
-- age), 4 whether any newer record suffices (2), one that is not too old (1) or none (0),
-- 5 cooldown, 6 and 7 SHA-1 of a record and of a note that are to be passed over, 8 the failure
-- that is known, 9 the longest lease, 10 time to live, 11 the largest record.
-- Gives: what, now, record, note, owner, whether something foreign was there.
local kind = redis.call('TYPE', KEYS[1]).ok
local foreign = 0
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
  foreign = 1
end
local h = redis.call(
  'HMGET', KEYS[1], 'record', 'time', 'until', 'owner', 'lease', 'note', 'failed')
local function bounded(text, most)
  if not text or #text <= tonumber(most) then return text end
  foreign = 1
  return false
end
local record, note, owner = bounded(h[1], ARGV[11]), bounded(h[6], 64), bounded(h[4], 16)
local left = number(h[5]) - now
if not (owner and left > 0 and left <= tonumber(ARGV[9])) then left = 0 end
local function answer(what) return {what, whole(now), record, note, owner, foreign} end
local known = tonumber(ARGV[3])
if known < 0 then known = now + known end
local time = number(h[2])
if record and redis.sha1hex(record) ~= ARGV[6] and time <= now + 60000 then
  if now - time < tonumber(ARGV[5]) then return answer(0) end
  local suffices = ARGV[4] == '2' or ARGV[4] == '1' and now < number(h[3])
  if suffices and time > known then return answer(0) end
end
if left > 0 and owner ~= ARGV[1] then return answer(2) end
if note and redis.sha1hex(note) ~= ARGV[7] then
  local failed = number(h[7])
  if failed <= now + 60000 then
    if now - failed < tonumber(ARGV[5]) or failed > tonumber(ARGV[8]) then return answer(3) end
  end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'lease', whole(now + tonumber(ARGV[2])))
keep(ARGV[10])
return answer(1)
"""
)

LOOK = Script(
    _NOW
    + """
-- KEYS: the hash.  ARGV: an attempt.  Takes nothing, so that who waits cannot take the lease.
-- Gives: 1 while it is on, 0 when it has ended, -1 when its time has run out.
local h = redis.call('HMGET', KEYS[1], 'owner', 'lease')
if h[1] ~= ARGV[1] or not h[2] then return 0 end
return number(h[2]) > now and 1 or -1
"""
)

PUBLISH = Script(
    _NOW
    + """
-- KEYS: the hash.  ARGV: 1 the attempt, 2 record, 3 its time, 4 until when it suffices, 5 time to
-- live.  Gives whether it was published: not where another attempt has begun since.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[2], 'time', ARGV[3], 'until', ARGV[4])
redis.call('HDEL', KEYS[1], 'lease', 'note', 'failed')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
)

END = Script(
    _NOW
    + """
-- KEYS: the hash.  ARGV: 1 the attempt, 2 the note that it failed, or '', 3 when it began,
-- 4 time to live.  Gives whether it was still on.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'lease')
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'note', ARGV[2], 'failed', ARGV[3])
  keep(ARGV[4])
end
return 1
"""
)

TRY = Script(
    """
-- KEYS: one that nobody else has.  Tries every command that the others need, and leaves nothing.
-- Gives what stands for the server's memory, which is no matter here, then every fault.
local answer = {'0', 'noeviction'}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    answer[#answer + 1] = ({...})[1] .. ' ' .. reply.err
  end
end
try('TIME')
try('TYPE', KEYS[1])
try('HSET', KEYS[1], 'a', '1')
try('PEXPIRE', KEYS[1], '1000')
try('PTTL', KEYS[1])
try('HGET', KEYS[1], 'a')
try('HMGET', KEYS[1], 'a', 'b')
try('HDEL', KEYS[1], 'a')
try('DEL', KEYS[1])
return answer
"""
)
