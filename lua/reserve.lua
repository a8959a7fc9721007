#!lua
-- epoch=0 nonce=0
-- Decides a batch of purchase attempts for one sale, in order, in one atomic step.
--
-- KEYS  1 gate    hash    epoch, open ('1' | '0'), stock, starts_ms, ends_ms, terms, replid, limit, halted ('' | word)
--       2 buyers  hash    user id -> reservation id
--       3 outbox  stream  r = reservation id, u = user id, q = quantity, t = terms
--       4, 5      hashes  only with rate limits, of even and of odd periods: client -> until when it has paid
-- ARGV  1 epoch, 2 most entries the outbox may hold; only with rate limits: 3 their number, 4 the length of a period,
--       then per limit: what an attempt costs, how far ahead a client may pay; then per attempt: user id, reservation
--       id, quantity; then, only with rate limits, per attempt and limit: the client
-- Reply { -2 } alone: no gate here, or another epoch's, or one on another history than it was installed on
--       { stock left, terms, code, detail, code, detail, ... }, one code and detail per attempt:
--          1 reserved (outbox entry id)      2 the user holds one already (its reservation id)
--          0 not enough stock (units left)  -1 closed ('')  -3 not started ('')  -4 ended ('')  -5 outbox full ('')
--         -6 paused ('')  -7 more than one buyer may have (the limit)  -8 too often ('<ms to wait> <limit, from 1>')
--       error DAMAGED: the gate lacks a field; nothing was written
--
-- Checks first, writes last, the decrement before the rest: a failure midway can hold a unit back, never sell it
-- twice. The terms are opaque here: each win carries a copy of them as they stood when it was decided. For replid see
-- docs/adr/0012, for rates 0018 (times in microseconds). unpack: at most 256 attempts and 1024 values in `charged`;
-- Lua's C stack takes nearly 8000 (LUAI_MAXCSTACK).

local gate_key, buyers_key, outbox_key = KEYS[1], KEYS[2], KEYS[3]
local epoch, outbox_limit = ARGV[1], tonumber(ARGV[2])
local rates, first = 0, 3 -- how many rate limits, and where the attempts begin
if KEYS[4] then rates, first = tonumber(ARGV[3]), 5 + 2 * ARGV[3] end
local payer = first + 3 * (#ARGV + 1 - first) / (3 + rates) -- where the clients begin

local gate = redis.call('HMGET', gate_key, 'epoch', 'open', 'stock', 'starts_ms', 'ends_ms', 'terms', 'replid', 'limit',
  'halted')
if gate[1] ~= epoch then return { -2 } end
for i = 2, 9 do if not gate[i] then return redis.error_reply('DAMAGED the gate lacks a field') end end
local open, terms, replid, halted = gate[2], gate[6], gate[7], gate[9]
local stock, starts_ms, ends_ms, limit = tonumber(gate[3]), tonumber(gate[4]), tonumber(gate[5]), tonumber(gate[8])
if not string.find(redis.call('INFO', 'replication'), 'master_replid:' .. replid, 1, true) then return { -2 } end

-- What holds for the whole sale right now, if anything: the reason why nobody wins.
local time = redis.call('TIME')
local now, now_ms = time[1] * 1000000 + time[2], time[1] * 1000 + math.floor(time[2] / 1000)
local refusal = open ~= '1' and -1 or (now_ms >= ends_ms or halted == 'ended') and -4 or halted == 'paused' and -6
  or now_ms < starts_ms and -3

local users, units = {}, {}
for i = first, payer - 1, 3 do users[#users + 1], units[#units + 1] = ARGV[i], ARGV[i + 2] end
local holders = redis.call('HMGET', buyers_key, unpack(users))
-- Entries the outbox can still take; not asked for where nobody can win.
local room = not refusal and stock > 0 and outbox_limit - redis.call('XLEN', outbox_key) or 0
local paid, charged = {}, {} -- client -> until when it has paid; client, until when, ... of those who pay now
if rates > 0 then
  local even, odd = redis.call('HMGET', KEYS[4], unpack(ARGV, payer)), redis.call('HMGET', KEYS[5], unpack(ARGV, payer))
  for i = 1, #even do paid[ARGV[payer + i - 1]] = math.max(now, even[i] or 0, odd[i] or 0) end
end

-- Why the n-th attempt comes too often, if so; otherwise its clients pay.
local function too_often(n)
  local before, wait, why = payer + rates * (n - 1) - 1, 0, nil
  for rate = 1, rates do
    local over = paid[ARGV[before + rate]] - now - ARGV[4 + 2 * rate]
    if over > wait then wait, why = over, math.ceil(over / 1000) .. ' ' .. rate end
  end
  for rate = 1, why and 0 or rates do
    local client = ARGV[before + rate]
    paid[client] = paid[client] + ARGV[3 + 2 * rate]
    charged[#charged + 1], charged[#charged + 2] = client, paid[client]
  end
  return why
end

local left, reply = stock, { stock, terms }
local wins, bought, mine = {}, {}, {} -- positions; user id, reservation id, user id, ...; user id -> reservation id
for n, user in ipairs(users) do
  local quantity, holder, often = tonumber(units[n]), holders[n] or mine[user], rates > 0 and too_often(n)
  local code, detail = 1, '' -- the outbox entry's id follows once it is written
  if often then code, detail = -8, often
  elseif holder then code, detail = 2, holder
  elseif refusal then code, detail = refusal, ''
  elseif quantity > limit then code, detail = -7, limit
  elseif left < quantity then code, detail = 0, left
  elseif #wins >= room then code, detail = -5, ''
  else
    left, mine[user], wins[#wins + 1] = left - quantity, ARGV[first + 3 * n - 2], n
    bought[#bought + 1], bought[#bought + 2] = user, mine[user]
  end
  reply[2 * n + 1], reply[2 * n + 2] = code, detail
end

if #wins > 0 then
  reply[1] = redis.call('HINCRBY', gate_key, 'stock', left - stock)
  redis.call('HSET', buyers_key, unpack(bought))
  for _, n in ipairs(wins) do
    reply[2 * n + 2] = redis.call('XADD', outbox_key, '*', 'r', mine[users[n]], 'u', users[n], 'q', units[n], 't', terms)
  end
end
if #charged > 0 then
  local period = math.floor(now / ARGV[4])
  redis.call('HSET', KEYS[4 + period % 2], unpack(charged))
  redis.call('PEXPIREAT', KEYS[4 + period % 2], math.ceil((period + 2) * ARGV[4] / 1000))
end
return reply
