-- Ends replies that are older than unread replies are kept, and returns how many wait and since when.
--
-- KEYS  a list of replies, the marks of that list.
-- ARGV  seconds that unread replies are kept, seconds between two marks.
-- Reply {replies in the list, replies ended, seconds for which the oldest has waited at least, why no mark was set or ''}.
--
-- A reply does not say when it was pushed, and each push puts off the end of the whole list. A mark is a time and the last reply
-- of the list at that time: while that reply is still there, all before it are older than the mark.

local list, marks = KEYS[1], KEYS[2]
local kept, step = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = tonumber(redis.call('TIME')[1])
local ended, waited, problem = 0, 0, ''

local function read_mark(index)
  local mark = redis.call('LINDEX', marks, index)
  if not mark then
    return nil
  end
  local colon = string.find(mark, ':', 1, true)
  return tonumber(string.sub(mark, 1, colon - 1)), string.sub(mark, colon + 1)
end

while true do
  local marked_at, reply = read_mark(0)
  if not marked_at then
    break
  end
  local place = redis.call('LPOS', list, reply)
  if place and now - marked_at < kept then
    waited = now - marked_at
    break
  end
  if place then
    redis.call('LTRIM', list, place + 1, -1)
    ended = ended + place + 1
  end
  redis.call('LPOP', marks)
end

local length = redis.call('LLEN', list)
if length > 0 then
  local marked_at = read_mark(-1)
  if not marked_at or now - marked_at >= step then
    -- A Redis that is full refuses this, and not what was ended above: that is still returned.
    local pushed = redis.pcall('RPUSH', marks, string.format('%.0f', now) .. ':' .. redis.call('LINDEX', list, -1))
    if type(pushed) == 'table' and pushed.err then
      problem = pushed.err
    else
      redis.call('EXPIRE', marks, 2 * kept)
    end
  end
end
return {length, ended, waited, problem}
