-- Adds seconds of one process, and forgets old ones.
-- $1 process; then arrays of equal length: $2 Unix seconds  $3 successes  $4 refusals  $5 unknown  $6 histograms

-- 1. What is ten minutes old by the clock that the seconds go by. What another process is forgetting is left to it.
WITH old AS (
    DELETE FROM traffic WHERE (at_second, process) IN (
        SELECT at_second, process FROM traffic
        WHERE at_second < to_timestamp((SELECT max(s) FROM unnest($2::bigint[]) AS s)) - interval '10 minutes'
        FOR UPDATE SKIP LOCKED
    )
)
-- 2. The seconds.
INSERT INTO traffic (at_second, process, successes, refusals, unknown, latencies)
SELECT to_timestamp(t.at_second), $1, t.successes, t.refusals, t.unknown, t.latencies
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
     AS t (at_second, successes, refusals, unknown, latencies)
ON CONFLICT (at_second, process) DO NOTHING
