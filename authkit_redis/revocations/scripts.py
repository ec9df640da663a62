"""What Redis itself computes, each script in one step that nothing comes between.

All keys are in one slot.  Numbers go through `string.format('%.0f')`: as text of their own Lua
gives 14 digits.  Packed ids and entries are laid out in `entries.py`.
"""

from __future__ import annotations

from authkit_redis.link import Script

__all__ = ["ASK", "CHECK", "HEARTBEAT", "NAMES", "PAGE", "RENEW", "WRITE"]

_TIME = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

_END = """
local function last_id(log)
  local info = redis.pcall('XINFO', 'STREAM', log)
  if info.err then
    if string.find(info.err, 'no such key', 1, true) then return '0-0' end
    return nil, info
  end
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
local function epoch(log, head, check)
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
    redis.call('HSET', head, 'who', who, 'since', number(since), 'last', last, 'check', check)
  end
  return who .. ':' .. number(since), nil, math.max(0, now - since), last
end
"""

HEARTBEAT = Script(
    _TIME
    + _END
    + _EPOCH
    + """
-- KEYS: log, head, repair.  ARGV: check of the secret.
-- Gives: epoch, its age in ms, last id of the log, whether repaired.
local current, err, age, last = epoch(KEYS[1], KEYS[2], ARGV[1])
if err then return err end
return {current, age, last, redis.call('EXISTS', KEYS[3])}
"""
)

RENEW = Script(
    _TIME
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
    _END
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

WRITE = Script(
    _TIME
    + _END
    + """
-- KEYS: log, head, issuers, repair, then a point for each operation.
-- ARGV: check of the secret, earliest now of the caller in s, issuer or '', milliseconds for which
-- a repair is announced or 0; then for each operation: what, expires_at in s, life in ms, stamp,
-- packed value, and 1 if it is a new one, else 0.
-- Gives for each: stamp, life in ms, packed value; false where something later is known already.
local function number(n) return string.format('%.0f', n) end
local function packed_id(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  ms = tonumber(ms)
  return struct.pack('>HI4I4', math.floor(ms / 4294967296), ms % 4294967296, tonumber(seq))
end
local function packed_stamp(stamp)
  return struct.pack('>HI4', math.floor(stamp / 4294967296), stamp % 4294967296)
end
local function packed_end(seconds) return struct.pack('>I4', math.min(seconds, 4294967280)) end
local function is_more(one, other)
  local a, b = struct.unpack('>I4I4', one)
  local c, d = struct.unpack('>I4I4', other)
  return a > c or (a == c and b > d)
end
local function parsed(point, is_lifting, value)
  if type(point) ~= 'string' then return end
  local sign, digits, rest = string.match(point, '^(%-?)(%d+)(.*)$')
  if not digits or #digits > 15 or (#rest ~= 0 and #rest ~= 9) then return end
  if sign == '-' and rest ~= '' then return end
  if sign == '' and not is_lifting and (rest ~= '') ~= (value ~= '') then return end
  return sign, digits, rest
end

local kept = redis.call('HGET', KEYS[2], 'check')
if kept and kept ~= ARGV[1] then
  return redis.error_reply('SECRET another secret is in use under this prefix')
end
local last, fault = last_id(KEYS[1])
if fault then return fault end
local known = redis.call('HMGET', KEYS[2], 'since', 'last')
if known[1] and known[2] ~= last then
  -- Another log stands there: a new epoch, before what is written now hides it.
  redis.call('HSET', KEYS[2], 'since', number(math.max(now, tonumber(known[1]) + 1)))
end
if not kept then redis.call('HSET', KEYS[2], 'check', ARGV[1]) end
if ARGV[4] ~= '0' then redis.call('SET', KEYS[4], '1', 'PX', ARGV[4]) end
local results = {}
for i = 1, #KEYS - 4 do
  local at = 4 + (i - 1) * 6
  local what, expires_at, life = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local stamp, value, is_new = tonumber(ARGV[at + 4]), ARGV[at + 5], ARGV[at + 6] == '1'
  -- The caller's clock may be behind: by this one, it ends when its life (180 s longer) does.
  if is_new then expires_at = math.max(expires_at, math.floor((now + life) / 1000) - 181) end
  local is_lifting = string.byte(what) >= 32
  local point = redis.pcall('GET', KEYS[4 + i])
  local was_lifted, old_stamp, old_value, is_foreign = false, -1, '', false
  if type(point) == 'table' and not string.find(point.err, 'WRONGTYPE', 1, true) then
    return point
  elseif point then
    local sign, digits, rest = parsed(point, is_lifting, value)
    if digits then
      was_lifted, old_stamp, old_value = sign == '-', tonumber(digits), string.sub(rest, 2)
    elseif is_new then
      return redis.error_reply('FOREIGN a key under this prefix is of another program')
    end
    -- The log takes it all the same: one such key must not stop what is written back.
    is_foreign = not digits
  end
  local is_late = false
  if is_new then
    if is_lifting then
      stamp = math.max(now, old_stamp + 1, stamp)
    elseif was_lifted or old_stamp < stamp then
      stamp = math.max(now, old_stamp + 1, stamp)
    else
      stamp = old_stamp
    end
  elseif is_lifting then
    is_late = not was_lifted and old_stamp > stamp
    stamp = math.max(stamp, old_stamp)
  elseif was_lifted then
    is_late = stamp <= old_stamp
  else
    stamp = math.max(stamp, old_stamp)
  end
  if is_late then
    results[i] = false
  else
    if point and not is_foreign then
      local rest = redis.call('PTTL', KEYS[4 + i])
      if rest > life and (is_lifting or not was_lifted) then
        -- One second more: some of the life that was given has passed on the way here.
        expires_at = expires_at + math.ceil((rest - life) / 1000) + 1
        life = rest
      end
    end
    if not is_lifting and not was_lifted and old_value ~= '' and is_more(old_value, value) then
      value = old_value
    end
    local text = number(stamp)
    if is_lifting then text = '-' .. text elseif value ~= '' then text = text .. ':' .. value end
    if not is_foreign then redis.call('SET', KEYS[4 + i], text, 'PX', number(life)) end
    last = redis.call('XADD', KEYS[1], '*', 'v', what .. packed_end(expires_at)
      .. packed_id(last) .. packed_stamp(stamp) .. value)
    results[i] = {number(stamp), number(life), value}
  end
end

redis.call('HSET', KEYS[2], 'last', last)
if ARGV[3] ~= '' then
  redis.call('HSETNX', KEYS[3], string.sub(ARGV[5], 17, 20), ARGV[3])
  -- Takes away the oldest entries that are over, by this clock and by that of the caller.
  local over = math.min(now / 1000, tonumber(ARGV[2])) - 300
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', '8')
  local first
  for _, entry in ipairs(oldest) do
    local payload = entry[2][2]
    if #payload < 24 or struct.unpack('>I4', string.sub(payload, 21, 24)) >= over then
      first = first or entry[1]
      break
    end
  end
  if not first then first = oldest[#oldest][1] end
  if first ~= oldest[1][1] then redis.call('XTRIM', KEYS[1], 'MINID', first) end
end
return results
"""
)

ASK = Script(
    _TIME
    + _END
    + _EPOCH
    + """
-- KEYS: log, head, repair, points.  ARGV: check of the secret.
-- Gives: epoch, its age in ms, whether repaired, whether keys may be evicted, then each point.
local current, err, age = epoch(KEYS[1], KEYS[2], ARGV[1])
if err then return err end
local memory = redis.call('INFO', 'memory')
local evicts = string.find(memory, 'maxmemory:0%s') == nil
  and string.find(memory, 'maxmemory_policy:noeviction', 1, true) == nil
local answer = {current, age, redis.call('EXISTS', KEYS[3]), evicts and 1 or 0}
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
try('EXISTS', KEYS[4])
try('XRANGE', KEYS[1], '-', '+', 'COUNT', '1')
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err and not string.find(info.err, 'no such key', 1, true) then
  answer[#answer + 1] = 'XINFO ' .. info.err
end
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
try('XTRIM', KEYS[5], 'MINID', '0')
try('DEL', KEYS[5])
return answer
"""
)
