-- Adds a process's refusal counts, once per flush number.
-- $1 process  $2 flush number; then arrays of equal length: $3 sales  $4 epochs  $5 reasons  $6 Unix seconds  $7 counts

-- 1. The flush number: no row comes back where this flush, or a later one, is in already.
WITH flush AS (
    INSERT INTO refusal_flushes (process, seq) VALUES ($1, $2)
    ON CONFLICT (process) DO UPDATE SET seq = EXCLUDED.seq, at = EXCLUDED.at WHERE refusal_flushes.seq < EXCLUDED.seq
    RETURNING seq
),
-- 2. The sales, held against a reset (and against nothing else) until we commit. Where one was under way, the lock
--    waits for it and reads the row anew.
sale AS (
    SELECT id, valid_from_epoch FROM sales WHERE id = ANY ($3) ORDER BY id FOR KEY SHARE
)
-- 3. The counts, without those from before a reset and those of sales that do not exist.
INSERT INTO refusals (sale_id, reason, at_second, count)
SELECT sale.id, c.reason, to_timestamp(c.at_second), sum(c.count)
FROM unnest($3, $4, $5, $6, $7) AS c (sale_id, epoch, reason, at_second, count)
JOIN sale ON sale.id = c.sale_id AND c.epoch >= sale.valid_from_epoch
CROSS JOIN flush
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
ON CONFLICT (sale_id, reason, at_second) DO UPDATE SET count = refusals.count + EXCLUDED.count
