-- Writes what a worker says about itself, and returns what all workers say that have reported lately.
--
-- KEYS  the fleet: a hash, by worker.
-- ARGV  the worker's id, milliseconds until its word counts no more, its word.
-- Reply worker and word by turns.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])) .. '|' .. ARGV[3])

local all = redis.call('HGETALL', KEYS[1])
local live = {}
for i = 1, #all, 2 do
  local until_ms, word = string.match(all[i + 1], '^(%d+)|(.*)$')
  if until_ms and tonumber(until_ms) > now then
    live[#live + 1] = all[i]
    live[#live + 1] = word
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return live
