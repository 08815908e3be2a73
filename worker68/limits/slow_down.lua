-- Halves an account's pace after a busy answer, and opens a pause when the answers stay busy.
--
-- KEYS  the account's pace, a hash; no key: full pace, no pause.
--         pace       steps, 1 to the full number
--         successes  since its last change
--         busy       busy moments in a row, without a success after them
--         slowed_at  microseconds; when the last of them was
--         pause      microseconds; only while a pause is open: how long the next probe has to wait after a busy one
--         probe_at   microseconds; only then: when the next probe may be granted (gcra.lua puts it off while one is under way)
-- ARGV  now in microseconds (tests only; 0: Redis's own clock), microseconds since the slot of the busy frame was granted, the
--       number of steps of a full pace, busy moments that open a pause, the first pause and the longest in microseconds,
--       seconds after which an untouched pace is forgotten.
-- Reply {the pace in steps, the pause in microseconds (0: none), 1 if this answer counted}.

local now, age, full = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most, first_pause, longest_pause = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local state = redis.call('HMGET', KEYS[1], 'pace', 'busy', 'slowed_at', 'pause')
local pace, busy = tonumber(state[1] or full), tonumber(state[2] or 0)
local slowed_at, pause = tonumber(state[3] or 0), tonumber(state[4] or 0)

-- A frame whose slot was granted before the last slow-down says nothing about the pace that holds since: it is of the same
-- moment. A time that lies ahead is of a clock that was set back.
if now - age <= slowed_at and slowed_at <= now then
  return {pace, pause, 0}
end

pace, busy = math.max(1, math.floor(pace / 2)), busy + 1
redis.call('HSET', KEYS[1], 'pace', pace, 'successes', 0, 'busy', busy, 'slowed_at', now)
if busy >= most then
  pause = pause == 0 and first_pause or math.min(2 * pause, longest_pause)
  local probe_at = now + pause
  redis.call('HSET', KEYS[1], 'pause', pause, 'probe_at', probe_at)
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
return {pace, pause, 1}
