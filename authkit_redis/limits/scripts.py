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

-- What is used up, in units of which a microsecond has `scale`; and whether the clock was set back.
local function used_of(key, scale)
  local value = redis.call('GET', key)
  if not value then return 0, false end
  if #value ~= 24 then return nil end
  local at, used, of = struct.unpack('>ddd', value)
  for _, number in ipairs({at, used, of}) do
    if not (number >= 0 and number < 2^53) then return nil end
  end
  if of ~= scale then used = math.ceil(used * (scale / of)) + 1 end
  if now < at then return used, true end
  return math.max(0, used - (now - at) * scale), false
end

local function keep(key, used, scale)
  if used <= 0 then return redis.call('DEL', key) end
  redis.call('SET', key, struct.pack('>ddd', now, used, scale), 'PX',
    string.format('%.0f', math.ceil(used / scale / 1000) + 1))
end
"""

TAKE_ONE = Script(
    _BUCKETS
    + """
local key = KEYS[1]
local interval, capacity, scale = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local used, was_set_back = used_of(key, scale)
if not used then return redis.error_reply('FOREIGN a bucket is not one') end
local lacking = cost > 0 and math.max(0, used + cost * interval - capacity) or 0
local taken = 0
if lacking == 0 then
  taken = math.max(cost, math.min(most, math.floor((capacity - used) / interval)))
  used = used + taken * interval
end
if taken > 0 or was_set_back then keep(key, used, scale) end
return {lacking == 0 and 1 or 0, used, lacking, taken}
"""
)
"""As TAKE, from one bucket."""

TAKE = Script(
    _BUCKETS
    + """
local before, after, scales, was_set_back, taken, lacking = {}, {}, {}, {}, {}, {}
local is_granted = 1
local function used_in(amounts, key, scale)
  if scales[key] == scale then return amounts[key] end
  return math.ceil(amounts[key] * (scale / scales[key])) + 1
end
for i, key in ipairs(KEYS) do
  local at = 5 * i - 4
  local interval, capacity = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local scale, cost, most = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if not scales[key] then
    before[key], was_set_back[key] = used_of(key, scale)
    if not before[key] then return redis.error_reply('FOREIGN a bucket is not one') end
    after[key], scales[key] = before[key], scale
  end
  -- A bucket that is named twice is charged for both.
  local used = used_in(after, key, scale)
  lacking[i] = cost > 0 and math.max(0, used + cost * interval - capacity) or 0
  if lacking[i] > 0 then is_granted = 0 end
  taken[i] = math.max(cost, math.min(most, math.floor((capacity - used) / interval)))
  before[key], after[key] = used_in(before, key, scale), used + taken[i] * interval
  scales[key] = scale
end
if is_granted == 0 then after = before end
local reply, is_changed = {is_granted}, {}
for i, key in ipairs(KEYS) do
  if is_granted == 0 then taken[i] = 0 end
  is_changed[key] = is_changed[key] or taken[i] > 0 or was_set_back[key]
  local used = used_in(after, key, tonumber(ARGV[5 * i - 2]))
  reply[3 * i - 1], reply[3 * i], reply[3 * i + 1] = used, lacking[i], taken[i]
end
for key, is in pairs(is_changed) do
  if is then keep(key, after[key], scales[key]) end
end
return reply
"""
)
"""Takes from each bucket its cost, and up to `most` where there is room; or from none of them.

Replies 1 or 0, then for each bucket what is used up afterwards, what is lacking for its cost,
and how many were taken.
"""

CHECK = Script(
    TRYING
    + """
try('TIME')
try('GET', KEYS[1])
try('SET', KEYS[1], '', 'PX', '1')
try('DEL', KEYS[1])
return answer
"""
)
"""Tries all that the other scripts do; see `admission`."""

GIVE_BACK = Script(
    _BUCKETS
    + """
for i, key in ipairs(KEYS) do
  local at = 5 * i - 4
  local interval, scale, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local before = used_of(key, scale)
  if before and before > 0 then keep(key, before - cost * interval, scale) end
end
"""
)
"""Gives the cost back to buckets from which a call took it that another server then refused."""
