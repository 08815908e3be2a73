-- Grants write times under several limits at once (generic cell rate algorithm), for a batch of asks in their order.
--
-- KEYS  the account's pace (slow_down.lua). The keys of the limits bear the same hash tag, and come with ARGV: each holds the
--       limit's theoretical arrival time (TAT): when the next write would be due if all writes were evenly spaced.
-- ARGV  one MessagePack array, because many small arguments cost more than the work: now in microseconds (tests only; 0:
--       Redis's own clock), how far ahead a write time may lie in microseconds, the number of steps of a full pace, microseconds
--       before which no slot is wanted, {{the keys of the limits}, {for each limit: interval in microseconds, burst, 1 if it holds
--       only while its pace is not full, the place of its pace}, {for each ask: the place of its pace, how many limits it meets, then
--       their places among the limits}, {the kinds of calls}}. The place of a pace is 1 for the account's, 1 + N for that of the kind
--       of call with the place N.
-- Reply one MessagePack array: the account's pace, then for each ask its answer and microseconds: 0 and how long to wait, or the
--       place of the limit with the longest wait and how long until its next chance, or the negative place of a pace and how long
--       until the next probe, where the service keeps saying busy. A refused ask changes nothing.
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
local keys, terms, asks, calls = unpack(plan)
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- By the place of the pace: the account's is first, those of the kinds of calls follow. A probe of 0: no pause is open.
local fields = {'pace', 'probe_at', 'pause'}
for i = 1, #calls do
  local of = 'call:' .. calls[i] .. ':'
  fields[3 * i + 1], fields[3 * i + 2], fields[3 * i + 3] = of .. 'pace', of .. 'probe_at', of .. 'pause'
end
local state, paces, probes = call('HMGET', KEYS[1], unpack(fields)), {}, {}
for i = 1, #calls + 1 do
  paces[i], probes[i] = tonumber(state[3 * i - 2] or full_pace), tonumber(state[3 * i - 1] or 0)
  if probes[i] > now + math.max(PROBE_LOST, tonumber(state[3 * i] or 0)) + CLOCK_MARGIN then
    probes[i] = now
  end
end

-- By the limit's place. Small arrays of numbers, because a table for each limit costs more than the rest of the script.
-- No interval: the limit does not hold now. ``moved``: its TAT is to be written.
local tats, intervals, moved = {}, {}, {}
local found = #keys > 0 and call('MGET', unpack(keys)) or {}
for i = 1, #keys do
  local interval, own = terms[4 * i - 3], terms[4 * i]
  for _, pace in ipairs(own > 1 and {paces[1], paces[own]} or {paces[1]}) do
    if pace < full_pace then
      interval = math.ceil(interval * full_pace / pace)
    end
  end
  local tat = tonumber(found[i] or now)
  local furthest = now + ahead + terms[4 * i - 2] * interval
  moved[i] = tat > furthest + CLOCK_MARGIN
  tats[i] = moved[i] and furthest or tat
  intervals[i] = (terms[4 * i - 1] == 0 or paces[own] < full_pace) and interval
end

local reply, answers, last = {paces[1]}, 1, 0
while asks[last + 1] do
  local own, first = asks[last + 1], last + 3
  last = last + 2 + asks[last + 2]
  local slot, tightest = now + ready, 0
  for i = first, last do
    local place = asks[i]
    if intervals[place] then
      local earliest = tats[place] - (terms[4 * place - 2] - 1) * intervals[place]
      if earliest > slot then
        slot, tightest = earliest, place
      end
    end
  end
  if now < probes[1] then
    tightest, slot = -1, probes[1]
  elseif now < probes[own] then
    tightest, slot = -own, probes[own]
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
    for _, i in ipairs(own > 1 and {1, own} or {1}) do
      if probes[i] > 0 then
        probes[i] = slot + PROBE_LOST
        call('HSET', KEYS[1], fields[3 * i - 1], format('%d', probes[i]))
      end
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
