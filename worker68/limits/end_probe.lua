-- Lets the next probe go after one that showed nothing: it was not written, or it was not answered.
--
-- KEYS  the account's pace, as in slow_down.lua.
-- ARGV  now in microseconds (tests only; 0: Redis's own clock), microseconds since the slot of the probe was granted, 1 if it
--       was written, the kind of call whose pace it is, empty for the account's.
-- Reply 1 if a pause is open and this was a probe of it.

local now, age = tonumber(ARGV[1]), tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local of = ARGV[4] ~= '' and 'call:' .. ARGV[4] .. ':' or ''
local state = redis.call('HMGET', KEYS[1], of .. 'slowed_at', of .. 'pause')
local slowed_at = tonumber(state[1] or 0)
if not state[2] or (now - age <= slowed_at and slowed_at <= now) then
  return 0
end
local wait = ARGV[3] == '1' and tonumber(state[2]) or 0
redis.call('HSET', KEYS[1], of .. 'probe_at', now + wait)
return 1
