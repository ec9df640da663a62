"""What Redis itself computes, each script in one step that nothing comes between.

All keys are in one slot.  Numbers go through `string.format('%.0f')`: as text of their own Lua
gives 14 digits.  Packed ids and entries are laid out in `entries.py`.
"""

from __future__ import annotations

from authkit_redis.link import Script

__all__ = ["ASK", "CHECK", "HEARTBEAT", "LAST_ID", "NAMES", "NOW", "PAGE", "RENEW"]

NOW = """
-- Part of a script: `now`, in ms.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

LAST_ID = """
-- Part of a script: where a stream ends, or the fault.
local function last_id(log)
  -- To ask for what is not there would count as an error in the statistics of the server.
  if redis.call('EXISTS', log) == 0 then return '0-0' end
  local info = redis.pcall('XINFO', 'STREAM', log)
  if info.err then return nil, info end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
"""

# `since` is when the server that answers now began to be the one that is asked: after a restart, a
# failover or a flush there is another `who`, or none, and whoever knows revocations that this
# server lacks has until some time after `since` to write them back.  So it is too where the log
# does not end where it was last seen to end: somebody has put another one there.
_EPOCH = """
local function number(n) return string.format('%.0f', n) end
-- Whoever repairs says so for some seconds; what is there for ever nobody of authkit has written.
local function repaired(key)
  local left = redis.call('PTTL', key)
  return left > 0 and left <= 600000 and 1 or 0
end
local function epoch(log, head, check, is_kept)
  local kept = redis.call('HGET', head, 'check')
  if kept and kept ~= check then
    return nil, redis.error_reply('SECRET another secret is in use under this prefix')
  end
  local replication = redis.call('INFO', 'replication')
  if not string.find(replication, 'role:master', 1, true) then
    return nil, redis.error_reply('READONLY this server is a replica')
  end
  local server = redis.call('INFO', 'server')
  local who = string.sub(string.match(server, 'run_id:(%x+)') or '', 1, 20)
    .. string.sub(string.match(replication, 'master_replid:(%x+)') or '', 1, 20)
  local last, fault = last_id(log)
  if fault then return nil, fault end
  local known = redis.call('HMGET', head, 'who', 'since', 'last')
  local since = tonumber(known[2] or '')
  if since and since > now + 1000 then since = nil end
  if known[1] ~= who or not since or known[3] ~= last then
    since = math.max(now, (since or 0) + 1)
    redis.call('HSET', head, 'who', who, 'since', number(since), 'last', last)
    if is_kept then redis.call('HSETNX', head, 'check', check) end
  end
  return who .. ':' .. number(since), nil, math.max(0, now - since), last
end
"""

HEARTBEAT = Script(
    NOW
    + LAST_ID
    + _EPOCH
    + """
-- KEYS: log, head, repair.  ARGV: check of the secret.
-- Gives: epoch, its age in ms, last id of the log, whether repaired.
local current, err, age, last = epoch(KEYS[1], KEYS[2], ARGV[1], true)
if err then return err end
return {current, age, last, repaired(KEYS[3])}
"""
)

RENEW = Script(
    NOW
    + """
-- KEYS: head.  ARGV: the epoch that is over.  Begins a new one, unless somebody else has.
local known = redis.call('HMGET', KEYS[1], 'who', 'since')
if known[1] and known[2] and known[1] .. ':' .. known[2] == ARGV[1] then
  local since = math.max(now, tonumber(known[2]) + 1)
  redis.call('HSET', KEYS[1], 'since', string.format('%.0f', since))
end
return 1
"""
)

PAGE = Script(
    LAST_ID
    + """
-- KEYS: log, repair.  ARGV: first id, how many, milliseconds for which a repair is announced or 0.
-- Gives the last id of the log where the page is the last one, else '', then ids and payloads.
if ARGV[3] ~= '0' then redis.call('SET', KEYS[2], '1', 'PX', ARGV[3]) end
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local page = {''}
if #entries < tonumber(ARGV[2]) then
  local last, fault = last_id(KEYS[1])
  if fault then return fault end
  page[1] = last
end
for i, entry in ipairs(entries) do
  page[2 * i] = entry[1]
  page[2 * i + 1] = entry[2][2]
end
return page
"""
)

ASK = Script(
    NOW
    + LAST_ID
    + _EPOCH
    + """
-- KEYS: log, head, repair, points.  ARGV: check of the secret.
-- Gives: epoch, its age in ms, whether repaired, whether keys may be evicted, then each point.
local current, err, age = epoch(KEYS[1], KEYS[2], ARGV[1])
if err then return err end
local memory = redis.call('INFO', 'memory')
local evicts = string.find(memory, 'maxmemory:0%s') == nil
  and string.find(memory, 'maxmemory_policy:noeviction', 1, true) == nil
-- What was evicted before the policy was set right does not come back by that.
local evicted = tonumber(string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)') or '0')
evicts = evicts or evicted > 0
local answer = {current, age, repaired(KEYS[3]), evicts and 1 or 0}
for i = 4, #KEYS do answer[i + 1] = redis.call('GET', KEYS[i]) end
return answer
"""
)

NAMES = Script(
    """
-- KEYS: issuers.  ARGV: tags and issuers in turn, to be added.  Gives all, likewise.
for i = 1, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
return redis.call('HGETALL', KEYS[1])
"""
)

CHECK = Script(
    """
-- KEYS: log, head, issuers, repair, a point that nobody else has.  ARGV: check of the secret.
-- Tries every command that the other scripts need, and leaves nothing behind.
-- Gives: maxmemory, its policy, then every fault.
local answer = {'0', 'noeviction'}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    answer[#answer + 1] = ({...})[1] .. ' ' .. reply.err
    return false
  end
  return reply
end
try('TIME')
try('INFO', 'server')
try('INFO', 'replication')
local memory = try('INFO', 'memory')
if memory then
  answer[1] = string.match(memory, 'maxmemory:(%d+)') or '0'
  answer[2] = string.match(memory, 'maxmemory_policy:([%w-]+)') or ''
end
try('HMGET', KEYS[2], 'who', 'since')
try('HGETALL', KEYS[3])
try('XRANGE', KEYS[1], '-', '+', 'COUNT', '1')
try('EXISTS', KEYS[1])
try('XREAD', 'COUNT', '1', 'STREAMS', KEYS[1], '0-0')
local kept = try('HGET', KEYS[2], 'check')
if kept and kept ~= ARGV[1] then answer[#answer + 1] = 'SECRET' end
try('HSETNX', KEYS[5], 'a', '1')
try('HSET', KEYS[5], 'a', '1')
try('DEL', KEYS[5])
try('SET', KEYS[5], '1', 'PX', '1000')
try('GET', KEYS[5])
try('PTTL', KEYS[5])
try('DEL', KEYS[5])
try('XADD', KEYS[5], '*', 'v', '')
try('XINFO', 'STREAM', KEYS[5])
try('XTRIM', KEYS[5], 'MINID', '0')
try('DEL', KEYS[5])
return answer
"""
)
