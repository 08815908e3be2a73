-- Counts successes under a pace that was slowed down: each so many raise it by one step, and the first one ends a pause.
--
-- KEYS  the account's pace, as in slow_down.lua.
-- ARGV  now in microseconds (tests only; 0: Redis's own clock), microseconds since the slot of the frame was granted, the
--       number of steps of a full pace, seconds after which an untouched pace is forgotten, successes to count, successes for
--       one step, the kind of call whose pace it is, empty for the account's.
-- Reply {the pace before, the pace now, 1 if a pause ended}, paces in steps.

local now, age, full = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local per_step, kind = tonumber(ARGV[6]), ARGV[7]
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local of = kind ~= '' and 'call:' .. kind .. ':' or ''
local state = redis.call('HMGET', KEYS[1], of .. 'pace', of .. 'slowed_at', of .. 'pause', 'busy_call')
if not state[1] then
  return {full, full, 0}
end
local before, slowed_at = tonumber(state[1]), tonumber(state[2] or 0)

-- What was granted before the last busy answer came says nothing about the time after it.
if now - age <= slowed_at and slowed_at <= now then
  return {before, before, 0}
end

local ended = 0
if state[3] then
  redis.call('HDEL', KEYS[1], of .. 'pause', of .. 'probe_at')
  ended = 1
end
local successes = redis.call('HINCRBY', KEYS[1], of .. 'successes', ARGV[5])
local pace = before + math.floor(successes / per_step)
if pace >= full then
  redis.call('HDEL', KEYS[1], of .. 'pace', of .. 'successes', of .. 'busy', of .. 'slowed_at')
  if kind == '' or state[4] == kind then
    redis.call('HDEL', KEYS[1], 'busy_call', 'busy_at', 'other_at')
  end
  return {before, full, ended}
end
redis.call('HSET', KEYS[1], of .. 'pace', pace, of .. 'successes', successes % per_step, of .. 'busy', 0)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {before, pace, ended}
