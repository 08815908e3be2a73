-- Takes those of many leases that no worker holds, each under a fencing number greater than every one before it.
--
-- KEYS  what was seen of the last promotion; then for each lease two: the lease, its fence (the last number given out; never expires).
-- ARGV  the worker's id, milliseconds until a lease ends unless it is renewed, how many to take at most.
-- Reply 1 if a promotion was seen first by this call, else 0; then for each lease its fencing number, nil if it is held or there were
-- enough or none may be taken yet, or in words why Redis refuses the key of its fence.

local time = redis.call('TIME')
local milliseconds = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- A replica that has become the master may not know of the last leases, or believe that they end sooner: what the old master was
-- still told is lost. Their owners trust them for at most the time of a lease from the promotion on. So long none is given out.
local seen = 0
local function may_take()
  local said = redis.pcall('INFO', 'replication')
  if type(said) ~= 'string' or string.find(said, 'master_replid2:0000000000', 1, true) then
    return true -- never promoted, or a user without the right to ask
  end
  local id = string.match(said, 'master_replid:(%x+)')
  local kept = redis.pcall('GET', KEYS[1])
  local known, since = string.match(type(kept) == 'string' and kept or '', '^(%x+)|(%d+)$')
  if known ~= id then
    seen, since = 1, milliseconds
    redis.call('SET', KEYS[1], id .. '|' .. string.format('%.0f', since))
  end
  return milliseconds - tonumber(since) >= tonumber(ARGV[2])
end
local most = may_take() and tonumber(ARGV[3]) or 0

local function take(lease, fence)
  if most == 0 or redis.call('EXISTS', lease) == 1 then
    return false
  end
  local count = redis.pcall('INCR', fence)
  if type(count) == 'table' then
    return count.err
  end
  -- A Redis that lost its data would count from 1 again, below the numbers that the database already bears. A lease is not taken
  -- a thousand times a second, so the milliseconds of the clock are always ahead of the numbers given out.
  local number = math.max(count, milliseconds)
  local digits = string.format('%.0f', number)
  redis.call('SET', fence, digits)
  redis.call('SET', lease, ARGV[1] .. '|' .. digits, 'PX', ARGV[2])
  most = most - 1
  return number
end

local answers = {seen}
for i = 2, #KEYS, 2 do
  answers[#answers + 1] = take(KEYS[i], KEYS[i + 1])
end
return answers
