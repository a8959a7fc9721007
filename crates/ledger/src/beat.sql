-- Writes that a process is there, and forgets who has not been for ten minutes.
-- $1 id  $2 role  $3 host  $4 pid  $5 version  $6 handled

-- 1. Those who are gone. One that another process is forgetting right now is left to it.
WITH gone AS (
    DELETE FROM processes WHERE id IN (
        SELECT id FROM processes WHERE seen_at < clock_timestamp() - interval '10 minutes' AND id <> $1
        FOR UPDATE SKIP LOCKED
    )
)
-- 2. This one, with how much it has done a second since it was last seen.
INSERT INTO processes AS p (id, role, host, pid, version, handled) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET
    handled    = EXCLUDED.handled,
    per_second = greatest(0, EXCLUDED.handled - p.handled)
                 / greatest(0.001, extract(epoch FROM clock_timestamp() - p.seen_at)),
    seen_at    = clock_timestamp()
