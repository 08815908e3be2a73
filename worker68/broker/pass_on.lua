-- Moves unacknowledged messages of the front door to the queues of their accounts, in one step.
--
-- KEYS  the front door's unacked hash.
-- ARGV  lease key, lease value; then for each message in the order in which they were popped: its field, the list it goes to.
-- Reply how many were moved, or -1 if the lease is no longer ours: then its next owner finds them unacknowledged.
--
-- Each message is pushed before its field is deleted, so an error loses none. GETEX counts as a write, as in give_back.lua.

if redis.call('GETEX', ARGV[1]) ~= ARGV[2] then
  return -1
end
local moved = 0
for i = 3, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    local colon = string.find(value, ':', 1, true)
    local length = tonumber(string.sub(value, 1, colon - 1))
    -- New messages come in on the left, so the first of these will be taken first.
    redis.call('LPUSH', ARGV[i + 1], string.sub(value, colon + 1 + length))
    redis.call('HDEL', KEYS[1], ARGV[i])
    moved = moved + 1
  end
end
return moved
