-- Puts off the end of a lease that still belongs to this owner under this fencing number.
--
-- KEYS  the lease.
-- ARGV  its value (owner and number), milliseconds from now until it ends.
-- Reply 1 if it was renewed, 0 if it is no longer ours.

if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
