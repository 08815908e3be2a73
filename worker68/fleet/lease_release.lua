-- Ends a lease that still belongs to this owner under this fencing number; leaves any other alone.
--
-- KEYS  the lease.
-- ARGV  its value (owner and number).
-- Reply 1 if it was ended, 0 if it was no longer ours.

if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
