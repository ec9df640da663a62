"""What Redis itself computes for the audit streams, each script in one step.

All keys of a script are in one slot.  Sequences go through `string.format('%.0f')`: as text of
their own Lua gives 14 digits.
"""

from __future__ import annotations

from authkit_redis.link import Script
from authkit_redis.server_policy import TRYING

__all__ = ["CHECK", "REGISTER", "TRIM", "WRITE"]

WRITE = Script(
    """
-- KEYS: log; of each producer its last sequence, and the sink that wrote it.
-- ARGV: how long these are kept, in ms; the sink; how many runs of one producer without a gap; of
-- each producer the last sequence that the sink knows to be written, or ''; of each run its key,
-- its first sequence and how many there are; then all lines.
-- Gives: how many lines were new, how many entries the log has, how many lines were passed over
-- because another sink has written as far; or BEHIND, and writes nothing, where it has lost what
-- the sink knows to be written, as after a failover.
local reached, is_ours, is_new, written, foreign, fault = {}, {}, {}, 0, 0, nil
for i = 2, #KEYS do
  local known = redis.call('GET', KEYS[i])
  local sequence, sink = string.match(known or '', '^(%-?%d+) (%x+)$')
  if known and not sequence then
    return redis.error_reply('WRONGTYPE this is not the last sequence of a producer')
  end
  reached[i], is_ours[i] = tonumber(sequence or ''), sink == ARGV[2]
  local acknowledged = tonumber(ARGV[i + 2])
  if acknowledged and (not reached[i] or reached[i] < acknowledged) then
    return redis.error_reply('BEHIND this server has lost events')
  end
end
local runs, before = tonumber(ARGV[3]), #KEYS
local at = before + 3 + 3 * runs
for run = 1, runs do
  local whose, sequence = tonumber(ARGV[before + 3 * run]), tonumber(ARGV[before + 3 * run + 1])
  for _ = 1, tonumber(ARGV[before + 3 * run + 2]) do
    if fault then break end
    if not reached[whose] or sequence > reached[whose] then
      local id = redis.pcall('XADD', KEYS[1], '*', 'e', ARGV[at])
      if type(id) == 'table' then
        fault = id
      else
        reached[whose], is_new[whose], written = sequence, true, written + 1
      end
    elseif not is_ours[whose] and not is_new[whose] then
      foreign = foreign + 1
    end
    sequence, at = sequence + 1, at + 1
  end
end
-- Also where not all could be written: the others will be given again, and these with them.
for i in pairs(is_new) do
  redis.call('SET', KEYS[i], string.format('%.0f ', reached[i]) .. ARGV[2], 'PX', ARGV[1])
end
if fault then return fault end
return {written, redis.call('XLEN', KEYS[1]), foreign}
"""
)

# An id is compared as text, because Lua's numbers do not hold 64 bits.  XTRIM removes whole nodes
# of the stream only, all of whose entries are older than MINID, and at most LIMIT entries.
TRIM = Script(
    """
-- KEYS: log.  ARGV: how many entries are to stay, for how many ms, or '' for ever; how many to
-- remove at most.
-- Gives: how many were removed, how many are left, whether a consumer group holds back more.
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, 0} end
local function before(a, b)
  local a1, a2 = string.match(a, '^(%d+)-(%d+)$')
  local b1, b2 = string.match(b, '^(%d+)-(%d+)$')
  if a1 == b1 then a1, b1 = a2, b2 end
  return #a1 < #b1 or (#a1 == #b1 and a1 < b1)
end
local END = '18446744073709551615-18446744073709551615'
-- The oldest entry that some group has not acknowledged, or else not been given yet.
local function needed_from()
  local oldest = END
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local of = {}
    for i = 1, #group, 2 do of[group[i]] = group[i + 1] end
    local id
    if of['pending'] > 0 then
      id = redis.call('XPENDING', KEYS[1], of['name'])[2]
    else
      local start = '(' .. of['last-delivered-id']
      local entry = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', '1')[1]
      id = entry and entry[1]
    end
    if id and before(id, oldest) then oldest = id end
  end
  return oldest
end
local length, most = redis.call('XLEN', KEYS[1]), tonumber(ARGV[1])
local life, allowed = tonumber(ARGV[2]), tonumber(ARGV[3])
local removed, needed, is_held = 0, needed_from(), false
local function remove(id, limit)
  if limit < 1 then return end
  removed = removed + redis.call(
    'XTRIM', KEYS[1], 'MINID', '~', id, 'LIMIT', string.format('%.0f', limit))
end
if life then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local function ago(ms) return string.format('%.0f-0', math.max(0, now - ms)) end
  local expired = ago(life)
  remove(before(needed, expired) and needed or expired, allowed)
  is_held = before(needed, ago(1.1 * life))
end
if most then
  remove(needed, math.min(length - removed - most, allowed - removed))
  local excess = length - removed - most
  is_held = is_held
    or (needed ~= END and removed < allowed / 2 and excess > math.max(100, most / 10))
end
return {removed, length - removed, is_held and 1 or 0}
"""
)

REGISTER = Script(
    """
-- KEYS: registry.  ARGV: into how many streams somebody writes; the most that there can be.
-- Gives: maxmemory, its policy.
-- What readers take for a number, and nothing else that `tonumber` does, such as 0x10.
local known = redis.call('HGET', KEYS[1], 'streams') or ''
known = tonumber(string.match(known, '^%d%d?%d?%d?$') or '0')
if known > tonumber(ARGV[2]) then known = 0 end
if known < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'streams', ARGV[1]) end
local memory = redis.call('INFO', 'memory')
return {
  string.match(memory, 'maxmemory:(%d+)') or '0',
  string.match(memory, 'maxmemory_policy:([%w-]+)') or '',
}
"""
)

CHECK = Script(
    TRYING
    + """
-- KEYS: log, a key that nobody else has.
-- Tries every command that the other scripts need, and leaves nothing behind.
try('GET', KEYS[2])
try('SET', KEYS[2], '1', 'PX', '1000')
try('DEL', KEYS[2])
try('EXISTS', KEYS[1])
try('XLEN', KEYS[1])
try('XRANGE', KEYS[1], '-', '+', 'COUNT', '1')
try('XADD', KEYS[2], '*', 'e', '')
try('XTRIM', KEYS[2], 'MINID', '~', '0-1', 'LIMIT', '1')
try('XINFO', 'GROUPS', KEYS[2])
try('XPENDING', KEYS[2], 'nobody')
try('DEL', KEYS[2])
try('HSET', KEYS[2], 'a', '1')
try('HGET', KEYS[2], 'a')
try('DEL', KEYS[2])
try('TIME')
return answer
"""
)
