-- Halves an account's pace after a busy answer.
--
-- KEYS  the account's pace: a hash of `pace` (steps, 1 to the full number; no key: full) and `successes` since its last change.
-- ARGV  the number of steps of a full pace, seconds after which an untouched pace is forgotten.
-- Reply the new pace in steps.

local pace = tonumber(redis.call('HGET', KEYS[1], 'pace') or ARGV[1])
pace = math.max(1, math.floor(pace / 2))
redis.call('HSET', KEYS[1], 'pace', pace, 'successes', 0)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return pace
