#!lua
-- epoch=0 nonce=0
-- Books stock adjustments that PostgreSQL decided (expiries, cancellations, stock changes), each exactly once.
--
-- KEYS  1 gate      hash  epoch, stock
--       2 adjusted  set   ids of the adjustments booked so far
-- ARGV  1 epoch, then per adjustment: id, units to add (negative: to take)
-- Reply { -2 } alone: no gate here, or another epoch's
--       { stock, adjustments booked by this call }
--       error DAMAGED: the gate lacks its stock; nothing was written
--
-- Works on an open and on a closed gate. The stock may go below zero: the ledger took back more than was left, and
-- later adjustments lift it again. The ids are written before the stock: a failure midway can hold units back,
-- never add them twice.
-- unpack: at most 256 ids; Lua's C stack takes nearly 8000 (LUAI_MAXCSTACK).

local gate_key, adjusted_key = KEYS[1], KEYS[2]
local epoch = ARGV[1]

local gate = redis.call('HMGET', gate_key, 'epoch', 'stock')
if gate[1] ~= epoch then return { -2 } end
local stock = tonumber(gate[2])
if not stock then return redis.error_reply('DAMAGED the gate lacks its stock') end

local ids = {}
for i = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
if #ids == 0 then return { stock, 0 } end

local known = redis.call('SMISMEMBER', adjusted_key, unpack(ids))
local fresh, seen = {}, {} -- ids to book now; an id may be in one call twice
local units = 0
for n, id in ipairs(ids) do
  if known[n] == 0 and not seen[id] then
    seen[id] = true
    fresh[#fresh + 1] = id
    units = units + tonumber(ARGV[2 * n + 1])
  end
end

if #fresh > 0 then
  redis.call('SADD', adjusted_key, unpack(fresh))
  stock = redis.call('HINCRBY', gate_key, 'stock', units)
end
return { stock, #fresh }
