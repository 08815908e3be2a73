-- Grants write times under several limits at once (generic cell rate algorithm), for a batch of asks in their order.
--
-- KEYS  the account's pace (slow_down.lua). The keys of the limits bear the same hash tag, and come with ARGV: each holds the
--       limit's theoretical arrival time (TAT): when the next write would be due if all writes were evenly spaced.
-- ARGV  one MessagePack array, because many small arguments cost more than the work: now in microseconds (tests only; 0:
--       Redis's own clock), how far ahead a write time may lie in microseconds, the number of steps of a full pace, {the keys of
--       the limits}, {for each limit: interval in microseconds, burst, 1 if it holds only while the account is slowed down},
--       {for each ask: how many limits it meets, then their places among the limits}, microseconds before which no slot is wanted.
-- Reply one MessagePack array: the pace, then for each ask its answer and microseconds: 0 and how long to wait, or the place of
--       the limit with the longest wait and how long until its next chance, or -1 and how long until the next probe of a
--       service that keeps saying busy. A refused ask changes nothing.
--
-- The earliest write time under one limit is TAT - (burst - 1) * interval; the ask gets the latest of these, and each of its
-- limits moves on by one interval from there. So no window of length L holds more than L / interval + burst write times.

-- A clock that was set back by less is waited for; by more, the TATs from before are cut down to what a grant made now could
-- reach at most, so that nothing already granted is crowded and nobody waits for the old time to come round again.
local CLOCK_MARGIN = 5 * 1000000

-- A TAT in the past says nothing, so its key may go at any time after; that the clocks of expiry and TIME differ must not matter.
local GRACE_MILLISECONDS = 60 * 1000

-- A probe of which nobody has told the end is given up: longer than a verdict is waited for by default.
local PROBE_LOST = 60 * 1000000

-- Numbers go to Redis as they are: it writes 17 digits of them, and microseconds have 16.

local request = cmsgpack.unpack(ARGV[1])
local now, ahead, full_pace, keys, terms, asks, ready = unpack(request)
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local state = redis.call('HMGET', KEYS[1], 'pace', 'probe_at')
local pace, probe_at = tonumber(state[1] or full_pace), tonumber(state[2] or 0)
local paused = probe_at ~= 0
if probe_at > now + PROBE_LOST + CLOCK_MARGIN then
  probe_at = now
end

local function read_limits()
  local limits = {}
  local tats = #keys > 0 and redis.call('MGET', unpack(keys)) or {}
  for i = 1, #tats do
    local interval, burst = terms[3 * i - 2], terms[3 * i - 1]
    if pace < full_pace then
      interval = math.ceil(interval * full_pace / pace)
    end
    local tat = tonumber(tats[i] or now)
    local furthest = now + ahead + burst * interval
    local moved = tat > furthest + CLOCK_MARGIN
    limits[i] = {
      interval = interval, slack = (burst - 1) * interval, tat = moved and furthest or tat, moved = moved,
      holds = pace < full_pace or terms[3 * i] == 0,
    }
  end
  return limits
end

local function write_limits(limits)
  for i, limit in ipairs(limits) do
    if limit.moved then
      local milliseconds = math.ceil((limit.tat - now) / 1000) + GRACE_MILLISECONDS
      redis.call('SET', keys[i], limit.tat, 'PX', milliseconds)
    end
  end
end

local function answer(limits, met)
  if paused and now < probe_at then
    return -1, probe_at - now
  end
  local slot, tightest = now + ready, 0
  for _, place in ipairs(met) do
    local earliest = limits[place].tat - limits[place].slack
    if earliest > slot then
      slot, tightest = earliest, place
    end
  end
  if slot - now > ahead then
    return tightest, slot - now - ahead
  end
  for _, place in ipairs(met) do
    local limit = limits[place]
    limit.tat, limit.moved = math.max(limit.tat, slot) + limit.interval, true
  end
  if paused then
    probe_at = slot + PROBE_LOST
    redis.call('HSET', KEYS[1], 'probe_at', probe_at)
  end
  return 0, slot - now
end

local limits, reply, at = read_limits(), {pace}, 1
while asks[at] do
  local met = {}
  for i = at + 1, at + asks[at] do
    if limits[asks[i]].holds then
      met[#met + 1] = asks[i]
    end
  end
  reply[#reply + 1], reply[#reply + 2] = answer(limits, met)
  at = at + 1 + asks[at]
end
write_limits(limits)
return cmsgpack.pack(reply)
