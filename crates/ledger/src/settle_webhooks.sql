-- Writes down what attempts have come to. Arrays of equal length: $1 events  $2 response statuses or NULL  $3 errors,
-- NULL: delivered  $4 milliseconds until the next attempt, NULL: none, given up.
--
-- A success counts whoever brings it, also when the lease was over or the event had been given up. A failure counts only
-- while nobody else has succeeded.
UPDATE webhook_events e
SET state = CASE WHEN a.error IS NULL THEN 'delivered' WHEN a.pause_ms IS NULL THEN 'failed' ELSE 'pending' END,
    delivered_at = CASE WHEN a.error IS NULL THEN clock_timestamp() END,
    due_at = CASE WHEN a.pause_ms IS NULL THEN e.due_at
                  ELSE clock_timestamp() + make_interval(secs => a.pause_ms / 1000.0::float8) END,
    response_status = a.status, last_error = a.error
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bigint[]) AS a (id, status, error, pause_ms)
WHERE e.id = a.id AND (a.error IS NULL OR e.state = 'pending')
