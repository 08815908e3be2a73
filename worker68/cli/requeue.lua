-- Puts what was set aside where it belongs, and takes it off the list of what was set aside.
--
-- KEYS[1] the list, KEYS[2] where it goes. ARGV: the entry; "message", "reply" or "stream"; the value; seconds that an unread reply
-- is kept.
-- Reply: 1, or 0 if the entry is not there any more.
--
-- The entry is removed last, so an error (a key of a wrong type, a full Redis) loses nothing.

if not redis.call('LPOS', KEYS[1], ARGV[1]) then
  return 0
end
if ARGV[2] == 'message' then
  redis.call('LPUSH', KEYS[2], ARGV[3])
else
  if ARGV[2] == 'stream' then
    redis.call('XADD', KEYS[2], '*', 'reply', ARGV[3])
  else
    redis.call('RPUSH', KEYS[2], ARGV[3])
  end
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
redis.call('LREM', KEYS[1], 1, ARGV[1])
return 1
