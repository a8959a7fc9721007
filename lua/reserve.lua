#!lua
-- epoch=0 nonce=0
-- Decides a batch of purchase attempts for one sale, in order, in one atomic step.
--
-- KEYS  1 gate    hash    epoch, open ('1' | '0'), stock, starts_ms, ends_ms, terms, replid
--       2 buyers  hash    user id -> reservation id
--       3 outbox  stream  r = reservation id, u = user id, q = quantity, t = terms
-- ARGV  1 epoch, 2 most entries the outbox may hold, then per attempt: user id, reservation id, quantity
-- Reply { -2 } alone: no gate here, or another epoch's, or one on another history than it was installed on
--       { stock left, terms, code, detail, code, detail, ... }, one code and detail per attempt:
--          1 reserved (outbox entry id)      2 the user holds one already (its reservation id)
--          0 not enough stock (units left)  -1 closed ('')  -3 not started ('')  -4 ended ('')  -5 outbox full ('')
--       error DAMAGED: the gate lacks a field; nothing was written
--
-- Checks first, writes last, the decrement before the rest: a failure midway can hold a unit back, never sell it
-- twice. The terms are opaque here: each win carries a copy of them as they stood when it was decided.
-- A server that was a replica for a moment keeps its scripts and has forgotten what its master had not heard of: its
-- master_replid tells. Asked here, because whoever asks from outside asks too late; it takes about a microsecond.
-- unpack: at most 256 attempts, 512 values in `bought`; Lua's C stack takes nearly 8000 (LUAI_MAXCSTACK).

local gate_key, buyers_key, outbox_key = KEYS[1], KEYS[2], KEYS[3]
local epoch, outbox_limit = ARGV[1], tonumber(ARGV[2])

local gate = redis.call('HMGET', gate_key, 'epoch', 'open', 'stock', 'starts_ms', 'ends_ms', 'terms', 'replid')
if gate[1] ~= epoch then return { -2 } end
local open, terms, replid = gate[2], gate[6], gate[7]
local stock, starts_ms, ends_ms = tonumber(gate[3]), tonumber(gate[4]), tonumber(gate[5])
if not (open and stock and starts_ms and ends_ms and terms and replid) then
  return redis.error_reply('DAMAGED the gate lacks a field')
end
if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. replid, 1, true) then return { -2 } end

-- What holds for the whole sale right now, if anything: the reason why nobody wins.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local refusal
if open ~= '1' then refusal = -1
elseif now_ms < starts_ms then refusal = -3
elseif now_ms >= ends_ms then refusal = -4 end

local users = {}
for i = 3, #ARGV, 3 do users[#users + 1] = ARGV[i] end
local holders = redis.call('HMGET', buyers_key, unpack(users))
local room = 0 -- entries the outbox can still take; not asked for where nobody can win
if not refusal and stock > 0 then room = outbox_limit - redis.call('XLEN', outbox_key) end

local left = stock
local reply = { stock, terms }
local wins = {}   -- positions of the attempts that won
local bought = {} -- user id, reservation id, user id, ... of the wins
local mine = {}   -- user id -> reservation id of the wins: a user may be in one batch twice
for n, user in ipairs(users) do
  local id, quantity = ARGV[3 * n + 1], tonumber(ARGV[3 * n + 2])
  local holder = holders[n] or mine[user]
  local code, detail
  if holder then
    code, detail = 2, holder
  elseif refusal then
    code, detail = refusal, ''
  elseif left < quantity then
    code, detail = 0, left
  elseif #wins >= room then
    code, detail = -5, ''
  else
    code, detail = 1, '' -- the outbox entry's id follows once it is written
    left = left - quantity
    mine[user] = id
    wins[#wins + 1] = n
    bought[#bought + 1], bought[#bought + 2] = user, id
  end
  reply[2 * n + 1], reply[2 * n + 2] = code, detail
end

if #wins > 0 then
  redis.call('HINCRBY', gate_key, 'stock', left - stock)
  redis.call('HSET', buyers_key, unpack(bought))
  for _, n in ipairs(wins) do
    local id, quantity = ARGV[3 * n + 1], ARGV[3 * n + 2]
    reply[2 * n + 2] = redis.call('XADD', outbox_key, '*', 'r', id, 'u', users[n], 'q', quantity, 't', terms)
  end
  reply[1] = left
end
return reply
