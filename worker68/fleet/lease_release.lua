-- Ends those of many leases that still belong to their owner under their fencing number; leaves all others alone.
--
-- KEYS  the leases.
-- ARGV  the value of each lease (owner and number).
-- Reply how many were ended.

local ended = 0
for i, lease in ipairs(KEYS) do
  if redis.pcall('GET', lease) == ARGV[i] then
    ended = ended + redis.call('DEL', lease)
  end
end
return ended
