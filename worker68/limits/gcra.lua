-- Grants write times under several limits at once (generic cell rate algorithm), for a batch of asks in their order.
--
-- KEYS  the account's pace (slow_down.lua). The keys of the limits bear the same hash tag, and come with ARGV: each holds the
--       limit's theoretical arrival time (TAT): when the next write would be due if all writes were evenly spaced.
-- ARGV  one MessagePack array, because many small arguments cost more than the work: now in microseconds (tests only; 0:
--       Redis's own clock), how far ahead a write time may lie in microseconds, the number of steps of a full pace, microseconds
--       before which no slot is wanted, {{the keys of the limits}, {for each limit: interval in microseconds, burst, 1 if it holds
--       only while the account is slowed down}, {for each ask: how many limits it meets, then their places among the limits}}.
-- Reply one MessagePack array: the pace, then for each ask its answer and microseconds: 0 and how long to wait, or the place of
--       the limit with the longest wait and how long until its next chance, or -1 and how long until the next probe of a
--       service that keeps saying busy. A refused ask changes nothing.
--
-- The earliest write time under one limit is TAT - (burst - 1) * interval; the ask gets the latest of these, and each of its
-- limits moves on by one interval from there. So no window of length L holds more than L / interval + burst write times.

-- A clock that was set back by less is waited for; by more, the TATs from before are cut down to what a grant made now could
-- reach at most, so that nothing already granted is crowded and nothing waits for the old time to come round again.
local CLOCK_MARGIN = 5 * 1000000

-- A TAT in the past says nothing, so its key may go at any time after; that the clocks of expiry and TIME differ must not matter.
local GRACE_MILLISECONDS = 60 * 1000

-- A probe whose end is not reported is given up: longer than a verdict is waited for by default.
local PROBE_LOST = 60 * 1000000

-- Redis would write numbers as they are too, but slowly: so they go as strings.

local call, format = redis.call, string.format
local now, ahead, full_pace, ready, plan = unpack(cmsgpack.unpack(ARGV[1]))
local keys, terms, asks = unpack(plan)
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local state = call('HMGET', KEYS[1], 'pace', 'probe_at')
local pace, probe_at = tonumber(state[1] or full_pace), tonumber(state[2] or 0)
local slow, paused = pace < full_pace, probe_at ~= 0
if probe_at > now + PROBE_LOST + CLOCK_MARGIN then
  probe_at = now
end

-- By the limit's place. Small arrays of numbers, because a table for each limit costs more than the rest of the script.
-- No interval: the limit does not hold now. ``moved``: its TAT is to be written.
local tats, intervals, moved = {}, {}, {}
local found = #keys > 0 and call('MGET', unpack(keys)) or {}
for i = 1, #keys do
  local interval = terms[3 * i - 2]
  if slow then
    interval = math.ceil(interval * full_pace / pace)
  end
  local tat = tonumber(found[i] or now)
  local furthest = now + ahead + terms[3 * i - 1] * interval
  moved[i] = tat > furthest + CLOCK_MARGIN
  tats[i] = moved[i] and furthest or tat
  intervals[i] = (slow or terms[3 * i] == 0) and interval
end

local reply, answers, last = {pace}, 1, 0
while asks[last + 1] do
  local first = last + 2
  last = last + 1 + asks[last + 1]
  local slot, tightest = now + ready, 0
  for i = first, last do
    local place = asks[i]
    if intervals[place] then
      local earliest = tats[place] - (terms[3 * place - 1] - 1) * intervals[place]
      if earliest > slot then
        slot, tightest = earliest, place
      end
    end
  end
  if paused and now < probe_at then
    tightest, slot = -1, probe_at
  elseif slot > now + ahead then
    slot = slot - ahead
  else
    tightest = 0
    for i = first, last do
      local place = asks[i]
      if intervals[place] then
        local tat = tats[place]
        tats[place], moved[place] = (tat > slot and tat or slot) + intervals[place], true
      end
    end
    if paused then
      probe_at = slot + PROBE_LOST
      call('HSET', KEYS[1], 'probe_at', probe_at)
    end
  end
  reply[answers + 1], reply[answers + 2] = tightest, slot - now
  answers = answers + 2
end

for i = 1, #keys do
  if moved[i] then
    call('SET', keys[i], format('%d', tats[i]), 'PX', format('%d', (tats[i] - now) / 1000 + GRACE_MILLISECONDS))
  end
end
return cmsgpack.pack(reply)
