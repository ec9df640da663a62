"""The scripts that count: GCRA over one or several buckets, all or none, by the server's clock.

A bucket is three doubles: a moment in microseconds, how much was used up then, and in how many
units a microsecond is counted.  With each unit of time a unit of it comes back, so a bucket that is
whole again says nothing, and its key expires.  The moment stands beside it because clocks are set
back: then nothing has come back, and nobody waits for the old time to come round again.

Every number is whole and below 2^53, so that doubles hold it exactly; see `plans`.
"""

from __future__ import annotations

from authkit_redis.link import Script
from authkit_redis.server_policy import TRYING

__all__ = ["CHECK", "FOREIGN", "GIVE_BACK", "TAKE", "TAKE_ONE"]

FOREIGN = "FOREIGN"
"""The code of the error for a key that holds something else than a bucket."""

_BUCKETS = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function keep(key, used, scale)
  used = math.max(0, used)
  redis.call('SET', key, struct.pack('>ddd', now, used, scale), 'PX',
    string.format('%.0f', math.ceil(used / scale / 1000) + 1))
end

-- An amount in other units, more rather than less; what is beyond all capacities is cut there.
local function in_units(amount, of, scale)
  if of == scale or amount == 0 then return amount end
  return math.min(math.ceil(amount * (scale / of)) + 1, 2^53 - 1)
end

-- What is used up of a bucket, and in how many units a microsecond is counted; nil if it is none.
local function used_of(key)
  local value = redis.call('GET', key)
  if not value then return 0, 1 end
  if #value ~= 24 then return nil end
  local at, used, of = struct.unpack('>ddd', value)
  if not (at >= 0 and at < 2^53 and used >= 0 and used < 2^53 and of >= 1 and of < 2^53) then
    return nil
  end
  if at % 1 ~= 0 or used % 1 ~= 0 or of % 1 ~= 0 then return nil end
  if now < at then
    -- The clock was set back: from now on time counts again.
    keep(key, used, of)
  else
    used = math.max(0, used - (now - at) * of)
  end
  return used, of
end
"""

TAKE_ONE = Script(
    _BUCKETS
    + """
local key = KEYS[1]
local interval, capacity, scale = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local used, of = used_of(key)
if not used then return redis.error_reply('FOREIGN a bucket is not one') end
used = in_units(used, of, scale)
local lacking = cost > 0 and math.max(0, used + cost * interval - capacity) or 0
local taken = 0
if lacking == 0 then
  taken = math.max(cost, math.min(most, math.floor((capacity - used) / interval)))
  used = used + taken * interval
end
if taken > 0 then keep(key, used, scale) end
return {lacking == 0 and 1 or 0, used, lacking, taken}
"""
)
"""As TAKE, from one bucket."""

TAKE = Script(
    _BUCKETS
    + """
-- Of each bucket what was used up before, in the units of `first`, and after, in those of `last`.
local before, first, after, last = {}, {}, {}, {}
local lacking, taken, is_granted = {}, {}, 1
for i, key in ipairs(KEYS) do
  local at = 5 * i - 4
  local interval, capacity = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local scale, cost, most = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if not before[key] then
    before[key], first[key] = used_of(key)
    if not before[key] then return redis.error_reply('FOREIGN a bucket is not one') end
    after[key], last[key] = before[key], first[key]
  end
  -- A bucket that is named twice is charged for both.
  local used = in_units(after[key], last[key], scale)
  lacking[i] = cost > 0 and math.max(0, used + cost * interval - capacity) or 0
  lacking[i] = math.min(lacking[i], 2^53 - 1)
  if lacking[i] > 0 then is_granted = 0 end
  taken[i] = math.max(cost, math.min(most, math.floor((capacity - used) / interval)))
  if taken[i] > 0 then after[key], last[key] = used + taken[i] * interval, scale end
end
if is_granted == 0 then after, last = before, first end
local reply, is_taken_from = {is_granted}, {}
for i, key in ipairs(KEYS) do
  if is_granted == 0 then taken[i] = 0 end
  is_taken_from[key] = is_taken_from[key] or taken[i] > 0
  reply[3 * i - 1] = in_units(after[key], last[key], tonumber(ARGV[5 * i - 2]))
  reply[3 * i], reply[3 * i + 1] = lacking[i], taken[i]
end
for key, is in pairs(is_taken_from) do
  if is then keep(key, after[key], last[key]) end
end
reply[#reply + 1] = now
return reply
"""
)
"""Takes from each bucket its cost, and up to `most` where there is room; or from none of them.

Replies 1 or 0, then for each bucket what is used up afterwards, what is lacking for its cost,
and how many were taken; and the moment.
"""

CHECK = Script(
    TRYING
    + """
try('TIME')
try('GET', KEYS[1])
try('SET', KEYS[1], '', 'PX', '1')
return answer
"""
)
"""Tries all that the other scripts do; see `admission`."""

GIVE_BACK = Script(
    _BUCKETS
    + """
local charged_at = tonumber(ARGV[#ARGV])
for i, key in ipairs(KEYS) do
  local at = 4 * i - 3
  local interval, scale = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local cost, left = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local used, of = used_of(key)
  -- Where the bucket may have been whole since, others have used what there is.
  if used and used > 0 and now >= charged_at and (now - charged_at) * scale < left then
    keep(key, in_units(used, of, scale) - cost * interval, scale)
  end
end
"""
)
"""Gives the cost back to buckets from which a call took it that another server then refused.

For each bucket it is told interval, units in a microsecond, cost, and what was used up after the
cost was taken; and when that was.
"""
