#!lua
-- epoch=0 nonce=0
-- Takes units off the stock if they are there. Whatever is answered to a claim is answered to its every repetition.
--
-- KEYS  1 gate      hash  epoch, stock, replid
--       2 adjusted  set   ids of the adjustments booked and of the claims granted; "<id>:refused" of those refused
-- ARGV  1 epoch, 2 id, 3 units to take (above zero)
-- Reply { -2 } alone: no gate here, or another epoch's, or one on another history than it was installed on
--       { 1, stock }: taken, now or before
--       { 0, stock }: refused, now or before: fewer units were left
--       error DAMAGED: the gate lacks a field; nothing was written
--
-- Works on an open and on a closed gate. The id is written before the stock: a failure midway can hold units back,
-- never take them without a trace. The history is asked for as in reserve.lua: a server that has
-- forgotten reservations has units that are promised to others.

local gate_key, adjusted_key = KEYS[1], KEYS[2]
local epoch, id, units = ARGV[1], ARGV[2], tonumber(ARGV[3])
local refused_id = id .. ':refused'

local gate = redis.call('HMGET', gate_key, 'epoch', 'stock', 'replid')
if gate[1] ~= epoch then return { -2 } end
local stock, replid = tonumber(gate[2]), gate[3]
if not (stock and replid) then return redis.error_reply('DAMAGED the gate lacks a field') end
if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. replid, 1, true) then return { -2 } end

local decided = redis.call('SMISMEMBER', adjusted_key, id, refused_id)
if decided[1] == 1 then return { 1, stock } end
if decided[2] == 1 then return { 0, stock } end

if stock < units then
  redis.call('SADD', adjusted_key, refused_id)
  return { 0, stock }
end
redis.call('SADD', adjusted_key, id)
return { 1, redis.call('HINCRBY', gate_key, 'stock', -units) }
