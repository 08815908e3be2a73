-- Puts off the end of those of many leases that still belong to their owner under their fencing number.
--
-- KEYS  the leases.
-- ARGV  milliseconds from now until they end, then the value of each lease (owner and number).
-- Reply for each lease 1 if it was renewed, 0 if it is no longer ours.

local answers = {}
for i, lease in ipairs(KEYS) do
  if redis.pcall('GET', lease) == ARGV[i + 1] then
    answers[i] = redis.call('PEXPIRE', lease, ARGV[1])
  else
    answers[i] = 0
  end
end
return answers
