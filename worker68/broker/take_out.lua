-- Takes messages out of the middle of lists and records each as unacknowledged, in one step. The others stay as they are.
--
-- KEYS  unacked hash, then lists.
-- ARGV  lease key, lease value, a text that no message is; then for each message: its field, its list, its place counted from
--       the old end (1 is the oldest), the message.
-- Reply: the fields of the messages taken. One that is not in its place any more is left alone; so are all if the lease is not
-- ours, or if the hash is of a wrong type.
--
-- GETEX counts as a write, and after the first write Redis lets a script go on when memory is full. The messages are marked first
-- and removed together, because a removal walks the list. All walks start from the nearer end.

if redis.call('GETEX', ARGV[1]) ~= ARGV[2] or type(redis.pcall('HLEN', KEYS[1])) ~= 'number' then
  return {}
end
local mark = ARGV[3]
local taken, lists = {}, {}

local function look_at(key)
  local length = redis.pcall('LLEN', key)
  return {length = type(length) == 'number' and length or 0, from_new_end = 0, from_old_end = 0}
end

for i = 4, #ARGV, 4 do
  local field, key, place, message = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local list = lists[key] or look_at(key)
  lists[key] = list
  local near_old_end = place <= list.length / 2
  local index = near_old_end and -place or list.length - place
  if place <= list.length and redis.call('LINDEX', key, index) == message then
    redis.call('HSET', KEYS[1], field, #key .. ':' .. key .. message)
    redis.call('LSET', key, index, mark)
    taken[#taken + 1] = field
    local side = near_old_end and 'from_old_end' or 'from_new_end'
    list[side] = list[side] + 1
  end
end
for key, list in pairs(lists) do
  if list.from_new_end > 0 then
    redis.call('LREM', key, list.from_new_end, mark)
  end
  if list.from_old_end > 0 then
    redis.call('LREM', key, -list.from_old_end, mark)
  end
end
return taken
