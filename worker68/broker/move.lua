-- Moves unacknowledged messages of the front door to the queues of their accounts, in one step.
--
-- KEYS  the front door's unacked hash.
-- ARGV  lease key, lease value; then for each message in the order in which they were popped: its field, the list it goes to.
-- Reply {field, reason, ...} of those whose list refused them: they stay unacknowledged. If the lease is no longer ours nothing is
-- moved: its next owner finds the messages unacknowledged.
--
-- Each message is pushed before its field is deleted, so an error loses none. GETEX counts as a write, as in give_back.lua.

if redis.call('GETEX', ARGV[1]) ~= ARGV[2] then
  return {}
end
local refused = {}
for i = 3, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    local colon = string.find(value, ':', 1, true)
    local length = tonumber(string.sub(value, 1, colon - 1))
    -- New messages come in on the left, so the first of these will be taken first.
    local pushed = redis.pcall('LPUSH', ARGV[i + 1], string.sub(value, colon + 1 + length))
    if type(pushed) == 'table' and pushed.err then
      refused[#refused + 1] = ARGV[i]
      refused[#refused + 1] = pushed.err
    else
      redis.call('HDEL', KEYS[1], ARGV[i])
    end
  end
end
return refused
