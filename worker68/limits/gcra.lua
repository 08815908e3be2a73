-- Grants write times under several limits at once (generic cell rate algorithm), for a batch of asks in their order.
--
-- KEYS  the account's pace, then one key for each limit. A limit's key holds its theoretical arrival time (TAT): when the next
--       write would be due if all writes were evenly spaced.
-- ARGV  now in microseconds (tests only; empty: Redis's own clock), how far ahead a write time may lie in microseconds,
--       the number of steps of a full pace;
--       for each limit: interval in microseconds, burst, 1 if it holds only while the account is slowed down;
--       for each ask: how many limits it meets, then their places among the limits.
-- Reply for each ask: {0, microseconds to wait}, or {place of the limit with the longest wait, microseconds until its next
--       chance}. A refused ask changes nothing.
--
-- The earliest write time under one limit is TAT - (burst - 1) * interval; the ask gets the latest of these, and each of its
-- limits moves on by one interval from there. So no window of length L holds more than L / interval + burst write times.

-- A clock that was set back by less is waited for; by more, the TATs from before are cut down to what a grant made now could
-- reach at most, so that nothing already granted is crowded and nobody waits for the old time to come round again.
local CLOCK_MARGIN = 5 * 1000000

-- A TAT in the past says nothing, so its key may go at any time after; that the clocks of expiry and TIME differ must not matter.
local GRACE_MILLISECONDS = 60 * 1000

local function read_clock()
  if ARGV[1] ~= '' then
    return tonumber(ARGV[1])
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local now, ahead, full_pace = read_clock(), tonumber(ARGV[2]), tonumber(ARGV[3])
local pace = tonumber(redis.call('HGET', KEYS[1], 'pace') or full_pace)

local function read_limit(key, interval, burst, only_when_slow)
  interval = math.ceil(interval * full_pace / pace)
  local limit = {key = key, interval = interval, burst = burst, holds = not only_when_slow or pace < full_pace}
  local tat = tonumber(redis.call('GET', key) or now)
  local furthest = now + ahead + burst * interval
  limit.moved = tat > furthest + CLOCK_MARGIN
  limit.tat = limit.moved and furthest or tat
  return limit
end

local function grant(limits, places)
  local slot, tightest = now, 0
  for _, place in ipairs(places) do
    local earliest = limits[place].tat - (limits[place].burst - 1) * limits[place].interval
    if earliest > slot then
      slot, tightest = earliest, place
    end
  end
  if slot - now > ahead then
    return {tightest, slot - now - ahead}
  end
  for _, place in ipairs(places) do
    local limit = limits[place]
    limit.tat, limit.moved = math.max(limit.tat, slot) + limit.interval, true
  end
  return {0, slot - now}
end

local limits, argument = {}, 4
for i = 2, #KEYS do
  local interval, burst = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
  limits[i - 1] = read_limit(KEYS[i], interval, burst, ARGV[argument + 2] == '1')
  argument = argument + 3
end

local answers = {}
while ARGV[argument] do
  local places = {}
  for i = 1, tonumber(ARGV[argument]) do
    local place = tonumber(ARGV[argument + i])
    if limits[place].holds then
      places[#places + 1] = place
    end
  end
  answers[#answers + 1] = grant(limits, places)
  argument = argument + 1 + tonumber(ARGV[argument])
end

for _, limit in ipairs(limits) do
  if limit.moved then
    local milliseconds = math.ceil((limit.tat - now) / 1000) + GRACE_MILLISECONDS
    redis.call('SET', limit.key, string.format('%.0f', limit.tat), 'PX', string.format('%.0f', milliseconds))
  end
end
return answers
