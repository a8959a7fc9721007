#!lua
-- epoch=0 nonce=0
-- Closes a gate: every attempt from here on is refused as closed. Buyers, stock and outbox stay.
--
-- KEYS  1 gate  hash  epoch, open
-- ARGV  1 epoch
-- Reply { -2 }: no gate here, or another epoch's
--       { 1 }: closed

local gate_key = KEYS[1]
local epoch = ARGV[1]

if redis.call('HGET', gate_key, 'epoch') ~= epoch then return { -2 } end
redis.call('HSET', gate_key, 'open', '0')
return { 1 }
