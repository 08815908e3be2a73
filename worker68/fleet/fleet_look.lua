-- Writes what a worker says about itself, and returns what has changed in the fleet since its last look.
--
-- KEYS  words: a hash, what each live worker says. Ends: a sorted set, until when each word counts (milliseconds). Changes: a sorted
--       set, which words have come, changed or gone lately, by a number that grows with each of these.
-- ARGV  the worker's id, milliseconds until its word counts no more, its word (empty: it leaves), the number of its last look (0: all).
-- Reply the number of this look, how many words there are; then by turns each worker that has changed, and its word (empty: gone).

local words, ends, changes = KEYS[1], KEYS[2], KEYS[3]
local worker, ttl, word, seen = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
-- A worker that has not looked for its milliseconds asks for all; those of others may be longer than this worker's.
local remembered = math.max(2 * ttl, 600000)

local time = redis.call('TIME')
local microseconds = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(microseconds / 1000)
local before = tonumber(redis.call('ZREVRANGE', changes, 0, 0, 'WITHSCORES')[2]) or 0
local number = before

local function note(name)
  -- By the clock, so that a Redis that lost its data goes on above the numbers that workers have seen.
  number = math.max(number + 1, microseconds)
  redis.call('ZADD', changes, number, name)
end

local function remove(name)
  redis.call('ZREM', ends, name)
  if redis.call('HDEL', words, name) == 1 then
    note(name)
  end
end

if word == '' then
  remove(worker)
else
  redis.call('ZADD', ends, now + ttl, worker)
  if redis.call('HGET', words, worker) ~= word then
    redis.call('HSET', words, worker, word)
    note(worker)
  end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now)) do
  remove(name)
end
if number > before then
  redis.call('ZREMRANGEBYSCORE', changes, '-inf', microseconds - 1000 * remembered)
end

local changed = seen == '0' and redis.call('HKEYS', words) or redis.call('ZRANGEBYSCORE', changes, '(' .. seen, '+inf')
local reply = {number, redis.call('HLEN', words)}
for _, name in ipairs(changed) do
  reply[#reply + 1] = name
  reply[#reply + 1] = redis.call('HGET', words, name) or ''
end
return reply
