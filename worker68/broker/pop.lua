-- Takes messages from the lists of one place and records each as unacknowledged, in one step.
--
-- KEYS  the place's lists in order of priority. They are watched also where there is no room.
-- ARGV  most messages, most bytes, running number before the first message, lease key, lease value, fence, unacked key, room.
-- Reply {owned, messages waiting, {field, value, ...}, {keys of a wrong type}, leftover}.
--
-- Client tracking arms the keys that a script reads after its last write to them, on Redis 6 and 7.0 all declared keys at each read:
-- one place a call, or the cost grows with the square of the places. Hence lists are declared and read, and the lease is neither:
-- its renewal must not ring. GETEX is a write to tracking.
--
-- Each message is recorded before it leaves its list, so an error (a missing right) loses none.

local most_messages, most_bytes, number = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local lease_key, lease_value, fence = ARGV[4], ARGV[5], ARGV[6]
local unacked, room = ARGV[7], tonumber(ARGV[8])
local entries, broken, messages, bytes, waiting = {}, {}, 0, 0, 0

local function full()
  return messages >= most_messages or bytes >= most_bytes
end

-- A key that holds another type than it should is reported and left out; it must not stop the other queues.
local function read(command, key)
  local value = redis.pcall(command, key)
  if type(value) == 'table' and value.err then
    broken[#broken + 1] = key
    return nil
  end
  return value
end

local function hand_out(field, value)
  entries[#entries + 1] = field
  entries[#entries + 1] = value
  messages, bytes = messages + 1, bytes + #value
end

local function take_leftovers()
  local fields = redis.call('HKEYS', unacked)
  table.sort(fields)
  for _, field in ipairs(fields) do
    if full() then
      return
    end
    hand_out(field, redis.call('HGET', unacked, field))
  end
end

local function take(list, length)
  local left = length
  while left > 0 and messages < room and not full() do
    number = number + 1
    local field = string.format('%s:%012d', fence, number)
    local value = #list .. ':' .. list .. redis.call('LINDEX', list, -1)
    redis.call('HSET', unacked, field, value)
    redis.call('RPOP', list)
    hand_out(field, value)
    left, waiting = left - 1, waiting - 1
  end
  if left < length then
    redis.call('LLEN', list)
  end
end

if redis.call('GETEX', lease_key) ~= lease_value then
  return {0, 0, {}, {}, 0}
end
local lengths = {}
for i, list in ipairs(KEYS) do
  lengths[i] = read('LLEN', list) or 0
  waiting = waiting + lengths[i]
end
local left_over = read('HLEN', unacked)
if left_over == 0 then
  for i, list in ipairs(KEYS) do
    take(list, lengths[i])
  end
elseif left_over then
  take_leftovers()
end
return {1, waiting, entries, broken, (left_over or 0) > 0 and 1 or 0}
