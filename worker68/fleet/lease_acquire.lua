-- Takes a lease that nobody holds, under a fencing number greater than every one before it.
--
-- KEYS  the lease, its fence (the last number given out; never expires).
-- ARGV  the worker's id, milliseconds until the lease ends unless it is renewed.
-- Reply the fencing number, or nil if somebody holds the lease.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return false
end
-- A Redis that lost its data would count from 1 again, below the numbers that the database already bears. Leases are not taken
-- a thousand times a second, so the milliseconds of the clock are always ahead of the numbers given out.
local time = redis.call('TIME')
local milliseconds = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local fence = math.max(redis.call('INCR', KEYS[2]), milliseconds)
local number = string.format('%.0f', fence)
redis.call('SET', KEYS[2], number)
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. number, 'PX', ARGV[2])
return fence
