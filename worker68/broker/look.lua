-- Reads on in lists, from their old ends towards the new ones. Changes nothing.
--
-- ARGV  most messages, most bytes; then for each list: its key, how many messages at its old end are known already. The keys are
--       not declared, or client tracking would remember all of them at each read.
-- Reply for each list: {length, SHA-1 of the newest known message (empty: none), {the messages after it, the oldest first}}.
--
-- The SHA-1 shows the caller whether the list still begins with what it knows. A key of a wrong type counts as an empty list.

local most_messages, most_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local messages, bytes = 0, 0
-- Each LRANGE walks to its place in the list, so not one by one; but what is read beyond the bound of bytes is read in vain.
local piece = 50

local function full()
  return messages >= most_messages or bytes >= most_bytes
end

local function read_on(list, length, known)
  local found = {}
  local oldest = length - 1 - known
  while oldest >= 0 and not full() do
    local newest = math.max(0, oldest - piece + 1)
    local read = redis.call('LRANGE', list, newest, oldest)
    for i = #read, 1, -1 do
      if full() then
        return found
      end
      found[#found + 1] = read[i]
      messages, bytes = messages + 1, bytes + #read[i]
    end
    oldest = newest - 1
  end
  return found
end

local reply = {}
for i = 3, #ARGV, 2 do
  local list, known = ARGV[i], tonumber(ARGV[i + 1])
  local length = redis.pcall('LLEN', list)
  if type(length) ~= 'number' then
    length = 0
  end
  local last = ''
  if known > 0 and known <= length then
    last = redis.sha1hex(redis.call('LINDEX', list, known <= length / 2 and -known or length - known))
  end
  reply[#reply + 1] = {length, last, read_on(list, length, known)}
end
return reply
