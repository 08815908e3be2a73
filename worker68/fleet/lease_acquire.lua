-- Takes those of many leases that no worker holds, each under a fencing number greater than every one before it.
--
-- KEYS  for each lease two: the lease, its fence (the last number given out; never expires).
-- ARGV  the worker's id, milliseconds until a lease ends unless it is renewed, how many to take at most.
-- Reply for each lease its fencing number, nil if it is held or there were enough, or in words why Redis refuses the key of its fence.

local time = redis.call('TIME')
local milliseconds = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local most = tonumber(ARGV[3])

local function take(lease, fence)
  if most == 0 or redis.call('EXISTS', lease) == 1 then
    return false
  end
  local count = redis.pcall('INCR', fence)
  if type(count) == 'table' then
    return count.err
  end
  -- A Redis that lost its data would count from 1 again, below the numbers that the database already bears. A lease is not taken
  -- a thousand times a second, so the milliseconds of the clock are always ahead of the numbers given out.
  local number = math.max(count, milliseconds)
  local digits = string.format('%.0f', number)
  redis.call('SET', fence, digits)
  redis.call('SET', lease, ARGV[1] .. '|' .. digits, 'PX', ARGV[2])
  most = most - 1
  return number
end

local answers = {}
for i = 1, #KEYS, 2 do
  answers[#answers + 1] = take(KEYS[i], KEYS[i + 1])
end
return answers
