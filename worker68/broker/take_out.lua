-- Takes messages out of the middle of lists and records each as unacknowledged, in one step. The others stay as they are.
--
-- KEYS  unacked hash, then lists.
-- ARGV  lease key, lease value, a text that no message is; then for each message: its field, its list, its place counted from
--       the old end (1 is the oldest), the message.
-- Reply: the fields of the messages taken. One that is not in its place any more is left alone; so are all if the lease is not
-- ours, or if the hash is of a wrong type.
--
-- GETEX counts as a write, and after the first write Redis lets a script go on when memory is full. The messages are marked first
-- and removed together, because each removal walks the list.

if redis.call('GETEX', ARGV[1]) ~= ARGV[2] or type(redis.pcall('HLEN', KEYS[1])) ~= 'number' then
  return {}
end
local mark = ARGV[3]
local taken, lists = {}, {}
for i = 4, #ARGV, 4 do
  local field, list, place, message = ARGV[i], ARGV[i + 1], -tonumber(ARGV[i + 2]), ARGV[i + 3]
  if redis.pcall('LINDEX', list, place) == message then
    redis.call('HSET', KEYS[1], field, #list .. ':' .. list .. message)
    redis.call('LSET', list, place, mark)
    taken[#taken + 1] = field
    lists[list] = true
  end
end
for list in pairs(lists) do
  redis.call('LREM', list, 0, mark)
end
return taken
