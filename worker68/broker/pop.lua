-- Takes messages from the queues of several places and records each as unacknowledged, in one step.
--
-- KEYS  for each place: its lists in order of priority. They are watched also where there is no room.
-- ARGV  most messages, most bytes, running number before the first message; then for each place: lease key, lease value,
--       fence, unacked key, lost key, room, number of lists.
-- Reply for each place: {owned, messages waiting, {field, value, losses, ...}, {keys of a wrong type}, leftover}.
--
-- The lost key counts for a message how many owners were lost while they had it: field to <fence of the last one>:<count>. What
-- two have lost is handed out alone, so that the third loss counts for it and for no message beside it.
--
-- Client tracking arms the keys that a script reads after its last write to them, on Redis 6 all declared keys. Hence lists
-- are declared and read, and the lease is neither: its renewal must not ring. GETEX is a write to tracking.

local most_messages, most_bytes, number = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local messages, bytes = 0, 0
local alone_after_losses, losses_kept_seconds = 2, 24 * 3600

local function full()
  return messages >= most_messages or bytes >= most_bytes
end

local function read_arguments()
  local places, key, arg = {}, 1, 4
  while ARGV[arg] do
    local place = {
      lease_key = ARGV[arg], lease_value = ARGV[arg + 1], fence = ARGV[arg + 2], unacked = ARGV[arg + 3],
      lost = ARGV[arg + 4], room = tonumber(ARGV[arg + 5]), lists = {}, lengths = {}, waiting = 0, entries = {}, broken = {},
    }
    local lists = tonumber(ARGV[arg + 6])
    for i = 1, lists do
      place.lists[i] = KEYS[key + i - 1]
    end
    places[#places + 1] = place
    key, arg = key + lists, arg + 7
  end
  return places
end

-- A key that holds another type than it should is reported and left out; it must not stop the other queues.
local function read(place, command, key)
  local value = redis.pcall(command, key)
  if type(value) == 'table' and value.err then
    place.broken[#place.broken + 1] = key
    return nil
  end
  return value
end

local function look(place)
  place.owned = redis.call('GETEX', place.lease_key) == place.lease_value
  if not place.owned then
    return
  end
  for i, list in ipairs(place.lists) do
    place.lengths[i] = read(place, 'LLEN', list) or 0
    place.waiting = place.waiting + place.lengths[i]
  end
  local unacked = read(place, 'HLEN', place.unacked)
  place.leftover = unacked ~= nil and unacked > 0
  place.open = unacked == 0
end

local function hand_out(place, field, value, losses)
  place.entries[#place.entries + 1] = field
  place.entries[#place.entries + 1] = value
  place.entries[#place.entries + 1] = losses
  messages, bytes = messages + 1, bytes + #value
end

-- How many owners have lost a message, and whether the last of them is new to the count.
local function count_losses(place, field)
  local holder, losses = string.sub(field, 1, #place.fence), 0
  local counted = redis.call('HGET', place.lost, field)
  if counted then
    holder, losses = string.sub(counted, 1, #place.fence), tonumber(string.sub(counted, #place.fence + 2))
  end
  if holder < place.fence then
    return losses + 1, true
  end
  return losses, false
end

-- Where losses cannot be counted, what was left is handed out all the same.
local function take_leftovers(place)
  local countable = read(place, 'HLEN', place.lost) ~= nil
  local fields = redis.call('HKEYS', place.unacked)
  table.sort(fields)
  for _, field in ipairs(fields) do
    local losses, new = 0, false
    if countable then
      losses, new = count_losses(place, field)
    end
    local alone = losses >= alone_after_losses
    if full() or (alone and #place.entries > 0) then
      return
    end
    if new then
      redis.call('HSET', place.lost, field, place.fence .. ':' .. losses)
      redis.call('EXPIRE', place.lost, losses_kept_seconds)
    end
    hand_out(place, field, redis.call('HGET', place.unacked, field), losses)
    if alone then
      return
    end
  end
end

local function take(place, share)
  for i, list in ipairs(place.lists) do
    local length = place.lengths[i]
    while place.lengths[i] > 0 and share > 0 and not full() do
      number = number + 1
      local field = string.format('%s:%012d', place.fence, number)
      local value = #list .. ':' .. list .. redis.call('RPOP', list)
      redis.call('HSET', place.unacked, field, value)
      hand_out(place, field, value, 0)
      place.lengths[i], place.waiting, place.room = place.lengths[i] - 1, place.waiting - 1, place.room - 1
      share = share - 1
    end
    if place.lengths[i] < length then
      redis.call('LLEN', list)
    end
  end
end

-- Gives each place an equal share of what may still be taken, until nothing waits or nothing more may be taken.
local function take_in_turn(places)
  repeat
    local waiting = {}
    for _, place in ipairs(places) do
      if place.open and place.waiting > 0 and place.room > 0 then
        waiting[#waiting + 1] = place
      end
    end
    local share = math.max(1, math.floor((most_messages - messages) / math.max(1, #waiting)))
    for _, place in ipairs(waiting) do
      take(place, math.min(share, place.room))
    end
  until #waiting == 0 or full()
end

local places = read_arguments()
for _, place in ipairs(places) do
  look(place)
end
for _, place in ipairs(places) do
  if place.leftover then
    take_leftovers(place)
  end
end
take_in_turn(places)

local reply = {}
for i, place in ipairs(places) do
  reply[i] = {
    place.owned and 1 or 0, place.waiting, place.entries, place.broken, place.leftover and 1 or 0,
  }
end
return reply
