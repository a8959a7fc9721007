#!lua
-- epoch=0 nonce=0
-- Decides whether a client may ask once more (GCRA). Belongs to no epoch: it is loaded as it stands by whoever finds it
-- missing.
--
-- KEYS  1 client  string  when the client will have its whole burst again: Unix time, microseconds
-- ARGV  1 how long one request is paid for, 2 how long a whole burst is paid for, both in microseconds
-- Reply { 0 }: it may, and is counted
--       { retry }: it may not, and is not counted; it may again in so many milliseconds
--
-- A client that has its whole burst has no key.

local client_key = KEYS[1]
local cost, burst = tonumber(ARGV[1]), tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local paid = math.max(now, tonumber(redis.call('GET', client_key)) or now) + cost

if paid > now + burst then return { math.ceil((paid - now - burst) / 1000) } end
redis.call('SET', client_key, string.format('%d', paid), 'PX', math.ceil((paid - now) / 1000))
return { 0 }
