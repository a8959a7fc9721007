-- Clicks of buyers who are all new, for wrk. Arguments after `--`: a name of this run, which makes the buyers new, how
-- many clicks of a thread one sale gets before the next one's turn (0: each click another sale), how many clicks there
-- are in each thread (0: as many as there is time for), and the ids of the sales.

local started = 0

function setup(thread)
  thread:set('number', started)
  started = started + 1
end

local sales, users, clicks, answers, per_sale, share = {}, '', 0, 0, 0, 0

function init(args)
  users, per_sale, share = args[1] .. '-' .. number .. '-', tonumber(args[2]), tonumber(args[3])
  for i = 4, #args do sales[#sales + 1] = args[i] end
  if share == 0 then response = nil end
end

local head = 'POST /api/v1/sale/purchase HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: '

function request()
  local turn = per_sale == 0 and clicks or math.floor(clicks / per_sale)
  clicks = clicks + 1
  local body = '{"saleId":"' .. sales[turn % #sales + 1] .. '","userId":"' .. users .. clicks .. '"}'
  return head .. #body .. '\r\n\r\n' .. body
end

function response()
  answers = answers + 1
  if answers >= share then wrk.thread:stop() end
end

function done(summary, latency)
  io.write(string.format('\n{"requests":%d,"microseconds":%d,"status_errors":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
