-- Reads, for wrk: the path is that of the URL.

function done(summary, latency)
  io.write(string.format('\n{"requests":%d,"microseconds":%d,"status_errors":%d,"socket_errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
