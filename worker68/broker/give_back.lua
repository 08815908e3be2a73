-- Puts unacknowledged messages back where they were taken, the last one first, so that the old order is restored.
--
-- KEYS[1] unacked key. ARGV: lease key, lease value, then the fields, the last popped first.
-- Reply: how many were given back, or -1 if the lease is not ours: then the messages belong to the next owner.
--
-- Each message is pushed before its field is deleted, so an error (a key of a wrong type) loses none. GETEX counts as a
-- write, and after the first write Redis lets a script go on when memory is full.

if redis.call('GETEX', ARGV[1]) ~= ARGV[2] then
  return -1
end
local given_back = 0
for i = 3, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    local colon = string.find(value, ':', 1, true)
    local start = colon + 1 + tonumber(string.sub(value, 1, colon - 1))
    redis.call('RPUSH', string.sub(value, colon + 1, start - 1), string.sub(value, start))
    redis.call('HDEL', KEYS[1], ARGV[i])
    given_back = given_back + 1
  end
end
return given_back
