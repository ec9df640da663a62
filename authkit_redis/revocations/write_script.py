"""How Redis takes a revocation, a lifting, or what is written back: merged, in one step."""

from __future__ import annotations

from authkit_redis.link import Script
from authkit_redis.revocations.scripts import LAST_ID, NOW

__all__ = ["WRITE"]

WRITE = Script(
    NOW
    + LAST_ID
    + """
-- KEYS: log, head, issuers, repair, then a point for each operation.
-- ARGV: check of the secret, earliest now of the caller in s, issuer or '', milliseconds for which
-- a repair is announced or 0, the longest life in ms; then for each operation: what, expires_at in
-- s, life in ms, stamp, packed value, and 1 if it is a new one, else 0.
-- Gives for each: stamp, life in ms, packed value, stamp of the lifting that stood there or 0, and
-- whether anybody has ever followed; false where something later is known already.
local function number(n) return string.format('%.0f', n) end
local function packed_id(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  ms, seq = math.min(tonumber(ms), 281474976710655), math.min(tonumber(seq), 4294967295)
  return struct.pack('>HI4I4', math.floor(ms / 4294967296), ms % 4294967296, seq)
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

local longest = tonumber(ARGV[5])
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
-- Where a foreigner has put an id of the future into the log, that says nothing of the clock.
local last_ms = tonumber(string.match(last, '^%d+'))
if last_ms > now + 86400000 then last_ms = 0 end

local results = {}
for i = 1, #KEYS - 4 do
  local at = 5 + (i - 1) * 6
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
    -- Later than all that is known here of this id, and than what the log ends with: this server
    -- may have another clock than the one before it.
    stamp = math.max(now, old_stamp + 1, stamp, last_ms)
  elseif is_lifting then
    is_late = not was_lifted and old_stamp > stamp
    stamp = math.max(stamp, old_stamp)
  elseif was_lifted then
    is_late = stamp <= old_stamp
  else
    stamp = math.max(stamp, old_stamp)
  end
  if stamp > now + 86400000 then
    -- Nobody who is honest is a day ahead; what lies there would outlive every later word.
    if is_new then return redis.error_reply('FOREIGN a stamp here is of the future') end
    is_late = true
  end
  if is_late then
    results[i] = false
  else
    if point and not is_foreign then
      local rest = math.min(redis.call('PTTL', KEYS[4 + i]), longest)
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
    local lifted = was_lifted and number(old_stamp) or '0'
    results[i] = {number(stamp), number(life), value, lifted, known[1] and 1 or 0}
  end
end

redis.call('HSET', KEYS[2], 'last', last)
if ARGV[3] ~= '' then
  redis.call('HSETNX', KEYS[3], string.sub(ARGV[6], 17, 20), ARGV[3])
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
