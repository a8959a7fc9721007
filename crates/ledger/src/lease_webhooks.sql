-- Takes up to $1 due events for $2 milliseconds: nobody else takes them until then, and then anybody does, this keeper
-- having died. An attempt counts when it begins.
UPDATE webhook_events e
SET due_at = clock_timestamp() + make_interval(secs => $2::bigint / 1000.0::float8), attempts = e.attempts + 1,
    last_attempt_at = clock_timestamp()
FROM (
    SELECT seq FROM webhook_events WHERE state = 'pending' AND due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) AS due
WHERE e.seq = due.seq
RETURNING e.id, e.payload, e.attempts
