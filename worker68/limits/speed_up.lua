-- Counts successes of a slowed-down account and raises its pace by one step for every so many; at full pace it does nothing.
--
-- KEYS  the account's pace, as in slow_down.lua.
-- ARGV  the number of steps of a full pace, seconds after which an untouched pace is forgotten, successes to count,
--       successes for one step.
-- Reply {the pace before, the pace now}, in steps.

local full, per_step = tonumber(ARGV[1]), tonumber(ARGV[4])
local before = tonumber(redis.call('HGET', KEYS[1], 'pace') or full)
if before >= full then
  return {full, full}
end
local successes = redis.call('HINCRBY', KEYS[1], 'successes', ARGV[3])
local pace = before + math.floor(successes / per_step)
if pace >= full then
  redis.call('DEL', KEYS[1])
  return {before, full}
end
redis.call('HSET', KEYS[1], 'pace', pace, 'successes', successes % per_step)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {before, pace}
