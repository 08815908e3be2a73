-- Halves a pace after a busy answer, and opens a pause when the answers stay busy: the pace of one kind of call where that explains
-- the answer, else the account's.
--
-- KEYS  the account's pace, a hash; no key: full pace, no pause.
--         pace       steps, 1 to the full number
--         successes  since its last change
--         busy       busy moments in a row, without a success after them
--         slowed_at  microseconds; when the last of them was
--         pause      microseconds; only while a pause is open: how long the next probe has to wait after a busy one
--         probe_at   microseconds; only then: when the next probe may be granted (gcra.lua puts it off while one is under way)
--       The same fields behind call:NAME: are of one kind of call. And which kind was answered busy last, and when:
--         busy_call, busy_at, and other_at: when one of another kind was
-- ARGV  now in microseconds (tests only; 0: Redis's own clock), microseconds since the slot of the busy frame was granted, the
--       number of steps of a full pace, busy moments that open a pause, the first pause and the longest in microseconds,
--       seconds after which an untouched pace is forgotten, the kind of call, 1 if only the kind is slowed down where no other kind
--       was answered busy within so many microseconds, these, and the share of the pace that is left.
-- Reply {the pace in steps, the pause in microseconds (0: none), 1 if this answer counted, 1 if it is the pace of the kind}.

local now, age, full = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most, first_pause, longest_pause = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local kind, narrow, window, share = ARGV[8], ARGV[9] == '1', tonumber(ARGV[10]), tonumber(ARGV[11])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local last = redis.call('HMGET', KEYS[1], 'busy_call', 'busy_at', 'other_at')
local other_at = tonumber((last[1] and last[1] ~= kind and last[2]) or last[3] or 0)
redis.call('HSET', KEYS[1], 'busy_call', kind, 'busy_at', now, 'other_at', other_at)
redis.call('EXPIRE', KEYS[1], ARGV[7])
narrow = narrow and now - other_at > window
local of = narrow and 'call:' .. kind .. ':' or ''

local state = redis.call('HMGET', KEYS[1], of .. 'pace', of .. 'busy', of .. 'slowed_at', of .. 'pause')
local pace, busy = tonumber(state[1] or full), tonumber(state[2] or 0)
local slowed_at, pause = tonumber(state[3] or 0), tonumber(state[4] or 0)

-- The answer says nothing of the other pace that the frame met: if it was a probe of that, the next one waits for a pause again.
local other = narrow and '' or 'call:' .. kind .. ':'
local met = redis.call('HMGET', KEYS[1], other .. 'slowed_at', other .. 'pause')
local met_at = tonumber(met[1] or 0)
if met[2] and not (now - age <= met_at and met_at <= now) then
  redis.call('HSET', KEYS[1], other .. 'probe_at', now + tonumber(met[2]))
end

-- A frame whose slot was granted before the last slow-down says nothing about the pace that holds since: it is of the same
-- moment. A time that lies ahead is of a clock that was set back.
if now - age <= slowed_at and slowed_at <= now then
  return {pace, pause, 0, narrow and 1 or 0}
end

pace, busy = math.max(1, math.floor(pace * share)), busy + 1
redis.call('HSET', KEYS[1], of .. 'pace', pace, of .. 'successes', 0, of .. 'busy', busy, of .. 'slowed_at', now)
if busy >= most then
  pause = pause == 0 and first_pause or math.min(2 * pause, longest_pause)
  redis.call('HSET', KEYS[1], of .. 'pause', pause, of .. 'probe_at', now + pause)
end
return {pace, pause, 1, narrow and 1 or 0}
