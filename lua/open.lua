#!lua
-- epoch=0 nonce=0
-- Opens an installed gate: from here on it decides, and its keys no longer expire.
--
-- KEYS  1 gate    hash  epoch, open
--       2 buyers  hash  user id -> reservation id
-- ARGV  1 epoch, 2 how many buyers were loaded
-- Reply { -2 } alone: no gate here, or another epoch's
--       { 0, buyers found }: not as many as were loaded; the gate stays as it was
--       { 1 }: open
--
-- Opening an open gate answers 1 and changes nothing: a repeated call after a lost answer may find new buyers.

local gate_key, buyers_key = KEYS[1], KEYS[2]
local epoch, expected = ARGV[1], tonumber(ARGV[2])

local gate = redis.call('HMGET', gate_key, 'epoch', 'open')
if gate[1] ~= epoch then return { -2 } end
if gate[2] == '1' then return { 1 } end

local found = redis.call('HLEN', buyers_key)
if found ~= expected then return { 0, found } end

redis.call('PERSIST', gate_key)
redis.call('PERSIST', buyers_key)
redis.call('HSET', gate_key, 'open', '1')
return { 1 }
