#!lua
-- epoch=0 nonce=0
-- Brings a gate up to what an operator has changed: window, terms, limit, pause. An older change never undoes a newer.
--
-- KEYS  1 gate  hash  epoch, revision
-- ARGV  1 epoch, 2 revision, then 3 starts_ms, 4 ends_ms, 5 terms, 6 limit, 7 halted ('' | 'paused' | 'ended')
-- Reply { -2 }: no gate here, or another epoch's
--       { revision }: of the gate from now on; higher than asked for where it has heard of a newer change
--       error DAMAGED: the gate lacks its revision; nothing was written
--
-- Works on an open and on a closed gate, and opens or closes none.

local gate_key = KEYS[1]
local epoch, revision = ARGV[1], tonumber(ARGV[2])

local gate = redis.call('HMGET', gate_key, 'epoch', 'revision')
if gate[1] ~= epoch then return { -2 } end
local known = tonumber(gate[2])
if not known then return redis.error_reply('DAMAGED the gate lacks its revision') end

if known < revision then
  redis.call('HSET', gate_key, 'revision', revision, 'starts_ms', ARGV[3], 'ends_ms', ARGV[4], 'terms', ARGV[5],
    'limit', ARGV[6], 'halted', ARGV[7])
  known = revision
end
return { known }
