-- Makes event $1 due at once, as if it were new, and notes in its sale's trail that $2 asked for it.

-- 1. The sale's row, as whoever writes its trail.
WITH sale AS (
    SELECT s.id FROM sales s WHERE s.id = (SELECT sale_id FROM webhook_events WHERE id = $1) FOR NO KEY UPDATE
),
-- 2. The event. What became of earlier attempts stays readable until the next one.
event AS (
    UPDATE webhook_events e SET state = 'pending', attempts = 0, due_at = clock_timestamp(), delivered_at = NULL
    FROM sale WHERE e.id = $1 AND e.sale_id = sale.id
    RETURNING e.sale_id, e.type
)
-- 3. The trail. The sale's and not the order's: nothing happened to the order.
INSERT INTO audit (sale_id, event, actor, detail)
SELECT sale_id, 'WEBHOOK_REDELIVERED', $2, jsonb_build_object('webhook', $1::uuid, 'type', type) FROM event
